"""The grammar of names, and the quoting of untrusted values."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.names import MAX_SENTENCE_CHARACTERS, is_printable, quoted, sentence

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param("x", "'x'", id="text"),
        pytest.param("", "''", id="empty text"),
        pytest.param("a\nb\0\x1b[31m", r"'a\nb\x00\x1b[31m'", id="control characters"),
        pytest.param("\ud800\u202e", r"'\ud800\u202e'", id="lone surrogate and direction mark"),
        pytest.param("x" * 64, f"'{'x' * 64}'", id="longest text that is not shortened"),
        pytest.param("x" * 65, f"'{'x' * 64}'…", id="shortened text"),
        pytest.param(None, "null", id="null"),
        pytest.param(True, "true", id="true"),
        pytest.param(1.5, "1.5", id="number"),
        pytest.param(10**400, f"1{'0' * 63}…", id="shortened number"),
        pytest.param(10**5000, "an integer of thousands of digits", id="number that Python does not write"),
        pytest.param({"secret": 1}, "an object", id="object"),
        pytest.param(["secret"], "an array", id="array"),
    ],
)
def test_quoted_value_is_printable_and_shortened(value: Any, text: str) -> None:
    assert quoted(value) == text


@given(JSON_VALUES)
def test_any_json_value_is_quoted_on_one_printable_line(value: Any) -> None:
    text = quoted(value)

    assert is_printable(text)
    assert len(text) <= 64 * 10 + 3
    text.encode()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("", "", id="empty"),
        pytest.param("x" * MAX_SENTENCE_CHARACTERS, "x" * MAX_SENTENCE_CHARACTERS, id="longest that is not cut"),
        pytest.param("x" * (MAX_SENTENCE_CHARACTERS + 1), f"{'x' * (MAX_SENTENCE_CHARACTERS - 1)}…", id="cut"),
        pytest.param("x" * 12_000_000, f"{'x' * (MAX_SENTENCE_CHARACTERS - 1)}…", id="12 MB"),
        pytest.param("a\nb\0\ud800", r"a\nb\x00\ud800", id="unprintable"),
        pytest.param("\n" * 400, r"\n" * 249 + "\\…", id="cut after escaping"),
        pytest.param("ü 苗", "ü 苗", id="not ASCII"),
    ],
)
def test_sentence_is_short_and_printable(text: str, shown: str) -> None:
    assert sentence(text) == shown
    assert len(shown) <= MAX_SENTENCE_CHARACTERS
