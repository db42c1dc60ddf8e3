"""Parser of Pub/Sub's subscription filters: text to a predicate on a message's attributes.

    attributes:key   attributes.key = "v"   attributes."a key" != "v"   hasPrefix(attributes.key, "v")
    NOT x   -x   x AND y   x OR y   (x)

As in Pub/Sub, operators are in capitals, and AND and OR cannot be mixed without parentheses.
https://cloud.google.com/pubsub/docs/subscription-message-filter
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping

from pubsub_emulator.errors import InvalidArgument

Predicate = Callable[[Mapping[str, str]], bool]

_TOKEN_PATTERN = re.compile(r'\s*("(?:[^"\\]|\\.)*"|[^\W\d][\w-]*|!=|[-=:.,()]|\S)')
_MAX_FILTER_BYTES = 256


def parse_filter(text: str) -> Predicate:
    """Return the predicate of a filter; an empty filter accepts every message.

    Raises:
        InvalidArgument: the text is too long or is not in the filter language.
    """
    length = len(text.encode())
    if length > _MAX_FILTER_BYTES:
        raise InvalidArgument(f"Invalid filter: {length} bytes are more than the maximum of {_MAX_FILTER_BYTES}")
    if not text.strip():
        return lambda _: True
    parser = _Parser(text)
    predicate = parser.expression()
    parser.take("")
    return predicate


class _Parser:
    """Recursive descent parser; `self._tokens[0]` is the next token, and an empty token marks the end."""

    def __init__(self, text: str) -> None:
        self._tokens: list[str] = [*_TOKEN_PATTERN.findall(text), ""]

    def expression(self) -> Predicate:
        """Parse terms that are joined by AND, or by OR."""
        terms = [self._term()]
        operator = self._tokens[0] if self._tokens[0] in {"AND", "OR"} else None
        while self._tokens[0] == operator:
            self.take()
            terms.append(self._term())
        if self._tokens[0] in {"AND", "OR"}:
            raise InvalidArgument("Invalid filter: AND and OR are mixed without parentheses")
        if operator == "OR":
            return lambda attributes: any(term(attributes) for term in terms)
        return lambda attributes: all(term(attributes) for term in terms)

    def take(self, *expected: str) -> str:
        """Consume the next token and return it; it must be one of those expected, if any are given."""
        token = self._tokens[0]
        if expected and token not in expected:
            raise _unexpected(token, " or ".join(name or "the end" for name in expected))
        if token:
            del self._tokens[0]
        return token

    def _term(self) -> Predicate:
        match self.take("NOT", "-", "(", "hasPrefix", "attributes"):
            case "NOT" | "-":
                term = self._term()
                return lambda attributes: not term(attributes)
            case "(":
                inner = self.expression()
                self.take(")")
                return inner
            case "hasPrefix":
                return self._prefix()
            case _:
                return self._comparison()

    def _prefix(self) -> Predicate:
        self.take("(")
        self.take("attributes")
        self.take(".")
        key = self._key()
        self.take(",")
        prefix = self._string()
        self.take(")")
        return lambda attributes: key in attributes and attributes[key].startswith(prefix)

    def _comparison(self) -> Predicate:
        if self.take(":", ".") == ":":
            present = self._key()
            return lambda attributes: present in attributes
        key = self._key()
        is_equality = self.take("=", "!=") == "="
        value = self._string()
        return lambda attributes: (attributes.get(key) == value) is is_equality

    def _key(self) -> str:
        token = self._tokens[0]
        if token.startswith('"'):
            return self._string()
        if not token[:1].isidentifier():
            raise _unexpected(token, "a key")
        return self.take()

    def _string(self) -> str:
        token = self.take()
        try:
            return str(json.loads(token if token.startswith('"') else ""))
        except ValueError:
            raise _unexpected(token, "a string in double quotes") from None


def _unexpected(token: str, expected: str) -> InvalidArgument:
    return InvalidArgument(f"Invalid filter: found {token or 'the end'!r}, expected {expected}")
