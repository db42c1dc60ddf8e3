"""Counts the scans of a JPEG without decoding any: a small file may have many, and each costs a whole pass."""

from __future__ import annotations

import re
from typing import Final

_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
# A marker, where there may be compressed data before it: in those, 0xff is followed by 0 or a restart marker.
_MARKER: Final = re.compile(rb"\xff([^\x00\x01\xff\xd0-\xd8])")


def has_more_scans(data: bytes, most: int) -> bool:
    """Whether the first image of a JPEG file has more than `most` scans (ITU-T T.81, B.1 and B.2).

    What is not one of its scans is not counted: images inside its metadata, or behind its end.
    """
    if data.count(b"\xff\xda") <= most:  # the marker, and whatever looks like it
        return False
    scans, position = 0, 2
    while scans <= most and (found := _MARKER.search(data, position)):
        marker = found[1][0]
        if marker == _END_OF_IMAGE:
            return False
        scans += marker == _START_OF_SCAN
        position = found.end() + max(int.from_bytes(data[found.end() : found.end() + 2]), 2)
    return scans > most
