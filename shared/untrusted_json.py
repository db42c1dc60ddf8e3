"""Parses JSON that strangers send, and bounds its values and its depth before it takes memory."""

from __future__ import annotations

import json
from typing import Any, Final

MAX_JSON_VALUES: Final = 50_000  # at most 400 bytes each, for an object with one member in a list
MAX_JSON_DEPTH: Final = 32


class InvalidJson(ValueError):
    """The text is not JSON, or exceeds a limit. `str(error)` continues a sentence that begins with its subject."""


def parse(text: bytes) -> Any:
    """Parse JSON strictly: UTF-8, no NaN or Infinity, no lone surrogates, and within the limits.

    Values are bounded before parsing: each of them follows a comma or an opening bracket, but for the outermost.
    Commas and brackets inside strings count too.

    Raises:
        InvalidJson: It is not valid JSON, or exceeds MAX_JSON_VALUES or MAX_JSON_DEPTH.
    """
    count = text.count(b",") + text.count(b"[") + text.count(b"{")
    if count > MAX_JSON_VALUES:
        raise InvalidJson(
            f"must have fewer values: it has {count} commas and opening brackets, the limit is {MAX_JSON_VALUES}"
        )
    try:
        value = json.loads(text.decode(), parse_constant=_reject_constant)
        _ensure_flat(value)
        if rb"\ud" in text.lower():  # a lone surrogate cannot be encoded in a result or an error message
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError as error:
        raise _too_deep() from error
    except InvalidJson:
        raise
    except ValueError as error:
        raise InvalidJson("must be valid JSON in UTF-8") from error
    return value


def _ensure_flat(value: Any) -> None:
    """Check the depth of a parsed value, level by level and without recursion."""
    level = [value]
    for _ in range(MAX_JSON_DEPTH + 1):
        containers = [each for each in level if isinstance(each, (dict, list))]
        if not containers:
            return
        level = [
            child
            for container in containers
            for child in (container.values() if isinstance(container, dict) else container)
        ]
    raise _too_deep()


def _too_deep() -> InvalidJson:
    return InvalidJson(f"must be valid JSON: it is nested more than {MAX_JSON_DEPTH} deep")


def _reject_constant(name: str) -> None:
    raise ValueError(name)
