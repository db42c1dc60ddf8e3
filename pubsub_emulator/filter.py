"""The filter language of subscriptions: text -> predicate on a message's attributes.

    attributes:key   attributes.key = "v"   attributes."a key" != "v"   hasPrefix(attributes.key, "v")
    NOT x   -x   x AND y   x OR y   (x)

As in Pub/Sub, operators are in capitals and AND and OR are not mixed without parentheses.
https://cloud.google.com/pubsub/docs/subscription-message-filter
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping

from pubsub_emulator.errors import InvalidArgument

Predicate = Callable[[Mapping[str, str]], bool]

_TOKENS = re.compile(r'\s*("(?:[^"\\]|\\.)*"|[^\W\d][\w-]*|!=|[-=:.,()]|\S)')
_MAX_BYTES = 256


def predicate(text: str) -> Predicate:
    """What the filter accepts; an empty one accepts everything. Raises InvalidArgument."""
    if len(text.encode()) > _MAX_BYTES:
        raise InvalidArgument(f"Invalid filter: it is longer than {_MAX_BYTES} bytes")
    if not text.strip():
        return lambda _: True
    parser = _Parser(text)
    accepts = parser.expression()
    parser.take("")
    return accepts


class _Parser:
    """Recursive descent. The next token is `self._tokens[0]`; the empty one marks the end."""

    def __init__(self, text: str) -> None:
        self._tokens: list[str] = [*_TOKENS.findall(text), ""]

    def expression(self) -> Predicate:
        terms = [self._term()]
        joint = self._tokens[0] if self._tokens[0] in {"AND", "OR"} else None
        while self._tokens[0] == joint:
            self.take()
            terms.append(self._term())
        if self._tokens[0] in {"AND", "OR"}:
            raise InvalidArgument("Invalid filter: AND and OR are mixed without parentheses")
        if joint == "OR":
            return lambda attributes: any(term(attributes) for term in terms)
        return lambda attributes: all(term(attributes) for term in terms)

    def take(self, *expected: str) -> str:
        """The next token, which is one of those expected (any, if none is named)."""
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
        wanted = self.take("=", "!=") == "="
        value = self._string()
        return lambda attributes: (attributes.get(key) == value) is wanted

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


def _unexpected(token: str, wanted: str) -> InvalidArgument:
    return InvalidArgument(f"Invalid filter: found {token or 'the end'!r} where {wanted} is expected")
