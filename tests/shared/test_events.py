"""Events to requests: one image of one tenant, or an error. Everything in an event is untrusted."""

import json
import string
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.config import Config
from shared.errors import Ignored, InvalidEvent, InvalidPipeline, Rejected, TenantMismatch, TenantVisionError
from shared.events import Event, ImageMessage, ObjectFinalized, Request, loggable_fields, message_fields, parse
from testing.case_ids import case_id

CONFIG = Config(gcs_bucket="models", error_topic="errors", upload_bucket="up", results_bucket="results")


def message(attributes: Mapping[str, str] | None = None, body: Any = None) -> Request:
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    return parse(Event(ImageMessage(attributes or {}, data), "e-1"), CONFIG)


def parsed(**fields: Any) -> Request:
    """Parse a message with its fields in the body, where they may be of any JSON type."""
    return message(body={"tenant_id": "tenant-001", "image": "a.jpg"} | fields)


def upload(
    name: str, bucket: str = "up", generation: int = 7, metadata: Mapping[str, Any] | None = None
) -> Request:
    return parse(Event(ObjectFinalized(bucket, name, generation, metadata), "e-1"), CONFIG)


# Uploads


@pytest.mark.parametrize(
    ("metadata", "origin_unknown"),
    [(None, True), ({}, False), ({"goog-reserved-file-mtime": "1"}, False)],
    ids=case_id,
)
def test_origin_is_unknown_only_without_metadata(
    metadata: Mapping[str, Any] | None, *, origin_unknown: bool
) -> None:
    assert upload("uploads/t/a.jpg", metadata=metadata).origin_unknown is origin_unknown


def test_copy_of_own_output_is_ignored() -> None:
    with pytest.raises(Ignored, match="copy of an output"):
        upload("uploads/t/a.jpg", metadata={"tenant-vision-work": "0"})


def test_upload_requests_its_own_image_by_the_default_pipeline() -> None:
    request = upload("uploads/tenant-001/beds/a.jpg")
    assert (request.tenant_id, request.pipeline, request.event_id) == ("tenant-001", "detect", "e-1")
    assert (request.image.uri, request.image.generation) == ("gs://up/uploads/tenant-001/beds/a.jpg", 7)
    assert request.source == "upload"
    assert request.result_prefix == "results/tenant-001/beds/a.jpg"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a.jpg",
        "upload/t/a.jpg",
        "Uploads/t/a.jpg",
        "/uploads/t/a.jpg",
        "results/t/a.jpg/result.json",
        "results/uploads/t/a.jpg",
        "models/t/detect.onnx",
        "uploads",
        "uploads/",
        "uploads/t/",
        "uploads/t/beds/",
    ],
)
def test_object_outside_the_uploads_is_ignored(name: str) -> None:
    with pytest.raises(Ignored):
        upload(name)


@pytest.mark.parametrize("bucket", ["results", "models", "UP", "up-2", ""])
def test_upload_to_another_bucket_is_ignored(bucket: str) -> None:
    with pytest.raises(Ignored):
        upload("uploads/tenant-001/a.jpg", bucket=bucket)


@pytest.mark.parametrize(
    "name",
    [
        "uploads/a.jpg",
        "uploads//a.jpg",
        "uploads/Tenant/a.jpg",
        "uploads/-t/a.jpg",
        "uploads/t-/a.jpg",
        "uploads/t_1/a.jpg",
        "uploads/../a.jpg",
        "uploads/./a.jpg",
        "uploads/t/../u/a.jpg",
        "uploads/t/./a.jpg",
        "uploads/t/..",
        "uploads/t/a\n.jpg",
        "uploads/t/a\0.jpg",
        "uploads/t/a\u2028.jpg",
        "uploads/t/\ud800.jpg",
        "uploads/t\n/a.jpg",
        f"uploads/{'t' * 64}/a.jpg",
        f"uploads/t/{'a' * 1010}",
        f"uploads/t/{'ä' * 505}",
    ],
)
def test_upload_with_an_invalid_tenant_or_name_is_rejected(name: str) -> None:
    with pytest.raises(InvalidEvent):
        upload(name)


@pytest.mark.parametrize(
    "path",
    [
        "a",
        "a b.jpg",
        "ä/ö.jpg",
        "...",
        "..a/b..",
        "a//b.jpg",
        "a\\..\\b.jpg",
        "%2e%2e/a.jpg",
        "a?b#c.jpg",
        "x" * 980,
    ],
)
def test_unusual_image_names_are_accepted(path: str) -> None:
    assert upload(f"uploads/t/{path}").image.name == f"uploads/t/{path}"


def test_results_of_the_longest_image_name_have_valid_names() -> None:
    for length in range(970, 1024):
        name = "uploads/t/" + "a" * (length - len("uploads/t/"))
        try:
            request = upload(name)
        except InvalidEvent:
            continue
        for file in ("result.json", "annotated.jpg", "thumbnail-8192.jpg"):
            assert len(f"{request.result_prefix}/{file}".encode()) <= 1024


# Messages


@pytest.mark.parametrize("tenant_id", ["a", "0", "tenant-001", "a--b", "a" * 63])
def test_valid_tenant_id_is_accepted(tenant_id: str) -> None:
    assert parsed(tenant_id=tenant_id).tenant_id == tenant_id


@pytest.mark.parametrize(
    "tenant_id",
    [
        None,
        "",
        " ",
        "A",
        "-a",
        "a-",
        "a_b",
        "a.b",
        "a/b",
        "..",
        "a" * 64,
        "ä",
        "a\n",
        " a",
        1,
        True,
        [],
        {},
        "\u0663",
        "a\0",
    ],
    ids=case_id,
)
def test_invalid_tenant_id_is_rejected(tenant_id: Any) -> None:
    with pytest.raises(InvalidEvent, match="tenant_id"):
        parsed(tenant_id=tenant_id)


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("a.jpg", "a.jpg"),
        ("beds/a b.jpg", "beds/a b.jpg"),
        ("uploads/tenant-001/a.jpg", "a.jpg"),
        ("gs://up/uploads/tenant-001/a.jpg", "a.jpg"),
        ("gs://up/uploads/tenant-001/uploads/tenant-002/a.jpg", "uploads/tenant-002/a.jpg"),
        ("/a.jpg", "/a.jpg"),
        ("http://elsewhere/a.jpg", "http://elsewhere/a.jpg"),
        ("tenant-002/a.jpg", "tenant-002/a.jpg"),
        ("ü.jpg", "ü.jpg"),
    ],
)
def test_own_image_is_accepted_in_each_form(image: str, name: str) -> None:
    request = parsed(image=image)
    assert (request.image.bucket, request.image.name) == ("up", f"uploads/tenant-001/{name}")
    assert request.image.generation is None
    assert request.source == "message"


@pytest.mark.parametrize(
    "image",
    [
        "uploads/tenant-002/a.jpg",
        "uploads/tenant-0011/a.jpg",
        "uploads/tenant-001",
        "uploads/a.jpg",
        "uploads/",
        "gs://up/uploads/tenant-002/a.jpg",
        "gs://up/models/tenant-001/detect.onnx",
        "gs://up/results/tenant-001/a.jpg/annotated.jpg",
        "gs://up/a.jpg",
        "gs://up",
        "gs://",
        "gs://models/uploads/tenant-001/a.jpg",
        "gs://results/uploads/tenant-001/a.jpg",
        "gs:///uploads/tenant-001/a.jpg",
        "gs://up/uploads/tenant-002/../tenant-001/a.jpg",
    ],
)
def test_image_of_another_tenant_is_a_mismatch(image: str) -> None:
    with pytest.raises(TenantMismatch, match="tenant-001"):
        parsed(image=image)


@pytest.mark.parametrize(
    "image",
    [
        None,
        "",
        " \n",
        "/",
        "beds/",
        "..",
        ".",
        "../tenant-002/a.jpg",
        "beds/../../tenant-002/a.jpg",
        "uploads/tenant-001/../tenant-002/a.jpg",
        "gs://up/uploads/tenant-001/../tenant-002/a.jpg",
        "gs://up/uploads/tenant-001/",
        "uploads/tenant-001/",
        "a\0.jpg",
        "a\n.jpg",
        "a\x7f.jpg",
        "a\x85.jpg",
        "\ud800",
        "a" * 3000,
        "ä" * 600,
        1,
        True,
        [],
        {"gs": "up"},
    ],
    ids=case_id,
)
def test_invalid_image_is_rejected(image: Any) -> None:
    with pytest.raises(InvalidEvent):
        parsed(image=image)


@pytest.mark.parametrize(
    ("generation", "number"),
    [(None, None), ("", None), ("1", 1), (1, 1), ("1795380285104925", 1795380285104925), (2**63 - 1, 2**63 - 1)],
)
def test_valid_generation_is_accepted(generation: Any, number: int | None) -> None:
    if generation == "":
        assert message({"tenant_id": "t", "image": "a", "generation": ""}).image.generation is None
    else:
        assert parsed(generation=generation).image.generation == number


@pytest.mark.parametrize(
    "generation",
    [0, "0", -1, "-1", "+1", " 1", "1.0", 1.0, "1e3", "x", True, [], {}, 2**63, "9" * 19, "9" * 20, "\u0661"],
    ids=case_id,
)
def test_invalid_generation_is_rejected(generation: Any) -> None:
    with pytest.raises(InvalidEvent, match="generation"):
        parsed(generation=generation)


@pytest.mark.parametrize("pipeline", ["detect", "a", "sahi_detect", "my-own-2", "a" * 63])
def test_valid_pipeline_name_is_accepted(pipeline: Any) -> None:
    assert parsed(pipeline=pipeline).pipeline == pipeline


@pytest.mark.parametrize(
    "pipeline", ["", "Detect", "1a", "_a", "a b", "a/b", "../a", "a" * 64, "a\n", 1, [], {}, True], ids=case_id
)
def test_invalid_pipeline_name_is_rejected(pipeline: Any) -> None:
    with pytest.raises((InvalidPipeline, InvalidEvent)):
        parsed(pipeline=pipeline)


@pytest.mark.parametrize("request_id", ["order-1", "ü", "x" * 256, "a b"], ids=case_id)
def test_printable_request_id_is_accepted(request_id: str) -> None:
    assert parsed(request_id=request_id).request_id == request_id


@pytest.mark.parametrize("request_id", ["x" * 257, "a\nb", "\0", 5, True, [], {}], ids=case_id)
def test_invalid_request_id_is_rejected(request_id: Any) -> None:
    with pytest.raises(InvalidEvent, match="request_id"):
        parsed(request_id=request_id)


def test_null_pipeline_and_request_id_have_defaults() -> None:
    request = parsed(pipeline=None, request_id=None)
    assert (request.pipeline, request.request_id, dict(request.options)) == ("detect", None, {})


def test_attributes_override_the_body_field_by_field() -> None:
    request = message(
        {"tenant_id": "tenant-001", "image": "a.jpg", "request_id": ""},
        {"tenant_id": "tenant-002", "image": "b.jpg", "generation": 5, "request_id": "order-1"},
    )
    assert (request.tenant_id, request.image.name) == ("tenant-001", "uploads/tenant-001/a.jpg")
    assert (request.image.generation, request.request_id) == (5, "order-1")


def test_tenant_attribute_with_an_image_of_another_is_a_mismatch() -> None:
    with pytest.raises(TenantMismatch):
        message({"tenant_id": "tenant-001"}, {"image": "uploads/tenant-002/a.jpg"})


def test_options_are_read_from_the_body_only() -> None:
    request = message(
        {"tenant_id": "t", "image": "a", "options": '{"a": 1}'}, {"options": {"confidence_threshold": 0.5}}
    )
    assert dict(request.options) == {"confidence_threshold": 0.5}
    assert dict(message({"tenant_id": "t", "image": "a", "options": '{"a": 1}'}).options) == {}


@pytest.mark.parametrize("options", [[], "{}", 1, True], ids=case_id)
def test_options_that_are_not_an_object_are_rejected(options: Any) -> None:
    with pytest.raises(InvalidEvent, match="options"):
        parsed(options=options)


@pytest.mark.parametrize(
    "body",
    [b"[]", b"null", b'"a"', b"1", b"{", b"\xff", b"{}{}", b"{'a': 1}", b'{"a": NaN}', b"[" * 99_999],
    ids=case_id,
)
def test_body_that_is_not_a_json_object_is_rejected(body: bytes) -> None:
    with pytest.raises(InvalidEvent):
        message({"tenant_id": "t", "image": "a"}, body)


@pytest.mark.parametrize("body", [b"", b" ", b"\n", b"{}", b'{"unknown": [1]}'])
def test_body_may_be_empty_or_without_known_fields(body: bytes) -> None:
    assert message({"tenant_id": "t", "image": "a"}, body).image.name == "uploads/t/a"


# Loggable fields of rejected events


@pytest.mark.parametrize(
    ("fields", "safe"),
    [
        ({}, {}),
        ({"tenant_id": "tenant-001", "image": "a.jpg"}, {"tenant_id": "tenant-001", "image": "a.jpg"}),
        ({"tenant_id": "No Tenant"}, {}),
        ({"image": "a\nb"}, {}),
        ({"image": ""}, {}),
        ({"image": "x" * 5000}, {}),
        ({"generation": 5, "pipeline": "detect"}, {"generation": "5", "pipeline": "detect"}),
        ({"generation": -5, "pipeline": "De tect"}, {}),
        ({"request_id": "r\0"}, {}),
        ({"image": [], "request_id": {}, "tenant_id": None}, {}),
        ({"secret": "x"}, {}),
    ],
    ids=case_id,
)
def test_only_valid_fields_are_loggable(fields: Any, safe: dict[str, str]) -> None:
    event = Event(ImageMessage({}, json.dumps(fields).encode()), "e-1")
    assert loggable_fields(event) == safe | {"event_id": "e-1"}


def test_attributes_are_loggable_when_the_body_is_malformed() -> None:
    assert loggable_fields(Event(ImageMessage({"tenant_id": "t", "other": "x"}, b"{"))) == {"tenant_id": "t"}


@pytest.mark.parametrize(
    ("name", "tenant"),
    [("uploads/t/a.jpg", {"tenant_id": "t"}), ("uploads/a.jpg", {}), ("x/t/a", {}), ("uploads/T/a", {})],
    ids=case_id,
)
def test_name_and_generation_of_an_upload_are_loggable(name: str, tenant: dict[str, str]) -> None:
    logged = loggable_fields(Event(ObjectFinalized("up", name, 7)))
    assert logged == {"image": f"gs://up/{name}", "generation": "7"} | tenant


# Any message

PIECES = st.sampled_from(
    [
        "uploads",
        "results",
        "models",
        "gs:",
        "up",
        "tenant-001",
        "tenant-002",
        "..",
        ".",
        "",
        "a.jpg",
        "/",
        "//",
        "\0",
        "ü",
        "%2e",
    ]
)
PATHS = st.lists(PIECES, max_size=7).map("/".join) | st.text(max_size=12) | st.text(string.printable, max_size=12)
TENANTS = st.sampled_from(["tenant-001", "tenant-002", "a", "..", "tenant-001/..", "", "T"]) | st.text(
    "a-1/.", max_size=5
)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "tenant_id": TENANTS,
        "image": PATHS,
        "generation": st.sampled_from(["1", "0", "x"]) | st.integers(),
        "pipeline": st.sampled_from(["detect", "sahi", "..", ""]),
        "request_id": st.text(max_size=5),
    },
)


@given(FIELDS.map(lambda fields: {name: str(value) for name, value in fields.items()}), FIELDS)
def test_accepted_message_stays_in_its_tenant_s_prefixes(attributes: dict[str, str], body: dict[str, Any]) -> None:
    payload = ImageMessage(attributes, json.dumps(body).encode())
    event = Event(payload)
    try:
        request = parse(event, CONFIG)
    except Rejected:
        assert set(loggable_fields(event)) <= {"tenant_id", "image", "generation", "pipeline", "request_id"}
        return
    sent = message_fields(payload)
    assert request.tenant_id == sent["tenant_id"]
    assert_in_tenant_prefixes(request)


@given(PATHS, TENANTS)
def test_accepted_upload_stays_in_its_tenant_s_prefixes(path: str, tenant_id: str) -> None:
    for name in (path, f"uploads/{tenant_id}/{path}"):
        try:
            request = upload(name)
        except TenantVisionError:
            continue
        assert request.image.name == name
        assert name.split("/")[1] == request.tenant_id
        assert_in_tenant_prefixes(request)


def assert_in_tenant_prefixes(request: Request) -> None:
    prefix = f"uploads/{request.tenant_id}/"
    assert request.image.bucket == "up"
    assert request.image.name.startswith(prefix)
    assert len(request.image.name) > len(prefix)
    assert request.result_prefix.startswith(f"results/{request.tenant_id}/")
    for part in request.image.name.split("/"):
        assert part not in {".", ".."}
    assert request.image.name.isprintable() or " " in request.image.name or not request.image.name.isascii()
    assert set(request.tenant_id) <= set(string.ascii_lowercase + string.digits + "-")


# Error messages


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        pytest.param({"tenant_id": None}, "tenant_id is required", id="missing tenant"),
        pytest.param(
            {"tenant_id": "No Tenant"},
            "tenant_id must be 1 to 63 of a-z, 0-9 and inner hyphens, got 'No Tenant'",
            id="invalid tenant",
        ),
        pytest.param(
            {"generation": "x"}, "generation must be an integer from 1 to 2^63-1, got 'x'", id="invalid generation"
        ),
        pytest.param(
            {"pipeline": "De tect"},
            "pipeline must be a name of a-z, then up to 62 of a-z, 0-9, _ and -, got 'De tect'",
            id="invalid pipeline",
        ),
        pytest.param({"options": []}, "options must be a JSON object, got an array", id="invalid options"),
        pytest.param(
            {"request_id": 5},
            "request_id must be a string of at most 256 printable characters, got 5",
            id="number",
        ),
        pytest.param(
            {"image": "gs://b/a.jpg"},
            "image is not in the uploads of tenant 'tenant-001': expected a path under 'uploads/tenant-001/' "
            "in the upload bucket, got 'gs://b/a.jpg'",
            id="another bucket",
        ),
        pytest.param(
            {"image": "a/../b.jpg"}, "image must not have '.' or '..' in its path, got 'a/../b.jpg'", id="dots"
        ),
    ],
)
def test_error_message_names_field_expectation_and_value(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(Rejected) as caught:
        parsed(**fields)

    assert str(caught.value) == text
