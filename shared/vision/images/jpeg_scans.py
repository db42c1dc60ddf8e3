"""Counts the scans of a JPEG without decoding any: a small file may have many, and each costs a whole pass."""

from __future__ import annotations

import re
from typing import Final

_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_SEQUENTIAL: Final = {0xC0, 0xC1, 0xC9}  # frames whose components are coded once each
# A marker, where there may be compressed data before it: in those, 0xff is followed by 0 or a restart marker.
_MARKER: Final = re.compile(rb"\xff([^\x00\x01\xff\xd0-\xd8])")


def has_more_scans(data: bytes, most: int) -> bool:
    """Whether the first image of a JPEG file has more than `most` scans (ITU-T T.81, B.1 and B.2).

    What is not one of its scans is not counted: images inside its metadata, or behind its end.
    """
    scans, position, components = 0, 2, -1
    while scans <= most and (found := _MARKER.search(data, position)):
        marker, segment = found[1][0], found.end()
        if marker == _END_OF_IMAGE:
            return False
        if marker in _SEQUENTIAL:
            components = int.from_bytes(data[segment + 7 : segment + 8])
        if marker == _START_OF_SCAN:
            if scans == 0 and int.from_bytes(data[segment + 2 : segment + 3]) == components:
                return False  # it has everything: no decoder reads on, nor do we search a large file for nothing
            scans += 1
        position = segment + max(int.from_bytes(data[segment : segment + 2]), 2)
    return scans > most
