"""Events from end to end in one instance: verdict, answer, published error and log lines."""

import base64
import errno
import gzip
import json
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import pytest
from werkzeug.test import TestResponse

from local.port import Port
from shared.ml.model_cache import ModelCache
from shared.pipeline.definitions import MAX_DEFINITION_BYTES
from shared.runtime.machine import available_cpus
from testing import models, recorded_events, scripted_server
from testing.case_ids import case_id
from testing.cloud import Cloud
from testing.pictures import picture
from testing.serving import ReadLogLines, ServeFunction

BEARER = "Bearer ya29.a-token-of-the-sender"
SENT_TEXT = "what-the-sender-wrote"
PUSH = {"content-type": "application/json", "authorization": BEARER}
FINALIZED = PUSH | {"ce-type": "google.cloud.storage.object.v1.finalized", "ce-id": "1", "ce-specversion": "1.0"}
PUBLISHED = PUSH | {"ce-type": "google.cloud.pubsub.topic.v1.messagePublished", "ce-id": "1"}
STRUCTURED = PUSH | {"content-type": "application/cloudevents+json"}


def push(attributes: Mapping[str, str] | None = None, data: Any = None, **message: Any) -> bytes:
    body = {"attributes": attributes or {}, "messageId": "m-1", **message}
    if data is not None:
        body["data"] = recorded_events.encode_base64(data if isinstance(data, str) else json.dumps(data))
    return json.dumps({"message": body, "subscription": "s"}).encode()


def message_for(path: str = "a.jpg", tenant_id: str = "tenant-001", **others: str) -> bytes:
    return push({"tenant_id": tenant_id, "image": path, **others})


def finalized(**resource: str) -> bytes:
    return json.dumps(resource).encode()


def seconds_ago(seconds: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()


MALFORMED = {
    "nothing at all": ({}, b""),
    "an empty body": (PUSH, b""),
    "not JSON": (PUSH, SENT_TEXT.encode()),
    "not UTF-8": (PUSH, b'{"message": "\xff\xfe"}'),
    "a list": (PUSH, b"[]"),
    "no message": (PUSH, b"{}"),
    "a message that is a text": (PUSH, json.dumps({"message": SENT_TEXT}).encode()),
    "a null message": (PUSH, b'{"message": null}'),
    "deep nesting": (PUSH, b"[" * 100_000),
    "a number too long to be read": (PUSH, b'{"message": ' + b"9" * 5000 + b"}"),
    "a constant that JSON has not": (PUSH, b'{"message": {"attributes": {}, "data": NaN}}'),
    "attributes that are a list": (PUSH, b'{"message": {"attributes": ["tenant_id"]}}'),
    "attributes that are numbers": (PUSH, b'{"message": {"attributes": {"tenant_id": 1}}}'),
    "data that is not base64": (PUSH, json.dumps({"message": {"data": SENT_TEXT}}).encode()),
    "data that is a number": (PUSH, b'{"message": {"data": 5}}'),
    "data that is not JSON": (PUSH, push(data=SENT_TEXT)),
    "data that is a list": (PUSH, push(data=[SENT_TEXT])),
    "no fields": (PUSH, push()),
    "no image": (PUSH, push({"tenant_id": "tenant-001"})),
    "no tenant": (PUSH, push({"image": SENT_TEXT})),
    "an object without a name": (FINALIZED, finalized(bucket="b", generation="1")),
    "an object without a generation": (FINALIZED, finalized(bucket="b", name="uploads/t/a.jpg")),
    "an object that is a list": (FINALIZED, b"[]"),
    "a finalized event without data": (FINALIZED, b""),
    "an event of another type": (PUSH | {"ce-type": SENT_TEXT}, b"{}"),
    "a published event without a message": (PUBLISHED, b"{}"),
    "a structured event without type": (STRUCTURED, b"{}"),
    "a structured event that is a list": (STRUCTURED, b"[]"),
    "a structured event without data": (STRUCTURED, json.dumps({"type": FINALIZED["ce-type"]}).encode()),
    "a structured event with broken base64": (
        STRUCTURED,
        json.dumps({"type": FINALIZED["ce-type"], "data_base64": "%" + SENT_TEXT}).encode(),
    ),
    "a notification without an object": (PUSH, push({"eventType": "OBJECT_FINALIZE", "bucketId": "b"})),
    "an unwrapped push of nothing": ({"x-goog-pubsub-message-id": "7"}, b""),
    "an unwrapped push that is not JSON": ({"x-goog-pubsub-message-id": "7"}, SENT_TEXT.encode()),
}


NINES = b"9" * 5000
ODD_METADATA = {
    "metadata in Latin-1": b'"metadata": {"note": "caf\xe9"}',
    "metadata of 5,000 digits": b'"metadata": {"note": ' + NINES + b"}",
    "metadata of a negative number": b'"metadata": {"note": -' + NINES + b"}",
    "metadata with half a pair of surrogates": b'"metadata": {"note": "\\ud800"}',
    "metadata that are a number": b'"metadata": ' + NINES,
    "a generation of 5,000 digits": b'"metageneration": ' + NINES,
}


@pytest.mark.parametrize("case", ODD_METADATA)
def test_object_with_odd_metadata_is_an_invalid_event_or_ignored(
    case: str, cloud: Cloud, serve: ServeFunction, lines: ReadLogLines
) -> None:
    resource = b'{"bucket": "%s", "name": "uploads/t/a.jpg", "generation": "1", ' % cloud.uploads.name.encode()
    resource += ODD_METADATA[case] + b"}"
    client = serve("process_upload", cloud.settings)
    attributes = {"bucketId": cloud.uploads.name, "objectId": "uploads/t/a.jpg", "objectGeneration": "1"}
    message = {
        "attributes": {"eventType": "OBJECT_FINALIZE", **attributes},
        "data": base64.b64encode(resource).decode(),
    }

    assert client.post("/", headers=FINALIZED, data=resource).text == "rejected\n"
    # A notification needs no payload: without its metadata the object itself is looked at, which is not there.
    assert client.post("/", headers=PUSH, data=json.dumps({"message": message})).text == "ignored\n"

    rejected, ignored = lines().summaries
    assert (rejected["error"], ignored["error"]) == ("invalid_event", "ignored")


@pytest.mark.parametrize("value", ["caf\xe9", "\x80\x9f", "9" * 5000], ids=["Latin-1", "controls", "digits"])
@pytest.mark.parametrize(
    "header",
    [
        "ce-id",
        "ce-time",
        "ce-type",
        "content-type",
        "traceparent",
        "x-goog-pubsub-message-id",
        "tenant-id",
        "generation",
    ],
)
def test_odd_header_is_an_invalid_event(
    header: str, value: str, cloud: Cloud, serve: ServeFunction, lines: ReadLogLines
) -> None:
    headers = {"x-goog-pubsub-message-id": "1", "content-type": "application/json"} | {header: value}

    answer = serve("process_message", cloud.settings).post("/", headers=headers, data=b"{}")

    assert answer.text == "rejected\n"
    [summary] = lines().summaries
    assert summary["error"] == "invalid_event"


@pytest.mark.parametrize("case", MALFORMED)
@pytest.mark.parametrize("entry_point", ["process_upload", "process_message"])
def test_malformed_event_is_rejected_published_and_acknowledged(
    entry_point: str, case: str, cloud: Cloud, serve: ServeFunction, lines: ReadLogLines
) -> None:
    headers, body = MALFORMED[case]

    answer = serve(entry_point, cloud.settings).post("/", headers=headers, data=body)

    assert (answer.status_code, answer.text) == (200, "rejected\n")
    assert not repeats_the_request(answer)
    [(attributes, data)] = cloud.errors()
    assert (attributes["status"], attributes["error"]) == ("400", "invalid_event")
    assert (data["status"], data["error"]) == (400, "invalid_event")
    assert BEARER not in str((attributes, data))
    [summary] = lines().summaries
    assert summary["verdict"] == "rejected"
    assert BEARER not in str(summary)


def repeats_the_request(answer: TestResponse) -> bool:
    text = str(answer.headers) + answer.text
    return BEARER in text or SENT_TEXT in text


IGNORED = {
    "another bucket": (FINALIZED, finalized(bucket="other-bucket", name="uploads/t/a.jpg", generation="1")),
    "a result": (FINALIZED, finalized(bucket="UPLOADS", name="results/t/a.jpg/result.json", generation="1")),
    "a model": (FINALIZED, finalized(bucket="UPLOADS", name="models/t/detect.onnx", generation="1")),
    "a folder marker": (FINALIZED, finalized(bucket="UPLOADS", name="uploads/t/", generation="1")),
    "a root folder marker": (FINALIZED, finalized(bucket="UPLOADS", name="uploads/", generation="1")),
    "a name that only begins alike": (FINALIZED, finalized(bucket="UPLOADS", name="uploads2/t/a", generation="1")),
    "a deletion": (PUSH | {"ce-type": "google.cloud.storage.object.v1.deleted"}, b"{}"),
    "a notice of new metadata": (
        PUSH,
        push({"eventType": "OBJECT_METADATA_UPDATE", "bucketId": "b", "objectId": "o", "objectGeneration": "1"}),
    ),
    "an upload that is gone": (FINALIZED, finalized(bucket="UPLOADS", name="uploads/t/gone.jpg", generation="1")),
}


@pytest.mark.parametrize("case", IGNORED)
def test_ignored_event_is_acknowledged_and_not_published(
    case: str, cloud: Cloud, serve: ServeFunction, lines: ReadLogLines
) -> None:
    headers, body = IGNORED[case]
    body = body.replace(b"UPLOADS", cloud.uploads.name.encode())
    cloud.put_model("t", models.detect())

    answer = serve("process_upload", cloud.settings).post("/", headers=headers, data=body)

    assert (answer.status_code, answer.text) == (200, "ignored\n")
    assert cloud.errors(timeout_s=0.05) == []
    assert cloud.names_written() == []
    assert [line["verdict"] for line in lines().summaries] == ["ignored"]


@pytest.mark.parametrize("with_metadata", [True, False], ids=["with metadata", "without metadata"])
def test_copy_of_own_output_in_the_uploads_is_ignored(
    *, with_metadata: bool, nursery: Cloud, serve: ServeFunction
) -> None:
    client = serve("process_upload", nursery.settings)
    generation = nursery.uploads.get_blob("uploads/tenant-001/a.jpg").generation
    upload = {"bucketId": nursery.uploads.name, "eventType": "OBJECT_FINALIZE"}
    names = {"objectId": "uploads/tenant-001/a.jpg", "objectGeneration": str(generation)}
    assert client.post("/", headers=PUSH, data=push(upload | names)).text == "done\n"
    written = nursery.names_written()
    for name in written:
        output = nursery.results.get_blob(name)
        copy = nursery.results.copy_blob(output, nursery.uploads, f"uploads/tenant-001/copy-of-{name[-4:]}")
        names = {"objectId": copy.name, "objectGeneration": str(copy.generation)}
        data = {"metadata": output.metadata} if with_metadata else None
        assert client.post("/", headers=PUSH, data=push(upload | names, data)).text == "ignored\n"
    assert nursery.names_written() == written


# case: (fields of the message, status, error, part of the error message)
REJECTED = {
    "no model": (
        {"tenant_id": "tenant-003"},
        400,
        "model_not_found",
        "Model 'detect' not found for tenant 'tenant-003'",
    ),
    "an unknown pipeline": ({"pipeline": "astrology"}, 400, "invalid_pipeline", "unknown pipeline 'astrology'"),
    "a pipeline that is no name": ({"pipeline": "../detect"}, 400, "invalid_pipeline", "must be a name"),
    "a tenant that is no name": ({"tenant_id": "../tenant-001"}, 400, "invalid_event", "tenant_id"),
    "another's image": ({"image": "uploads/tenant-002/a.jpg"}, 403, "tenant_mismatch", "tenant-001"),
    "another bucket": ({"image": "gs://elsewhere/uploads/tenant-001/a.jpg"}, 403, "tenant_mismatch", "tenant-001"),
    "an image that is not there": ({"image": "gone.jpg"}, 404, "image_not_found", "gone.jpg"),
    "a generation that is not there": ({"generation": "1"}, 404, "image_not_found", "generation 1"),
    "a text": ({"image": "text.jpg"}, 415, "unsupported_image", "accepted formats"),
    "an empty image": ({"image": "empty.jpg"}, 422, "invalid_image", "empty"),
    "half an image": ({"image": "half.png"}, 422, "invalid_image", "truncated or corrupt"),
    "too many pixels": ({"image": "vast.png"}, 413, "image_too_large", "pixels"),
    "too many bytes": ({"image": "heavy.bmp"}, 413, "image_too_large", "bytes"),
    "a broken model": ({"tenant_id": "tenant-004"}, 422, "invalid_model", "not an ONNX model"),
    "a model that fails": ({"tenant_id": "tenant-005"}, 422, "invalid_model", "failed"),
}


@pytest.fixture
def nursery(cloud: Cloud) -> Cloud:
    """Fill the buckets: a tenant with a model, one without, two with broken models; good and bad images."""
    cloud.put_model("tenant-001", models.detect())
    cloud.put_model("tenant-004", b"no model")
    cloud.put_model("tenant-005", models.failing())
    for tenant_id in ("tenant-001", "tenant-002", "tenant-003", "tenant-004", "tenant-005"):
        cloud.put_image(tenant_id, "a.jpg", picture())
    cloud.put_image("tenant-001", "text.jpg", b"no picture")
    cloud.put_image("tenant-001", "empty.jpg", b"")
    cloud.put_image("tenant-001", "half.png", picture((300, 300), kind="PNG")[:-100])
    cloud.put_image("tenant-001", "vast.png", picture((2001, 1000), kind="PNG"))
    cloud.put_image("tenant-001", "heavy.bmp", picture((400, 400), kind="BMP"))
    return cloud


@pytest.fixture
def limits(nursery: Cloud) -> dict[str, str]:
    return nursery.settings | {"MAX_IMAGE_PIXELS": "2000000", "MAX_IMAGE_BYTES": "400000"}


@pytest.mark.parametrize("case", REJECTED)
def test_rejected_message_is_published_with_its_status_and_acknowledged(
    case: str, nursery: Cloud, limits: Mapping[str, str], serve: ServeFunction, lines: ReadLogLines
) -> None:
    changed_fields, status, name, message = REJECTED[case]
    fields = {"tenant_id": "tenant-001", "image": "a.jpg", "request_id": "order-7", **changed_fields}

    answer = serve("process_message", limits).post("/", headers=PUSH, data=push(fields))

    assert (answer.status_code, answer.text) == (200, "rejected\n")
    [(attributes, data)] = nursery.errors()
    assert (attributes["status"], attributes["error"]) == (str(status), name)
    assert (data["status"], data["error"]) == (status, name)
    assert message in data["message"]
    assert (attributes["request_id"], attributes["event_id"]) == ("order-7", "m-1")
    assert {each: str(value) for each, value in data.items() if each in attributes} == attributes
    assert set(data) - set(attributes) == {"message", "occurred_at"}
    [summary] = lines().summaries
    assert (summary["verdict"], summary["status"], summary["error"]) == ("rejected", status, name)
    assert nursery.names_written() == []


def test_error_of_a_missing_model_names_the_model_type(nursery: Cloud, serve: ServeFunction) -> None:
    client = serve("process_message", nursery.settings)
    client.post("/", headers=PUSH, data=message_for(tenant_id="tenant-003"))
    [(attributes, _)] = nursery.errors()
    assert (attributes["model_type"], attributes["tenant_id"]) == ("detect", "tenant-003")


@pytest.mark.parametrize(
    ("path", "status", "error"), [("text.jpg", "415", "unsupported_image"), ("empty.jpg", "422", "invalid_image")]
)
def test_rejected_upload_is_published_with_its_image_and_generation(
    path: str, status: str, error: str, nursery: Cloud, serve: ServeFunction
) -> None:
    generation = nursery.uploads.get_blob(f"uploads/tenant-001/{path}").generation
    body = finalized(bucket=nursery.uploads.name, name=f"uploads/tenant-001/{path}", generation=str(generation))
    answer = serve("process_upload", nursery.settings).post("/", headers=FINALIZED, data=body)
    assert (answer.status_code, answer.text) == (200, "rejected\n")
    [(attributes, _)] = nursery.errors()
    assert (attributes["status"], attributes["error"]) == (status, error)
    assert attributes["image"] == f"gs://{nursery.uploads.name}/uploads/tenant-001/{path}"
    assert attributes["generation"] == str(generation)


def test_upload_without_a_tenant_folder_is_rejected(nursery: Cloud, serve: ServeFunction) -> None:
    body = finalized(bucket=nursery.uploads.name, name="uploads/stray.jpg", generation="1")
    answer = serve("process_upload", nursery.settings).post("/", headers=FINALIZED, data=body)
    assert answer.text == "rejected\n"
    [(attributes, _)] = nursery.errors()
    assert attributes["error"] == "invalid_event"


def test_older_generation_than_the_one_done_is_ignored(nursery: Cloud, serve: ServeFunction) -> None:
    old = nursery.put_image("tenant-001", "b.jpg", picture())
    new = nursery.put_image("tenant-001", "b.jpg", picture(colour="grey"))
    client = serve("process_upload", nursery.settings)
    bodies = [
        finalized(bucket=nursery.uploads.name, name="uploads/tenant-001/b.jpg", generation=str(each))
        for each in (new, old)
    ]
    assert [client.post("/", headers=FINALIZED, data=body).text for body in bodies] == ["done\n", "ignored\n"]
    assert nursery.result("tenant-001", "b.jpg")["image"]["generation"] == new


def test_new_model_generation_is_new_work(nursery: Cloud, serve: ServeFunction) -> None:
    client = serve("process_message", nursery.settings | {"MODEL_REFRESH_SECONDS": "0"})
    assert client.post("/", headers=PUSH, data=message_for()).text == "done\n"
    assert client.post("/", headers=PUSH, data=message_for()).text == "duplicate\n"
    generation = nursery.put_model("tenant-001", models.detect(labels=("weed", "pot")))
    assert client.post("/", headers=PUSH, data=message_for()).text == "done\n"
    result = nursery.result("tenant-001", "a.jpg")
    assert result["models"]["detect"]["generation"] == generation
    assert result["counts"] == {"weed": 1, "pot": 1}


def test_other_options_are_new_work(nursery: Cloud, serve: ServeFunction) -> None:
    client = serve("process_message", nursery.settings)
    bodies = [
        push({"tenant_id": "tenant-001", "image": "a.jpg"}, {"options": {"confidence_threshold": threshold}})
        for threshold in (0.25, 0.85)
    ]
    assert [client.post("/", headers=PUSH, data=body).text for body in bodies] == ["done\n", "done\n"]
    assert nursery.result("tenant-001", "a.jpg")["counts"] == {"plant": 1}


def test_other_thresholds_of_the_deployment_are_new_work(nursery: Cloud, serve: ServeFunction) -> None:
    for threshold, counts in (("0.25", {"plant": 1, "tray": 1}), ("0.85", {"plant": 1})):
        client = serve("process_message", nursery.settings | {"CONFIDENCE_THRESHOLD": threshold})
        assert client.post("/", headers=PUSH, data=message_for()).text == "done\n"
        assert nursery.result("tenant-001", "a.jpg")["counts"] == counts


def test_image_without_objects_has_an_empty_result(nursery: Cloud, serve: ServeFunction) -> None:
    nursery.put_image("tenant-001", "night.png", picture(colour="black", kind="PNG"))
    assert (
        serve("process_message", nursery.settings).post("/", headers=PUSH, data=message_for("night.png")).text
        == "done\n"
    )
    result = nursery.result("tenant-001", "night.png")
    assert (result["detections"], result["counts"]) == ([], {})


# Storage or Pub/Sub failing


@pytest.mark.parametrize("status", [400, 401, 403, 409])
def test_event_is_deferred_when_storage_refuses(
    status: int, cloud: Cloud, serve: ServeFunction, lines: ReadLogLines
) -> None:
    with scripted_server.serve_responses(scripted_server.Response(status)) as (url, _):
        client = serve("process_message", cloud.settings | {"STORAGE_EMULATOR_HOST": url})
        answer = client.post("/", headers=PUSH, data=message_for())
    assert (answer.status_code, answer.text) == (503, "deferred\n")
    assert cloud.errors(timeout_s=0.05) == []
    [summary] = lines().summaries
    assert (summary["verdict"], summary["status"], summary["error"]) == ("deferred", 503, "storage_unavailable")
    assert url not in str(summary)


@pytest.mark.parametrize(
    ("age_s", "expected_answer", "published"),
    [(59, (503, "deferred\n"), 0), (61, (200, "rejected\n"), 1)],
    ids=["younger", "older"],
)
def test_event_older_than_its_maximum_age_is_published_and_acknowledged(
    age_s: int, expected_answer: tuple[int, str], published: int, cloud: Cloud, serve: ServeFunction
) -> None:
    with scripted_server.serve_responses(scripted_server.Response(403)) as (url, _):
        client = serve("process_message", cloud.settings | {"STORAGE_EMULATOR_HOST": url, "MAX_EVENT_AGE": "60"})
        body = push({"tenant_id": "tenant-001", "image": "a.jpg"}, publishTime=seconds_ago(age_s))
        answer = client.post("/", headers=PUSH, data=body)
    assert (answer.status_code, answer.text) == expected_answer
    errors = cloud.errors(timeout_s=2 if published else 0.05)
    assert [attributes["status"] for attributes, _ in errors] == ["503"] * published


def test_age_of_an_upload_counts_from_the_upload(cloud: Cloud, serve: ServeFunction) -> None:
    body = finalized(bucket=cloud.uploads.name, name="uploads/t/a.jpg", generation="1")
    with scripted_server.serve_responses(scripted_server.Response(403)) as (url, _):
        client = serve("process_upload", cloud.settings | {"STORAGE_EMULATOR_HOST": url, "MAX_EVENT_AGE": "60"})
        answers = [
            client.post("/", headers=FINALIZED | {"ce-time": seconds_ago(age_s)}, data=body) for age_s in (59, 61)
        ]
    assert [answer.text for answer in answers] == ["deferred\n", "rejected\n"]
    assert [attributes["status"] for attributes, _ in cloud.errors()] == ["503"]


@pytest.mark.parametrize("fault", [scripted_server.SILENCE, scripted_server.RESET])
def test_event_is_deferred_within_its_deadline_when_storage_is_dead(
    fault: str, cloud: Cloud, serve: ServeFunction, lines: ReadLogLines
) -> None:
    with scripted_server.serve_responses(fault) as (url, _):
        settings = {"STORAGE_EMULATOR_HOST": url, "EVENT_DEADLINE_SECONDS": "1"}
        answer = serve("process_message", cloud.settings | settings).post("/", headers=PUSH, data=message_for())
    assert (answer.status_code, answer.text) == (503, "deferred\n")
    [summary] = lines().summaries
    assert (summary["status"], summary["error"]) == (503, "storage_unavailable")
    assert summary["timings_ms"]["total"] < 4000, "it ended at the timeout of a call, not at the event deadline"


def test_event_is_deferred_within_its_deadline_when_pub_sub_is_dead(
    cloud: Cloud, serve: ServeFunction, lines: ReadLogLines
) -> None:
    unused_port = Port()
    settings = {"PUBSUB_EMULATOR_HOST": f"127.0.0.1:{unused_port.number}", "EVENT_DEADLINE_SECONDS": "1"}
    answer = serve("process_message", cloud.settings | settings).post("/", headers=PUSH, data=push())
    unused_port.release()
    assert (answer.status_code, answer.text) == (503, "deferred\n")
    [summary] = lines().summaries
    assert summary["error"] == "publish_failed"
    assert summary["timings_ms"]["total"] < 4000


@pytest.mark.slow
def test_old_event_is_published_after_its_processing_timed_out(cloud: Cloud, serve: ServeFunction) -> None:
    with scripted_server.serve_responses(scripted_server.SILENCE) as (url, _):
        settings = {"STORAGE_EMULATOR_HOST": url, "EVENT_DEADLINE_SECONDS": "5", "MAX_EVENT_AGE": "60"}
        client = serve("process_message", cloud.settings | settings)
        body = push({"tenant_id": "tenant-001", "image": "a.jpg"}, publishTime=seconds_ago(61))
        assert client.post("/", headers=PUSH, data=body).text == "rejected\n"
    assert [attributes["status"] for attributes, _ in cloud.errors()] == ["503"]


@pytest.mark.parametrize(
    "time",
    ["", "yesterday", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-11-20", 5, None, {}],
    ids=case_id,
)
def test_event_with_a_meaningless_time_is_processed(time: Any, nursery: Cloud, serve: ServeFunction) -> None:
    body = push({"tenant_id": "tenant-001", "image": "a.jpg"}, publishTime=time)
    assert serve("process_message", nursery.settings).post("/", headers=PUSH, data=body).text == "done\n"


def test_event_without_a_time_is_deferred_whatever_its_age(cloud: Cloud, serve: ServeFunction) -> None:
    with scripted_server.serve_responses(scripted_server.Response(403)) as (url, _):
        client = serve("process_message", cloud.settings | {"STORAGE_EMULATOR_HOST": url, "MAX_EVENT_AGE": "0"})
        assert client.post("/", headers=PUSH, data=message_for()).status_code == 503


def test_event_is_deferred_when_its_error_cannot_be_published(
    cloud: Cloud, serve: ServeFunction, lines: ReadLogLines
) -> None:
    missing = cloud.settings["ERROR_TOPIC"] + "-that-is-not-there"
    client = serve("process_message", cloud.settings | {"ERROR_TOPIC": missing})
    answer = client.post("/", headers=PUSH, data=push())
    assert (answer.status_code, answer.text) == (503, "deferred\n")
    written = lines()
    [summary] = written.summaries
    assert (summary["verdict"], summary["error"]) == ("deferred", "publish_failed")
    assert any("@type" in line for line in written.all), "the cause is reported"


def test_event_is_deferred_when_results_cannot_be_written(
    nursery: Cloud, serve: ServeFunction, lines: ReadLogLines
) -> None:
    client = serve("process_message", nursery.settings | {"RESULTS_BUCKET": "there-is-no-such-bucket"})
    answer = client.post("/", headers=PUSH, data=message_for())
    assert (answer.status_code, answer.text) == (503, "deferred\n")
    assert lines().summaries[0]["error"] == "storage_unavailable"


def test_objects_stored_with_gzip_encoding_are_decompressed(cloud: Cloud, serve: ServeFunction) -> None:
    pipelines = json.dumps({"mine": {"steps": [{"step": "detect"}]}}).encode()
    for bucket, name, data in (
        (cloud.uploads, "uploads/tenant-001/a.jpg", picture()),
        (cloud.models, "models/tenant-001/detect.onnx", models.detect()),
        (cloud.models, "models/tenant-001/pipelines.json", pipelines),
    ):
        stored_object = bucket.blob(name)
        stored_object.content_encoding = "gzip"
        stored_object.upload_from_string(gzip.compress(data), content_type="application/octet-stream")

    answer = serve("process_message", cloud.settings).post("/", headers=PUSH, data=message_for(pipeline="mine"))

    assert answer.text == "done\n"
    assert cloud.result("tenant-001", "a.jpg")["counts"] == {"plant": 1, "tray": 1}


@pytest.mark.parametrize("workers", ["0", "1"])
def test_options_of_many_labels_are_rejected_with_a_sentence(
    workers: str, nursery: Cloud, serve: ServeFunction, lines: ReadLogLines
) -> None:
    options = {"labels": [f"{number:0200}" for number in range(500)]}
    client = serve("process_message", nursery.settings | {"WORKER_PROCESSES": workers})

    answer = client.post(
        "/", headers=PUSH, data=push({"tenant_id": "tenant-001", "image": "a.jpg"}, {"options": options})
    )

    assert answer.text == "rejected\n"
    [summary] = lines().summaries
    assert summary["error"] == "invalid_pipeline"
    assert re.fullmatch(
        rf"pipeline 'detect' and its options have 10\d{{4}} bytes; the limit is {MAX_DEFINITION_BYTES} bytes: .*",
        summary["reason"],
    )


# Shortages of the instance

SHORTAGES = {
    "no memory": MemoryError(),
    "no thread": RuntimeError("can't start new thread"),
    "no file descriptor": OSError(errno.EMFILE, "Too many open files"),
    "no disk space": OSError(errno.ENOSPC, "No space left on device"),
}


@pytest.mark.parametrize("case", SHORTAGES)
@pytest.mark.parametrize("function", ["PIL.Image.open", "simplejpeg.decode_jpeg", "simplejpeg.encode_jpeg"])
def test_event_is_deferred_when_the_instance_is_exhausted(
    function: str, case: str, nursery: Cloud, serve: ServeFunction, lines: ReadLogLines
) -> None:
    client = serve("process_message", nursery.settings | {"WORKER_PROCESSES": "0"})
    with mock.patch(function, side_effect=SHORTAGES[case]):
        answer = client.post("/", headers=PUSH, data=message_for())

    assert (answer.status_code, answer.text) == (503, "deferred\n")
    [summary] = lines().summaries
    assert (summary["verdict"], summary["status"], summary["error"]) == ("deferred", 503, "instance_exhausted")
    assert client.post("/", headers=PUSH, data=message_for()).text == "done\n"


# Bugs


def test_bug_is_logged_with_its_cause_and_published_as_500_without(
    nursery: Cloud, serve: ServeFunction, lines: ReadLogLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError(SENT_TEXT)

    monkeypatch.setattr("simplejpeg.encode_jpeg", broken)  # an exception that no code expects
    answer = serve("process_message", nursery.settings | {"WORKER_PROCESSES": "0"}).post(
        "/", headers=PUSH, data=message_for(request_id="order-9")
    )
    assert (answer.status_code, answer.text) == (200, "rejected\n")
    [(attributes, data)] = nursery.errors()
    assert (attributes["status"], attributes["error"], attributes["request_id"]) == (
        "500",
        "internal_error",
        "order-9",
    )
    assert SENT_TEXT not in str(data)
    assert "Traceback" not in str(data)
    report, summary = lines().all
    assert "ZeroDivisionError" in report["message"]
    assert SENT_TEXT in report["message"]
    assert (report["severity"], summary["severity"]) == ("ERROR", "ERROR")
    assert report["tenant_id"] == "tenant-001"
    assert (summary["verdict"], summary["status"]) == ("rejected", 500)
    assert nursery.result("tenant-001", "a.jpg") is None


# Unlikely images


@pytest.mark.parametrize("size_wh", [(1, 1), (1, 3000), (3000, 1), (65501, 1), (1, 70000)], ids=case_id)
def test_image_of_any_proportions_has_a_result_or_is_too_large(
    size_wh: tuple[int, int], nursery: Cloud, serve: ServeFunction
) -> None:
    nursery.put_image("tenant-001", "odd.png", picture(size_wh, kind="PNG"))
    answer = serve("process_message", nursery.settings).post("/", headers=PUSH, data=message_for("odd.png"))
    if answer.text == "done\n":
        image = nursery.result("tenant-001", "odd.png")["image"]
        assert (image["width"], image["height"]) == size_wh
    else:
        [(attributes, _)] = nursery.errors()
        assert attributes["error"] == "image_too_large"


# Concurrency


def test_concurrent_events_do_not_mix(nursery: Cloud, serve: ServeFunction, lines: ReadLogLines) -> None:
    for number in range(4):
        nursery.put_model(f"t{number}", models.detect(labels=(f"plant-{number}", "tray")))
        for image in range(4):
            nursery.put_image(f"t{number}", f"{image}.png", picture((64 + image, 64), kind="PNG"))
    application = serve("process_message", nursery.settings).application

    def post(number: int) -> str:
        tenant, image = number % 4, number // 4
        body = message_for(f"{image}.png", f"t{tenant}", request_id=f"order-{number}")
        return application.test_client().post("/", headers=PUSH, data=body).text

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(post, range(16))) == ["done\n"] * 16
    for number in range(16):
        result = nursery.result(f"t{number % 4}", f"{number // 4}.png")
        assert (result["request_id"], result["image"]["width"]) == (f"order-{number}", 64 + number // 4)
        assert result["counts"] == {f"plant-{number % 4}": 1, "tray": 1}
    summaries = lines().summaries
    assert sorted(line["request_id"] for line in summaries) == sorted(f"order-{number}" for number in range(16))
    assert all(line["counts"] == {f"plant-{line['tenant_id'][1:]}": 1, "tray": 1} for line in summaries)
    assert 4 <= max(line["cache"]["loads"] for line in summaries) <= 4 * available_cpus()  # at most one a worker


# Logs


def test_summary_line_has_trace_ids_verdict_counts_and_timings(
    nursery: Cloud, serve: ServeFunction, lines: ReadLogLines
) -> None:
    client = serve("process_message", nursery.settings)
    trace = {"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"}
    client.post("/", headers=PUSH | trace, data=message_for(request_id="order-7"))
    client.post("/", headers=PUSH, data=message_for(request_id="order-8", generation="0" * 18 + "1"))
    cold, warm = lines().summaries
    project = nursery.settings["GOOGLE_CLOUD_PROJECT"]
    assert cold["severity"] == "INFO"
    assert cold["logging.googleapis.com/trace"] == f"projects/{project}/traces/{'ab' * 16}"
    assert cold["logging.googleapis.com/labels"] == {"tenant_id": "tenant-001"}
    assert (cold["tenant_id"], cold["request_id"], cold["event_id"]) == ("tenant-001", "order-7", "m-1")
    assert (cold["verdict"], cold["status"], cold["model_cache"]) == ("done", 200, "miss")
    assert cold["counts"] == {"plant": 1, "tray": 1}
    assert (cold["cold_start"], warm["cold_start"]) == (True, False)
    stages = {"lookup", "download", "decode", "model", "preprocess", "infer", "postprocess", "draw", "write"}
    assert stages | {"total"} <= set(cold["timings_ms"])
    assert "logging.googleapis.com/trace" not in warm


def test_token_of_the_sender_is_in_no_log_line(nursery: Cloud, serve: ServeFunction, lines: ReadLogLines) -> None:
    client = serve("process_message", nursery.settings)
    for headers, body in MALFORMED.values():
        client.post("/", headers=headers, data=body)
    assert not [line for line in lines().all if BEARER in str(line)]


@pytest.mark.parametrize("method", ["get", "head", "put", "delete", "patch", "options"])
@pytest.mark.parametrize("entry_point", ["process_upload", "process_message", "process_request"])
def test_other_methods_than_post_are_answered_with_405(
    entry_point: str, method: str, cloud: Cloud, serve: ServeFunction, lines: ReadLogLines
) -> None:
    answer = getattr(serve(entry_point, cloud.settings), method)("/", headers={"authorization": BEARER})
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert BEARER not in answer.text
    assert cloud.errors(timeout_s=0.01) == []


def test_body_of_more_than_16_mib_is_rejected(cloud: Cloud, serve: ServeFunction) -> None:
    answer = serve("process_message", cloud.settings).post("/", headers=PUSH, data=b" " * (16 * 2**20 + 1))
    assert (answer.status_code, answer.text) == (200, "rejected\n")
    [(attributes, _)] = cloud.errors()
    assert attributes["error"] == "invalid_event"


def test_model_is_cached_under_tenant_type_and_worker(nursery: Cloud, serve: ServeFunction) -> None:
    serve("process_message", nursery.settings | {"WORKER_PROCESSES": "0"}).post(
        "/", headers=PUSH, data=message_for()
    )
    assert ModelCache.keys() == ["tenant-001_detect_worker_0"]
