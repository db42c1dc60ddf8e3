"""ObjectStore against the storage emulator, and against a server with the faults that no emulator has."""

import inspect
import json
import threading
import time

import google.api_core.exceptions
import google.auth.exceptions
import google.cloud.storage.exceptions
import pytest
import requests.exceptions
import urllib3.exceptions
from google.cloud.storage.retry import DEFAULT_RETRY

from shared.cloud import object_store
from shared.cloud.object_store import ObjectStore
from shared.cloud.objects import crc32c
from shared.errors import DeadlineExceeded, ObjectChanged, ObjectNotFound, StorageUnavailable
from shared.runtime import deadline
from testing import scripted_server
from testing.scripted_server import Response

# Against the emulator


@pytest.fixture
def store(emulators, monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", emulators.storage_url)
    return ObjectStore(project="p", call_timeout_s=10)


@pytest.fixture
def bucket(cloud):
    return cloud.uploads.name


@pytest.mark.parametrize("data", [b"", b"\0", b"\x1f\x8b no gzip", b"x" * 300_000])
def test_what_is_written_is_read(data, store, bucket):
    generation = store.write(bucket, "a b/ü#?%.bin", data, content_type="text/plain", metadata={"k": "v"})
    stored = store.read(bucket, "a b/ü#?%.bin")
    assert (stored.data, stored.generation, stored.crc32c) == (data, generation, crc32c(data))
    assert stored.uri == f"gs://{bucket}/a b/ü#?%.bin"
    stat = store.stat(bucket, "a b/ü#?%.bin")
    assert (stat.generation, stat.size, stat.crc32c) == (generation, len(data), crc32c(data))
    assert stat.metadata == {"k": "v"}


def test_what_is_not_there_is_not_found(store, bucket):
    for ask in (
        lambda: store.stat(bucket, "nothing"),
        lambda: store.read(bucket, "nothing"),
        lambda: store.read("there-is-no-such-bucket", "nothing"),
        lambda: store.changed(bucket, "nothing", generation=1),
    ):
        with pytest.raises(ObjectNotFound):
            ask()


def test_a_generation_that_is_gone_is_not_found(store, bucket):
    old = store.write(bucket, "o", b"old", content_type="text/plain")
    new = store.write(bucket, "o", b"new", content_type="text/plain")
    assert store.read(bucket, "o", generation=new).data == b"new"
    for ask in (store.stat, store.read):
        with pytest.raises(ObjectNotFound):
            ask(bucket, "o", generation=old)


@pytest.mark.parametrize(
    ("size", "limit", "read"), [(0, 0, True), (0, 5, True), (5, 5, True), (6, 5, False), (9000, 5, False)]
)
def test_more_bytes_than_asked_for_come_without_data(size, limit, read, store, bucket):
    generation = store.write(bucket, "o", b"x" * size, content_type="text/plain")
    stored = store.read(bucket, "o", max_bytes=limit)
    assert stored.data == (b"x" * size if read else None)
    assert stored.generation == generation


def test_changed_says_whether_another_generation_is_live(store, bucket):
    old = store.write(bucket, "o", b"old", content_type="text/plain")
    assert not store.changed(bucket, "o", generation=old)
    new = store.write(bucket, "o", b"new", content_type="text/plain")
    assert store.changed(bucket, "o", generation=old)
    assert not store.changed(bucket, "o", generation=new)


def test_a_write_for_a_generation_that_is_gone_changes_nothing(store, bucket):
    first = store.write(bucket, "o", b"1", content_type="text/plain", if_generation=0)
    with pytest.raises(ObjectChanged):
        store.write(bucket, "o", b"2", content_type="text/plain", if_generation=0)
    second = store.write(bucket, "o", b"3", content_type="text/plain", if_generation=first)
    with pytest.raises(ObjectChanged):
        store.write(bucket, "o", b"4", content_type="text/plain", if_generation=first)
    assert store.read(bucket, "o").data == b"3"
    assert store.stat(bucket, "o").generation == second


def test_of_many_first_writers_one_wins(store, bucket):
    outcomes = []

    def write(number):
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


def test_a_write_to_a_bucket_that_is_not_there_may_heal(store):
    with pytest.raises(StorageUnavailable):
        store.write("there-is-no-such-bucket", "o", b"", content_type="text/plain")


# Faults

VERBS = {
    "stat": lambda store: store.stat("b", "o"),
    "changed": lambda store: store.changed("b", "o", generation=17),
    "read": lambda store: store.read("b", "o"),
    "read up to a limit": lambda store: store.read("b", "o", max_bytes=100),
    "write": lambda store: store.write("b", "o", b"data", content_type="text/plain"),
    "write over": lambda store: store.write("b", "o", b"data", content_type="text/plain", if_generation=1),
}
READERS = [verb for verb in VERBS if not verb.startswith("write")]


@pytest.fixture
def failing(monkeypatch):
    """Gives a function: what the server answers -> a store in front of it, each call within `deadline_s`."""

    def store(url, deadline_s=0.4):
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
        return ObjectStore(project="p", call_timeout_s=deadline_s)

    return store


NEVER_NOT_FOUND = [
    s for s in (*range(300, 309), *range(400, 430), 431, 451, *range(500, 512)) if s not in {304, 404, 412, 416}
]


@pytest.mark.parametrize("verb", VERBS)
def test_no_status_but_404_and_412_is_anything_but_unavailable(verb, failing):
    for status in NEVER_NOT_FOUND:
        with scripted_server.serve_responses(Response(status)) as (url, _), pytest.raises(StorageUnavailable):
            VERBS[verb](failing(url, 0.05))


@pytest.mark.parametrize("verb", READERS)
def test_404_is_not_found(verb, failing):
    with scripted_server.serve_responses(Response(404)) as (url, requests), pytest.raises(ObjectNotFound):
        VERBS[verb](failing(url))
    assert len(requests) == 1, "asked once: the answer is clear"


NO_BUCKET = "The specified bucket does not exist."


@pytest.mark.parametrize(
    "body", [NO_BUCKET.encode(), json.dumps({"error": {"code": 404, "message": NO_BUCKET}}).encode()]
)
@pytest.mark.parametrize("verb", READERS)
def test_a_bucket_that_is_not_there_is_no_missing_object(verb, body, failing):
    said = pytest.raises(StorageUnavailable, match="bucket 'b' not found")
    with scripted_server.serve_responses(Response(404, body)) as (url, _), said:
        VERBS[verb](failing(url))


@pytest.mark.parametrize("name", [NO_BUCKET, f": {NO_BUCKET}"])
@pytest.mark.parametrize("verb", READERS)
def test_an_object_may_be_called_anything(verb, name, failing):
    said = f"No such object: b/{name}"
    for body in (said.encode(), json.dumps({"error": {"code": 404, "message": said}}).encode()):
        with scripted_server.serve_responses(Response(404, body)) as (url, _), pytest.raises(ObjectNotFound):
            VERBS[verb](failing(url))


def test_412_is_changed(failing):
    with scripted_server.serve_responses(Response(412)) as (url, _), pytest.raises(ObjectChanged):
        VERBS["write over"](failing(url))


@pytest.mark.parametrize(
    ("verb", "status"),
    [("stat", 304), ("read", 304), ("write", 304), ("stat", 416), ("changed", 416), ("write", 416)],
)
def test_an_answer_that_nobody_asked_for_is_unavailable_too(verb, status, failing):
    with scripted_server.serve_responses(Response(status)) as (url, _), pytest.raises(StorageUnavailable):
        VERBS[verb](failing(url))


@pytest.mark.parametrize("fault", [scripted_server.RESET, scripted_server.SILENCE])
@pytest.mark.parametrize("verb", VERBS)
def test_a_connection_that_breaks_or_stays_silent_ends_within_the_deadline(verb, fault, failing):
    with scripted_server.serve_responses(fault) as (url, _):
        store = failing(url)
        began = time.monotonic()
        with pytest.raises(StorageUnavailable):
            VERBS[verb](store)
        assert time.monotonic() - began < 4


@pytest.mark.parametrize("verb", VERBS)
def test_a_dead_server_is_unavailable_within_the_deadline(verb, failing):
    with scripted_server.serve_responses(Response()) as (url, _):
        pass
    began = time.monotonic()
    with pytest.raises(StorageUnavailable):
        VERBS[verb](failing(url))
    assert time.monotonic() - began < 4


# The event's own time


@pytest.mark.parametrize(
    "fault", [scripted_server.RESET, scripted_server.SILENCE, Response(503)], ids=["reset", "silence", "503"]
)
@pytest.mark.parametrize("verb", ["stat", "read", "write"])
def test_no_call_outlives_its_event(verb, fault, failing):
    with scripted_server.serve_responses(fault) as (url, _):
        store = failing(url, deadline_s=60)
        began = time.monotonic()
        with deadline.fail_after(0.2), pytest.raises(StorageUnavailable):
            VERBS[verb](store)
        assert time.monotonic() - began < 4


@pytest.mark.parametrize("verb", VERBS)
def test_when_the_event_s_time_is_over_nothing_is_asked(verb, failing):
    with scripted_server.serve_responses(Response()) as (url, requests):
        with deadline.fail_after(0), pytest.raises(DeadlineExceeded):
            VERBS[verb](failing(url))
        assert requests == []


def test_a_body_that_comes_too_slowly_is_not_waited_for(failing):
    """Each byte comes in time, and the last would come after 20 s."""
    slow = media(b"x" * 10_000_000)
    slow.pause_s = 0.02
    with scripted_server.serve_responses(slow) as (url, _):
        began = time.monotonic()
        with deadline.fail_after(0.3), pytest.raises(DeadlineExceeded):
            failing(url, deadline_s=60).read("b", "o")
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


@pytest.mark.parametrize("what", BODIES)
@pytest.mark.parametrize("verb", VERBS)
def test_an_answer_that_is_not_storage_s_is_unavailable(verb, what, failing):
    with (
        scripted_server.serve_responses(Response(body=BODIES[what])) as (url, _),
        pytest.raises(StorageUnavailable),
    ):
        VERBS[verb](failing(url))


@pytest.mark.parametrize("verb", ["stat", "changed", "read"])
def test_a_body_that_ends_in_the_middle_is_unavailable(verb, failing):
    answer = Response(body=b'{"generation": "1",', content_length=1000)
    with scripted_server.serve_responses(answer) as (url, _), pytest.raises(StorageUnavailable):
        VERBS[verb](failing(url))


def media(data, *, crc=None):
    headers = {"x-goog-generation": "17", "x-goog-hash": f"crc32c={crc or crc32c(data)}"}
    return Response(body=data, headers={"content-type": "image/jpeg"} | headers)


def test_bytes_that_arrive_are_those_that_were_stored(failing):
    with scripted_server.serve_responses(media(b"good")) as (url, requests):
        stored = failing(url).read("b", "o")
    assert (stored.data, stored.generation) == (b"good", 17)
    assert len(requests) == 1, "generation and checksum come with the bytes"


def test_bytes_damaged_on_the_way_are_unavailable(failing):
    damaged = media(b"bad", crc=crc32c(b"good"))
    with scripted_server.serve_responses(damaged) as (url, _), pytest.raises(StorageUnavailable, match="damaged"):
        failing(url).read("b", "o")


@pytest.mark.parametrize(
    "fault",
    [*map(Response, (408, 429, 500, 502, 503, 504)), scripted_server.RESET],
    ids=lambda f: getattr(f, "status", f),
)
@pytest.mark.parametrize("verb", VERBS)
def test_a_passing_fault_is_retried_within_the_call(verb, fault, failing, monkeypatch):
    monkeypatch.setattr(object_store, "DEFAULT_RETRY", DEFAULT_RETRY.with_delay(initial=0.01))  # a second, else
    good = media(b"") if verb.startswith("read") else scripted_server.object_metadata()
    with scripted_server.serve_responses(fault, good) as (url, requests):
        VERBS[verb](failing(url, 10))
    assert len(requests) == 2


def test_the_sentence_names_the_object_and_not_the_server(failing):
    answer = Response(403, b'{"error": {"message": "secret"}}')
    with scripted_server.serve_responses(answer) as (url, _), pytest.raises(StorageUnavailable) as caught:
        failing(url).stat("b", "o")
    assert str(caught.value) == "Cloud Storage request failed for gs://b/o"


def test_without_credentials_and_without_a_project_storage_is_unavailable(monkeypatch, tmp_path):
    for name in ("STORAGE_EMULATOR_HOST", "GOOGLE_CLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "nothing.json"))
    with pytest.raises(StorageUnavailable):
        ObjectStore(call_timeout_s=0.4).stat("b", "o")


# No hole in the map from Google's errors to ours

UNREACHABLE = {
    "AsyncRestUnsupportedParameterError",  # of asynchronous clients
    "InvalidPathError",  # of downloads of many files to a folder
    "ProxySchemeUnsupported",  # of a proxy that the environment has to name
}
FOREIGN = sorted(
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
OUR_WORDS = {"NotFound": ObjectNotFound, "PreconditionFailed": ObjectChanged}


def test_there_are_errors_to_translate():
    assert len(FOREIGN) > 80


@pytest.mark.parametrize("foreign", FOREIGN, ids=lambda error: f"{error.__module__}.{error.__name__}")
def test_every_error_of_the_client_s_becomes_one_of_ours(foreign):
    error = foreign.__new__(foreign)
    error.args = ("secret",)
    google_s = foreign.__module__ == "google.api_core.exceptions"
    ours = OUR_WORDS.get(foreign.__name__, StorageUnavailable) if google_s else StorageUnavailable
    with pytest.raises(ours) as caught, object_store.translate_errors("b", "o"):
        raise error
    assert type(caught.value) is ours
    assert caught.value.__cause__ is error
    assert "secret" not in str(caught.value)
