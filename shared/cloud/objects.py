"""Defines what object stores return, independently of Google's client."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field

import google_crc32c


@dataclass(frozen=True, slots=True)
class ObjectStat:
    """An object's metadata. `size` is in bytes, `crc32c` as storage writes it (base64 of big-endian bytes)."""

    generation: int
    size: int
    crc32c: str
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StoredObject:
    """The verified bytes of one generation of an object. `data` is None if they exceed the requested maximum.

    `data` is decompressed if it is stored with `Content-Encoding: gzip`; `crc32c` is that of the stored bytes.
    """

    data: bytes | None
    uri: str
    generation: int
    crc32c: str


def crc32c(data: bytes) -> str:
    """Return the CRC32C (Castagnoli) of `data` as storage writes it: base64 of four big-endian bytes."""
    return base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()
