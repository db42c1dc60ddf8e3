"""TenantStore: whatever name it is given, only the tenant's own objects are accessed."""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions import envelope
from shared import events
from shared.cloud.tenant_store import TenantStore, TenantStores
from shared.config import Config
from shared.errors import ObjectNotFound, OutsideTenant, TenantVisionError
from shared.events import ImageRef, Request
from shared.ml.model_cache import ModelCache
from shared.pipeline.runner import PipelineRunner
from shared.runtime.event_record import event_record
from testing import models
from testing.memory_store import MemoryStore
from testing.pictures import picture
from testing.recorded_events import encode_base64

BUCKETS = {"models": "the-models", "uploads": "the-uploads", "results": "the-results"}
CONFIG = Config(
    gcs_bucket="the-models", upload_bucket="the-uploads", results_bucket="the-results", error_topic="e"
)
A, B = "tenant-001", "tenant-002"


class RecordingStore(MemoryStore):
    """Records method, bucket and name of each call."""

    def __init__(self) -> None:
        super().__init__()
        self.accesses: list[tuple[str, str, str]] = []

    def _get(self, verb: str, bucket: str, name: str, generation: int | None) -> tuple[bytes, int, dict[str, str]]:
        self.accesses.append((verb, bucket, name))
        return super()._get(verb, bucket, name, generation)

    def write(self, bucket: str, name: str, data: bytes, **others: Any) -> int:
        self.accesses.append(("write", bucket, name))
        return super().write(bucket, name, data, **others)


@pytest.fixture
def store() -> RecordingStore:
    return RecordingStore()


def methods(bound: TenantStore) -> dict[str, Callable[[str], object]]:
    return {
        "stat": bound.stat,
        "changed": lambda name: bound.changed(name, generation=1),
        "read": bound.read,
        "write": lambda name: bound.write(name, b"", content_type="text/plain"),
    }


# Names


OUTSIDE = [
    "",
    "/",
    A,
    f"uploads/{A}",
    f"uploads/{A}/",
    f"uploads/{A}/beds/",
    f"uploads/{B}/a.jpg",
    f"uploads/{A}0/a.jpg",
    f"uploads/{A[:-1]}/a.jpg",
    f"uploads//{A}/a.jpg",
    f"/uploads/{A}/a.jpg",
    f"UPLOADS/{A}/a.jpg",
    f"uploads/{A.upper()}/a.jpg",
    f"uploads/{A}\u200b/a.jpg",
    "uploads/tenant\u2010001/a.jpg",
    "uploads/\uff54enant-001/a.jpg",
    f"uploads\u2215{A}\u2215a.jpg",
    f"uploads%2f{A}/a.jpg",
    f"uploads/{A}%2fa.jpg",
    f"uploads/{A}/../{B}/a.jpg",
    f"uploads/{A}/beds/../../{B}/a.jpg",
    f"uploads/{A}/..",
    f"uploads/{A}/./a.jpg",
    f"uploads/../uploads/{A}/a.jpg",
    f"gs://the-uploads/uploads/{A}/a.jpg",
    f"https://storage.googleapis.com/the-uploads/uploads/{A}/a.jpg",
    f"elsewhere/{A}/a.jpg",
    f"{A}/uploads/{A}/a.jpg",
    f"uploads/{A}/a\0.jpg",
    f"uploads/{A}/a\r\nHost: elsewhere",
    f"uploads/{A}/a\x7f.jpg",
    f"uploads/{A}/a\u2028.jpg",
    f"uploads/{A}/\ud800.jpg",
    f"uploads/{A}/" + "a" * 1024,
    f"uploads/{A}/" + "ä" * 512,
]


@pytest.mark.parametrize("name", OUTSIDE)
def test_name_outside_the_tenant_is_denied_without_a_call(name: str, store: RecordingStore) -> None:
    for method in methods(TenantStores(store, **BUCKETS).of(A)).values():
        with pytest.raises(OutsideTenant):
            method(name)
    assert store.accesses == []


@pytest.mark.parametrize("kind", ["models", "uploads"])
def test_models_and_uploads_cannot_be_written(kind: str, store: RecordingStore) -> None:
    bound = TenantStores(store, **BUCKETS).of(A)
    with pytest.raises(OutsideTenant):
        bound.write(f"{kind}/{A}/detect.onnx", b"", content_type="text/plain")
    store.put(f"{kind}/{A}/detect.onnx", b"mine")
    assert bound.read(f"{kind}/{A}/detect.onnx").data == b"mine"
    assert store.accesses == [("read", BUCKETS[kind], f"{kind}/{A}/detect.onnx")]


def test_first_part_of_the_name_determines_the_bucket(store: RecordingStore) -> None:
    bound = TenantStores(store, **BUCKETS).of(A)
    for kind, bucket in BUCKETS.items():
        store.accesses.clear()
        store.put(f"{kind}/{A}/x", b"")
        bound.stat(f"{kind}/{A}/x")
        assert store.accesses == [("stat", bucket, f"{kind}/{A}/x")]
    bound.write(f"results/{A}/x", b"", content_type="text/plain")
    assert store.accesses[-1] == ("write", "the-results", f"results/{A}/x")


def test_kind_without_a_bucket_is_denied(store: RecordingStore) -> None:
    bound = TenantStores(store, models="the-models").of(A)
    for kind in ("uploads", "results"):
        with pytest.raises(OutsideTenant):
            bound.stat(f"{kind}/{A}/x")


@pytest.mark.parametrize("tenant_id", ["", "..", "a/b", "A", "a\n", "tenant-001/", "*", "\uff41", "a" * 64])
def test_invalid_tenant_id_gets_no_store(tenant_id: str, store: RecordingStore) -> None:
    with pytest.raises(OutsideTenant):
        TenantStores(store, **BUCKETS).of(tenant_id)


PIECES = st.sampled_from(
    ["models", "uploads", "results", A, B, "", ".", "..", "%2e%2e", "a.jpg", "\0", "gs:", "\r\n"]
)


@given(st.lists(PIECES, max_size=6).map("/".join) | st.text(max_size=20), st.sampled_from([A, B]))
def test_any_name_is_denied_or_in_the_tenant_s_prefixes(name: str, tenant_id: str) -> None:
    for verb, method in methods(TenantStores(store := RecordingStore(), **BUCKETS).of(tenant_id)).items():
        store.accesses.clear()
        try:
            method(name)
        except ObjectNotFound:
            pass
        except OutsideTenant:
            assert store.accesses == []
            continue
        assert store.accesses == [(verb, BUCKETS[name.partition("/")[0]], name)]
        assert_own(store.accesses, tenant_id)


def assert_own(accesses: Sequence[tuple[str, str, str]], tenant_id: str) -> None:
    for verb, bucket, name in accesses:
        kind, owner, *path = name.split("/")
        assert (bucket, owner) == (BUCKETS[kind], tenant_id)
        assert path
        assert path[-1]
        assert not {".", ".."} & set(path)
        assert verb != "write" or kind == "results"


# Capabilities


def test_runner_definitions_and_cache_hold_no_whole_store(store: RecordingStore) -> None:
    ModelCache.configure(store, bucket="the-models")
    try:
        for attributes in (
            vars(PipelineRunner(store, CONFIG)),
            vars(PipelineRunner(store, CONFIG)._pipelines),
            vars(ModelCache),
        ):
            values = list(attributes.values())
            assert store not in values
            assert [each for each in values if isinstance(each, TenantStores)]
    finally:
        ModelCache.configure(MemoryStore(), bucket="b")


def test_tenant_store_has_no_method_that_takes_a_bucket(store: RecordingStore) -> None:
    public = {name for name in dir(TenantStore(store, A, BUCKETS)) if not name.startswith("_")}
    assert public == {"stat", "changed", "read", "write"}


@pytest.mark.parametrize(
    ("tenant_id", "image"),
    [
        (A, f"uploads/{B}/a.png"),
        (A, f"uploads/{A}/../{B}/a.png"),
        (A, f"models/{A}/"),
        (A, f"results/{B}/a.png/annotated.jpg"),
        ("../" + A, f"uploads/../{A}/a.png"),
    ],
)
def test_unchecked_request_for_another_tenant_is_denied(tenant_id: str, image: str, store: RecordingStore) -> None:
    for name in (f"models/{A}/detect.onnx", f"models/{B}/detect.onnx"):
        store.put(name, models.detect())
    for name in (f"uploads/{A}/a.png", f"uploads/{B}/a.png", f"results/{B}/a.png/annotated.jpg"):
        store.put(name, picture(kind="PNG"))
    ModelCache.configure(store, bucket="the-models", threads=1)
    request = Request(tenant_id=tenant_id, image=ImageRef("the-uploads", image, None), pipeline="detect")
    try:
        with pytest.raises(OutsideTenant), event_record():
            PipelineRunner(store, CONFIG).run(request)
    finally:
        ModelCache.clear_cache()
    assert_own(store.accesses, A)


# Any message

IMAGES = st.sampled_from(
    [
        "a.png",
        "../tenant-002/a.png",
        "%2e%2e/tenant-002/a.png",
        "..%2ftenant-002/a.png",
        "..\\tenant-002\\a.png",
        "/a.png",
        "//a.png",
        "a.png/",
        "a.png.",
        "./a.png",
        "tenant-002/a.png",
        "uploads/tenant-002/a.png",
        "uploads/tenant-001/a.png",
        "uploads/tenant-001/../tenant-002/a.png",
        "uploads/tenant-001//a.png",
        "models/tenant-001/detect.onnx",
        "gs://the-uploads/uploads/tenant-002/a.png",
        "gs://the-uploads/uploads/tenant-001/a.png",
        "gs://the-models/models/tenant-002/detect.onnx",
        "gs://elsewhere/uploads/tenant-001/a.png",
        "gs://the-uploads@elsewhere/uploads/tenant-001/a.png",
        "https://storage.googleapis.com/the-uploads/uploads/tenant-002/a.png",
        "file:///etc/passwd",
        "//elsewhere/a.png",
        "a.png?generation=1&alt=media",
        "a.png#1",
        "a.png\0.jpg",
        "a.png\r\nX-Goog-Copy-Source: tenant-002",
        "caf\u00e9.png",
        "cafe\u0301.png",
        "\uff0e\uff0e/tenant-002/a.png",
        "\u2024\u2024/tenant-002/a.png",
        "uploads\u2215tenant-002\u2215a.png",
        "\u202egnp.a",
        "",
        " ",
        "a" * 1100,
        "ä" * 510,
    ]
)
NAMES = IMAGES | st.text(max_size=10) | st.lists(PIECES, max_size=6).map("/".join)
TENANTS = st.sampled_from(
    [
        A,
        A,
        A,
        B,
        "tenant-003",
        "",
        "..",
        "tenant-001/../tenant-002",
        "tenant-001/",
        "TENANT-001",
        "tenant-001\n",
        "\uff54enant-001",
        "tenant\u2010001",
        "%74enant-001",
        "tenant-001\0",
        "a" * 64,
        "-",
        "*",
        1,
        None,
        [A],
    ]
)
FIELDS = st.fixed_dictionaries(
    {"tenant_id": TENANTS, "image": NAMES},
    optional={
        "pipeline": st.sampled_from(["detect", "mine", "../tenant-002/mine", "detect\0", 5]),
        "generation": st.sampled_from(["1000", "x", -1, 1003]),
        "options": st.sampled_from([{"model": "../tenant-002/detect"}, {"labels": ["plant"]}, {"bucket": "b"}]),
    },
)


def enveloped(fields: Any, form: str) -> tuple[dict[str, str], dict[str, Any]]:
    """Return headers and body of a message, in one of its forms."""
    texts = {name: value for name, value in fields.items() if isinstance(value, str)}
    if form == "attributes":
        return {}, {"message": {"attributes": texts, "messageId": "1"}}
    if form == "body":
        return {}, {"message": {"data": encode_base64(json.dumps(fields)), "messageId": "1"}}
    if form == "both":
        return {}, {"message": {"attributes": {"tenant_id": A}, "data": encode_base64(json.dumps(fields))}}
    name = f"uploads/{fields['tenant_id']}/{fields['image']}"
    resource = {"bucket": "the-uploads", "name": name, "generation": fields.get("generation", "1")}
    return {"ce-type": envelope.STORAGE_FINALIZED}, resource


@settings(max_examples=150)
@given(FIELDS, st.sampled_from(["attributes", "body", "both", "upload"]))
def test_no_storage_call_of_any_message_leaves_its_tenant(
    two_tenants: tuple[RecordingStore, PipelineRunner], fields: Any, form: str
) -> None:
    store, pipeline = two_tenants
    store.accesses.clear()
    headers, body = enveloped(fields, form)
    try:
        request = events.parse(envelope.parse(headers, json.dumps(body).encode()), CONFIG)
    except TenantVisionError:
        return
    try:
        with event_record():
            pipeline.run(request)
    except TenantVisionError:
        pass
    finally:
        assert_own(store.accesses, request.tenant_id)
    assert request.tenant_id == (A if form == "both" else str(fields["tenant_id"]).split("/")[0])


@pytest.fixture(scope="module")
def two_tenants() -> Iterator[tuple[RecordingStore, PipelineRunner]]:
    """Return a store with models, pipelines and images of two tenants, and a runner on it."""
    store = RecordingStore()
    for tenant_id in (A, B):
        store.put(f"models/{tenant_id}/detect.onnx", models.detect())
        store.put(f"models/{tenant_id}/pipelines.json", b'{"mine": {"steps": [{"step": "detect"}]}}')
        for path in ("a.png", "/a.png", "uploads/tenant-002/a.png", "tenant-002/a.png", "caf\u00e9.png"):
            store.put(f"uploads/{tenant_id}/{path}", picture(kind="PNG"))
    ModelCache.configure(store, bucket="the-models", threads=1, refresh_s=0.0)
    yield store, PipelineRunner(store, CONFIG)
    ModelCache.clear_cache()
