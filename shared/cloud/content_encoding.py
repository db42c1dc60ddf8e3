"""Decompresses objects that are stored with `Content-Encoding: gzip`, as `gcloud storage cp --gzip-local` does.

Source of the format: RFC 1952.
"""

from __future__ import annotations

import zlib
from typing import Final

from shared.runtime import deadline

MAX_GZIP_MEMBERS: Final = 10_000  # tools write one, or one for each block of 64 KiB
_GZIP_WBITS: Final = 16 + zlib.MAX_WBITS
_CHUNK_BYTES: Final = 2**16


def gunzip(data: bytes, *, max_bytes: int | None = None) -> bytes | None:
    """Return what gzip data hold, or None if that is more than `max_bytes`; no more is then decompressed.

    Data that are not gzip, are cut off or have more than MAX_GZIP_MEMBERS are returned as they are: the metadata
    of an object may be wrong, and its reader reports what it is not.

    Raises:
        DeadlineExceeded: the event deadline has passed.
    """
    content = bytearray()
    position = 0
    for _ in range(MAX_GZIP_MEMBERS):
        member = zlib.decompressobj(_GZIP_WBITS)
        try:
            while not member.eof and (chunk := member.unconsumed_tail or data[position : position + _CHUNK_BYTES]):
                deadline.check()
                if not member.unconsumed_tail:
                    position += len(chunk)
                content += member.decompress(chunk, _CHUNK_BYTES)
                if max_bytes is not None and len(content) > max_bytes:
                    return None
        except zlib.error:
            return data
        if not member.eof:
            return data
        position -= len(member.unused_data)
        if position == len(data):
            return bytes(content)
    return data
