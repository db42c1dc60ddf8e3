"""JSON from strangers: its values, its depth and its memory are bounded."""

import json
from typing import Any

import pytest

from shared import untrusted_json
from shared.errors import InvalidEvent, InvalidPipeline
from shared.events import MAX_MESSAGE_BODY_BYTES, ImageMessage, message_fields, parse_json
from shared.untrusted_json import MAX_JSON_DEPTH, MAX_JSON_VALUES, InvalidJson
from testing.case_ids import case_id
from testing.limited_process import run_limited


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


@pytest.mark.parametrize(
    "text",
    ["[" + "0," * (MAX_JSON_VALUES - 1) + "0]", "[" + "[]," * (MAX_JSON_VALUES // 2 - 1) + "[]]"],
    ids=["0", "[]"],
)
def test_json_at_the_limit_of_values_is_parsed(text: str) -> None:
    assert untrusted_json.parse(text.encode()) == json.loads(text)


@pytest.mark.parametrize("value", ["0", "[]", "{}", '{"":0}'])
def test_json_beyond_the_limit_of_values_is_invalid(value: str) -> None:
    text = "[" + ",".join([value] * (MAX_JSON_VALUES + 1)) + "]"

    with pytest.raises(InvalidJson, match=rf"the limit is {MAX_JSON_VALUES}"):
        untrusted_json.parse(text.encode())


def test_json_at_the_limit_of_depth_is_parsed() -> None:
    assert untrusted_json.parse(nested(MAX_JSON_DEPTH)) == json.loads(nested(MAX_JSON_DEPTH))


@pytest.mark.parametrize("depth", [MAX_JSON_DEPTH + 1, 900, MAX_JSON_VALUES], ids=case_id)
def test_json_beyond_the_limit_of_depth_is_invalid(depth: int) -> None:
    for text in (nested(depth), b'{"":' * depth + b"0" + b"}" * depth):
        with pytest.raises(InvalidJson, match=f"nested more than {MAX_JSON_DEPTH} deep"):
            untrusted_json.parse(text)


@pytest.mark.parametrize("digits", [4300, 4301, 100_000], ids=case_id)
def test_integer_of_thousands_of_digits_is_parsed_or_invalid(digits: int) -> None:
    for sign in ("", "-"):
        with pytest.raises(InvalidEvent):
            message_fields(ImageMessage({}, f"[{sign}{'9' * digits}]".encode()))


@pytest.mark.parametrize("unit", ["[],", "{},", "0,", '{"":0},', '"",', "[[[[]]]],"])
def test_body_of_16_mib_takes_little_memory(unit: str) -> None:
    code = f"""
from shared.errors import InvalidEvent
from shared.events import parse_json
body = b"[" + b'{unit}' * ({16 * 2**20} // {len(unit)} - 1) + b"0]"
try:
    parse_json(body)
except InvalidEvent as error:
    print(error)
"""
    assert "the limit is" in run_limited(code, max_bytes=100 * 2**20)


def test_message_body_beyond_its_limit_is_rejected() -> None:
    fields: dict[str, Any] = {"tenant_id": "a", "options": {"labels": [""]}}
    padding = MAX_MESSAGE_BODY_BYTES - len(json.dumps(fields))
    fields["options"]["labels"] = ["x" * padding]
    assert message_fields(ImageMessage({}, json.dumps(fields).encode())) == fields

    fields["options"]["labels"] = ["x" * (padding + 1)]
    with pytest.raises(InvalidEvent, match=f"the limit is {MAX_MESSAGE_BODY_BYTES} bytes"):
        message_fields(ImageMessage({}, json.dumps(fields).encode()))


def test_events_name_the_body_in_the_sentence() -> None:
    with pytest.raises(InvalidEvent, match=r"^body must be valid JSON in UTF-8$"):
        parse_json(b"no JSON")
    with pytest.raises(InvalidEvent, match=r"^body must be valid JSON: it is nested more than"):
        parse_json(nested(100))


def test_invalid_json_is_no_verdict_of_its_own() -> None:
    assert not issubclass(InvalidJson, (InvalidEvent, InvalidPipeline))
