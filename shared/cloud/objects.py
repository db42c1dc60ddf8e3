"""What stores of objects answer with, whichever they are: Google's is in `object_store`. Imports no client."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field

import google_crc32c


@dataclass(frozen=True, slots=True)
class ObjectStat:
    """An object's metadata: size in bytes, crc32c as storage writes it (base64, big-endian)."""

    generation: int
    size: int
    crc32c: str
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object's bytes, verified, and the generation they are of. `data` None: over the size asked for."""

    data: bytes | None
    uri: str
    generation: int
    crc32c: str


def crc32c(data: bytes) -> str:
    """The Castagnoli checksum of `data` as storage writes it: base64 of four big-endian bytes."""
    return base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()
