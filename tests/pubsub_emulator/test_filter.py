"""Which attributes a filter accepts, and which texts are no filter."""

import pytest

from pubsub_emulator.errors import InvalidArgument
from pubsub_emulator.filter import parse_filter

RED = {"color": "red", "size": "10"}


@pytest.mark.parametrize(
    ("text", "accepted"),
    [
        ("", True),
        ("  ", True),
        ("attributes:color", True),
        ("attributes:weight", False),
        ('attributes.color = "red"', True),
        ('attributes.color="red"', True),
        ('attributes.color = "Red"', False),
        ('attributes.weight = "red"', False),
        ('attributes.color != "red"', False),
        ('attributes.color != "blue"', True),
        ('attributes.weight != "1"', True),
        ('hasPrefix(attributes.color, "re")', True),
        ('hasPrefix(attributes.color, "ed")', False),
        ('hasPrefix(attributes.weight, "")', False),
        ("NOT attributes:color", False),
        ("-attributes:weight", True),
        ("NOT NOT attributes:color", True),
        ("attributes:color AND attributes:size", True),
        ("attributes:color AND attributes:size AND attributes:weight", False),
        ("attributes:weight OR attributes:size", True),
        ("attributes:weight OR attributes:depth", False),
        ("NOT attributes:weight AND attributes:size", True),
        ("NOT (attributes:weight OR attributes:size)", False),
        ("(attributes:weight OR attributes:size) AND attributes:color", True),
    ],
)
def test_filter_matches_attributes(text: str, *, accepted: bool) -> None:
    assert parse_filter(text)(RED) is accepted


@pytest.mark.parametrize(
    ("text", "attributes"),
    [
        ('attributes."ce type" = "a \\"b\\" \\\\"', {"ce type": 'a "b" \\'}),
        ('attributes.ce-type = "g\\u00fcn"', {"ce-type": "gün"}),
        ('attributes:"größe"', {"größe": ""}),
        ("attributes:größe", {"größe": ""}),
        ("attributes:NOT", {"NOT": ""}),
    ],
)
def test_filter_accepts_quoted_and_unicode_keys(text: str, attributes: dict[str, str]) -> None:
    assert parse_filter(text)(attributes)
    assert not parse_filter(text)({})


@pytest.mark.parametrize(
    "text",
    [
        "color",
        "attributes",
        "attributes.color",
        "attributes.color =",
        "attributes.color = red",
        "attributes.color = 'red'",
        'attributes.color = = "red"',
        'attributes.color > "red"',
        'attributes.color = "red',
        'attributes. = "red"',
        'attributes.1 = "red"',
        'hasPrefix(attributes.color "re")',
        'hasSuffix(attributes.color, "re")',
        'data = "x"',
        "attributes:a AND",
        "attributes:a attributes:b",
        "attributes:a and attributes:b",
        "attributes:a AND attributes:b OR attributes:c",
        "(attributes:a",
        "attributes:a)",
        "attributes:" + 256 * "a",
    ],
)
def test_invalid_filter_is_rejected(text: str) -> None:
    with pytest.raises(InvalidArgument, match="Invalid filter"):
        parse_filter(text)
