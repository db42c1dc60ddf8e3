"""ObjectStore against the storage emulator, and against a server with scripted_server."""

import gzip
import inspect
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import google.api_core.exceptions
import google.auth.exceptions
import google.cloud.storage.exceptions
import pytest
import requests.exceptions
import urllib3.exceptions
from google.cloud.storage.retry import DEFAULT_RETRY

from local.stack import Stack
from shared.cloud import object_store
from shared.cloud.object_store import ObjectStore
from shared.cloud.objects import crc32c
from shared.errors import DeadlineExceeded, ObjectChanged, ObjectNotFound, StorageUnavailable
from shared.runtime import deadline
from testing import scripted_server
from testing.case_ids import case_id
from testing.cloud import Cloud
from testing.scripted_server import Response

# A server's URL, and optionally the timeout of each call -> a store.
StoreFactory = Callable[..., ObjectStore]

# Against the emulator


@pytest.fixture
def store(emulators: Stack, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", emulators.storage_url)
    return ObjectStore(project="p", call_timeout_s=10)


@pytest.fixture
def bucket(cloud: Cloud) -> str:
    name: str = cloud.uploads.name
    return name


@pytest.mark.parametrize("data", [b"", b"\0", b"\x1f\x8b no gzip", b"x" * 300_000], ids=case_id)
def test_written_object_is_read_back(data: bytes, store: ObjectStore, bucket: str) -> None:
    generation = store.write(bucket, "a b/ü#?%.bin", data, content_type="text/plain", metadata={"k": "v"})
    stored = store.read(bucket, "a b/ü#?%.bin")
    assert (stored.data, stored.generation, stored.crc32c) == (data, generation, crc32c(data))
    assert stored.uri == f"gs://{bucket}/a b/ü#?%.bin"
    stat = store.stat(bucket, "a b/ü#?%.bin")
    assert (stat.generation, stat.size, stat.crc32c) == (generation, len(data), crc32c(data))
    assert stat.metadata == {"k": "v"}


def test_missing_object_is_not_found(store: ObjectStore, bucket: str) -> None:
    for call in (
        lambda: store.stat(bucket, "nothing"),
        lambda: store.read(bucket, "nothing"),
        lambda: store.read("there-is-no-such-bucket", "nothing"),
        lambda: store.changed(bucket, "nothing", generation=1),
    ):
        with pytest.raises(ObjectNotFound):
            call()


def test_overwritten_generation_is_not_found(store: ObjectStore, bucket: str) -> None:
    old = store.write(bucket, "o", b"old", content_type="text/plain")
    new = store.write(bucket, "o", b"new", content_type="text/plain")
    assert store.read(bucket, "o", generation=new).data == b"new"
    for call in (store.stat, store.read):
        with pytest.raises(ObjectNotFound):
            call(bucket, "o", generation=old)


@pytest.mark.parametrize(
    ("size", "limit", "has_data"), [(0, 0, True), (0, 5, True), (5, 5, True), (6, 5, False), (9000, 5, False)]
)
def test_object_larger_than_the_maximum_is_returned_without_data(
    size: int, limit: int, *, has_data: bool, store: ObjectStore, bucket: str
) -> None:
    generation = store.write(bucket, "o", b"x" * size, content_type="text/plain")
    stored = store.read(bucket, "o", max_bytes=limit)
    assert stored.data == (b"x" * size if has_data else None)
    assert stored.generation == generation


def test_changed_tells_whether_another_generation_is_live(store: ObjectStore, bucket: str) -> None:
    old = store.write(bucket, "o", b"old", content_type="text/plain")
    assert not store.changed(bucket, "o", generation=old)
    new = store.write(bucket, "o", b"new", content_type="text/plain")
    assert store.changed(bucket, "o", generation=old)
    assert not store.changed(bucket, "o", generation=new)


def test_write_with_a_failed_precondition_changes_nothing(store: ObjectStore, bucket: str) -> None:
    first = store.write(bucket, "o", b"1", content_type="text/plain", if_generation=0)
    with pytest.raises(ObjectChanged):
        store.write(bucket, "o", b"2", content_type="text/plain", if_generation=0)
    second = store.write(bucket, "o", b"3", content_type="text/plain", if_generation=first)
    with pytest.raises(ObjectChanged):
        store.write(bucket, "o", b"4", content_type="text/plain", if_generation=first)
    assert store.read(bucket, "o").data == b"3"
    assert store.stat(bucket, "o").generation == second


def test_only_one_of_many_concurrent_first_writers_succeeds(store: ObjectStore, bucket: str) -> None:
    outcomes: list[int | None] = []

    def write(number: int) -> None:
        try:
            outcomes.append(store.write(bucket, "o", b"%d" % number, content_type="text/plain", if_generation=0))
        except ObjectChanged:
            outcomes.append(None)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 8
    assert len([each for each in outcomes if each]) == 1


def test_write_to_a_missing_bucket_is_unavailable(store: ObjectStore) -> None:
    with pytest.raises(StorageUnavailable):
        store.write("there-is-no-such-bucket", "o", b"", content_type="text/plain")


# Content-Encoding


def test_object_stored_with_gzip_encoding_is_decompressed(store: ObjectStore, cloud: Cloud, bucket: str) -> None:
    handle = cloud.uploads.blob("o")
    handle.content_encoding = "gzip"
    stored_bytes = gzip.compress(b"content" * 1000)
    handle.upload_from_string(stored_bytes, content_type="image/jpeg")

    stored = store.read(bucket, "o", max_bytes=7000)

    assert (stored.data, stored.generation) == (b"content" * 1000, handle.generation)
    assert stored.crc32c == crc32c(stored_bytes)
    assert store.read(bucket, "o", max_bytes=6999).data is None


def gzipped(data: bytes, *, encoding: str = "gzip") -> Response:
    """Return storage's response to a download of an object with a Content-Encoding."""
    headers = {"content-encoding": encoding, "x-goog-generation": "17", "x-goog-hash": f"crc32c={crc32c(data)}"}
    return Response(body=data, headers=headers)


@pytest.mark.parametrize("encoding", ["gzip", "GZIP"])
def test_checksum_of_a_compressed_download_is_that_of_the_stored_bytes(
    encoding: str, failing: StoreFactory
) -> None:
    compressed = gzip.compress(b"content")
    with scripted_server.serve_responses(gzipped(compressed, encoding=encoding)) as (url, _):
        stored = failing(url).read("b", "o", max_bytes=100)
        assert (stored.data, stored.crc32c) == (b"content", crc32c(compressed))
    damaged = gzipped(compressed)
    damaged.body = compressed[:-1] + b"?"
    with scripted_server.serve_responses(damaged) as (url, _), pytest.raises(StorageUnavailable, match="checksum"):
        failing(url).read("b", "o", max_bytes=100)


# Faults

CALLS = {
    "stat": lambda store: store.stat("b", "o"),
    "changed": lambda store: store.changed("b", "o", generation=17),
    "read": lambda store: store.read("b", "o"),
    "read up to a limit": lambda store: store.read("b", "o", max_bytes=100),
    "write": lambda store: store.write("b", "o", b"data", content_type="text/plain"),
    "write over": lambda store: store.write("b", "o", b"data", content_type="text/plain", if_generation=1),
}
READING_CALLS = [call for call in CALLS if not call.startswith("write")]


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> StoreFactory:
    """Return a function that makes a store for a server's URL, with a timeout for each call."""

    def store(url: str, timeout_s: float = 0.4) -> ObjectStore:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
        return ObjectStore(project="p", call_timeout_s=timeout_s)

    return store


UNAVAILABLE_STATUSES = [
    s for s in (*range(300, 309), *range(400, 430), 431, 451, *range(500, 512)) if s not in {304, 404, 412, 416}
]


@pytest.mark.parametrize("status", UNAVAILABLE_STATUSES)
@pytest.mark.parametrize("call", CALLS)
def test_every_status_except_404_and_412_is_unavailable(call: str, status: int, failing: StoreFactory) -> None:
    with scripted_server.serve_responses(Response(status)) as (url, _), pytest.raises(StorageUnavailable):
        CALLS[call](failing(url, 0.05))


@pytest.mark.parametrize("call", READING_CALLS)
def test_status_404_is_not_found_without_a_retry(call: str, failing: StoreFactory) -> None:
    with scripted_server.serve_responses(Response(404)) as (url, requests), pytest.raises(ObjectNotFound):
        CALLS[call](failing(url))
    assert len(requests) == 1, "a 404 was retried"


NO_BUCKET = "The specified bucket does not exist."


@pytest.mark.parametrize(
    "body", [NO_BUCKET.encode(), json.dumps({"error": {"code": 404, "message": NO_BUCKET}}).encode()]
)
@pytest.mark.parametrize("call", READING_CALLS)
def test_missing_bucket_is_unavailable_and_not_a_missing_object(
    call: str, body: bytes, failing: StoreFactory
) -> None:
    unavailable = pytest.raises(StorageUnavailable, match="bucket 'b' not found")
    with scripted_server.serve_responses(Response(404, body)) as (url, _), unavailable:
        CALLS[call](failing(url))


@pytest.mark.parametrize("name", [NO_BUCKET, f": {NO_BUCKET}"])
@pytest.mark.parametrize("call", READING_CALLS)
def test_object_named_like_the_missing_bucket_message_is_not_found(
    call: str, name: str, failing: StoreFactory
) -> None:
    message = f"No such object: b/{name}"
    for body in (message.encode(), json.dumps({"error": {"code": 404, "message": message}}).encode()):
        with scripted_server.serve_responses(Response(404, body)) as (url, _), pytest.raises(ObjectNotFound):
            CALLS[call](failing(url))


def test_status_412_is_object_changed(failing: StoreFactory) -> None:
    with scripted_server.serve_responses(Response(412)) as (url, _), pytest.raises(ObjectChanged):
        CALLS["write over"](failing(url))


@pytest.mark.parametrize(
    ("call", "status"),
    [("stat", 304), ("read", 304), ("write", 304), ("stat", 416), ("changed", 416), ("write", 416)],
)
def test_unexpected_status_304_or_416_is_unavailable(call: str, status: int, failing: StoreFactory) -> None:
    with scripted_server.serve_responses(Response(status)) as (url, _), pytest.raises(StorageUnavailable):
        CALLS[call](failing(url))


@pytest.mark.parametrize("fault", [scripted_server.RESET, scripted_server.SILENCE])
@pytest.mark.parametrize("call", CALLS)
def test_broken_or_silent_connection_ends_within_the_timeout(
    call: str, fault: Response | str, failing: StoreFactory
) -> None:
    with scripted_server.serve_responses(fault) as (url, _):
        store = failing(url)
        began = time.monotonic()
        with pytest.raises(StorageUnavailable):
            CALLS[call](store)
        assert time.monotonic() - began < 4


@pytest.mark.parametrize("call", CALLS)
def test_dead_server_is_unavailable_within_the_timeout(call: str, failing: StoreFactory) -> None:
    with scripted_server.serve_responses(Response()) as (url, _):
        pass
    began = time.monotonic()
    with pytest.raises(StorageUnavailable):
        CALLS[call](failing(url))
    assert time.monotonic() - began < 4


# The event deadline


@pytest.mark.parametrize(
    "fault", [scripted_server.RESET, scripted_server.SILENCE, Response(503)], ids=["reset", "silence", "503"]
)
@pytest.mark.parametrize("call", ["stat", "read", "write"])
def test_no_call_outlasts_the_event_deadline(call: str, fault: Response | str, failing: StoreFactory) -> None:
    with scripted_server.serve_responses(fault) as (url, _):
        store = failing(url, timeout_s=60)
        began = time.monotonic()
        with deadline.fail_after(0.2), pytest.raises(StorageUnavailable):
            CALLS[call](store)
        assert time.monotonic() - began < 4


@pytest.mark.parametrize("call", CALLS)
def test_no_request_is_sent_after_the_event_deadline(call: str, failing: StoreFactory) -> None:
    with scripted_server.serve_responses(Response()) as (url, requests):
        with deadline.fail_after(0), pytest.raises(DeadlineExceeded):
            CALLS[call](failing(url))
        assert requests == []


def test_slow_download_ends_at_the_event_deadline(failing: StoreFactory) -> None:
    # Each byte arrives within the read timeout, and the last would arrive after 20 s.
    slow = media(b"x" * 10_000_000)
    slow.pause_s = 0.02
    with scripted_server.serve_responses(slow) as (url, _):
        began = time.monotonic()
        with deadline.fail_after(0.3), pytest.raises(DeadlineExceeded):
            failing(url, timeout_s=60).read("b", "o")
        assert time.monotonic() - began < 4


BODIES = {
    "an empty body": b"",
    "a page": b"<html>Log in to the airport's network</html>",
    "half a body": b'{"name": "o", "gen',
    "a list": b"[]",
    "null": b"null",
    "an empty object": b"{}",
    "a generation that is none": b'{"generation": "x", "crc32c": "AAAAAA=="}',
    "a generation that is null": b'{"generation": null, "crc32c": "AAAAAA==", "size": "0"}',
}


@pytest.mark.parametrize("case", BODIES)
@pytest.mark.parametrize("call", CALLS)
def test_malformed_response_is_unavailable(call: str, case: str, failing: StoreFactory) -> None:
    with (
        scripted_server.serve_responses(Response(body=BODIES[case])) as (url, _),
        pytest.raises(StorageUnavailable),
    ):
        CALLS[call](failing(url))


@pytest.mark.parametrize("call", ["stat", "changed", "read"])
def test_truncated_response_is_unavailable(call: str, failing: StoreFactory) -> None:
    answer = Response(body=b'{"generation": "1",', content_length=1000)
    with scripted_server.serve_responses(answer) as (url, _), pytest.raises(StorageUnavailable):
        CALLS[call](failing(url))


def media(data: bytes, *, crc: str | None = None) -> Response:
    headers = {"x-goog-generation": "17", "x-goog-hash": f"crc32c={crc or crc32c(data)}"}
    return Response(body=data, headers={"content-type": "image/jpeg"} | headers)


def test_read_takes_generation_and_checksum_from_one_response(failing: StoreFactory) -> None:
    with scripted_server.serve_responses(media(b"good")) as (url, requests):
        stored = failing(url).read("b", "o")
    assert (stored.data, stored.generation) == (b"good", 17)
    assert len(requests) == 1, "more than one request was sent"


def test_damaged_download_is_unavailable(failing: StoreFactory) -> None:
    damaged = media(b"bad", crc=crc32c(b"good"))
    with scripted_server.serve_responses(damaged) as (url, _), pytest.raises(StorageUnavailable, match="damaged"):
        failing(url).read("b", "o")


@pytest.mark.parametrize(
    "fault",
    [*map(Response, (408, 429, 500, 502, 503, 504)), scripted_server.RESET],
    ids=lambda f: getattr(f, "status", f),
)
@pytest.mark.parametrize("call", CALLS)
def test_transient_fault_is_retried_within_the_call(
    call: str, fault: Response | str, failing: StoreFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_store, "DEFAULT_RETRY", DEFAULT_RETRY.with_delay(initial=0.01))  # a second, else
    good = media(b"") if call.startswith("read") else scripted_server.object_metadata()
    with scripted_server.serve_responses(fault, good) as (url, requests):
        CALLS[call](failing(url, 10))
    assert len(requests) == 2


def test_error_message_names_the_object_and_not_the_server(failing: StoreFactory) -> None:
    answer = Response(403, b'{"error": {"message": "secret"}}')
    with scripted_server.serve_responses(answer) as (url, _), pytest.raises(StorageUnavailable) as caught:
        failing(url).stat("b", "o")
    assert str(caught.value) == "Cloud Storage request failed for gs://b/o"


def test_storage_without_credentials_and_project_is_unavailable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("STORAGE_EMULATOR_HOST", "GOOGLE_CLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "nothing.json"))
    with pytest.raises(StorageUnavailable):
        ObjectStore(call_timeout_s=0.4).stat("b", "o")


# Every error of the client libraries is translated

UNREACHABLE = {
    "AsyncRestUnsupportedParameterError",  # raised by asynchronous clients
    "InvalidPathError",  # raised by downloads of many files to a folder
    "ProxySchemeUnsupported",  # raised for a proxy that the environment names
}
CLIENT_ERRORS = sorted(
    {
        error
        for module in (
            google.api_core.exceptions,
            google.auth.exceptions,
            google.cloud.storage.exceptions,
            requests.exceptions,
            urllib3.exceptions,
        )
        for _, error in inspect.getmembers(module, inspect.isclass)
        if issubclass(error, Exception)
        and not issubclass(error, Warning)
        and error.__module__ == module.__name__
        and error.__name__ not in UNREACHABLE
    },
    key=lambda error: (error.__module__, error.__name__),
)
TRANSLATIONS = {"NotFound": ObjectNotFound, "PreconditionFailed": ObjectChanged}


def test_translation_covers_the_errors_of_all_client_libraries() -> None:
    assert len(CLIENT_ERRORS) > 80


@pytest.mark.parametrize("client_error", CLIENT_ERRORS, ids=lambda error: f"{error.__module__}.{error.__name__}")
def test_every_client_error_is_translated(client_error: type[Exception]) -> None:
    error = client_error.__new__(client_error)
    error.args = ("secret",)
    is_api_error = client_error.__module__ == "google.api_core.exceptions"
    expected = TRANSLATIONS.get(client_error.__name__, StorageUnavailable) if is_api_error else StorageUnavailable
    with pytest.raises(expected) as caught, object_store.translate_errors("b", "o"):
        raise error
    assert type(caught.value) is expected
    assert caught.value.__cause__ is error
    assert "secret" not in str(caught.value)
