"""From an upload, a message or an HTTP request to the results and the error topic, on the whole stack."""

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from local.stack import Stack
from testing import models
from testing.pictures import picture
from testing.tenant import Tenant, post

pytestmark = pytest.mark.stack


Validate = Callable[[Any], None]


def test_upload_is_answered_by_result_and_picture(tenant: Tenant, stack: Stack, validate: Validate) -> None:
    model = tenant.put_model(models.detect())
    generation = tenant.upload("beds/bed 7.jpg", picture((320, 240)))
    result = tenant.wait_for_result("beds/bed 7.jpg")
    validate(result)
    image = f"gs://{stack.names.upload_bucket}/uploads/{tenant.id}/beds/bed 7.jpg"
    assert result["image"] == {"uri": image, "generation": generation, "width": 320, "height": 240}
    assert (result["models"]["detect"]["generation"], result["counts"]) == (model, {"plant": 1, "tray": 1})
    data = tenant.results_bucket().blob(f"results/{tenant.id}/beds/bed 7.jpg/annotated.jpg").download_as_bytes()
    with Image.open(io.BytesIO(data)) as annotated:
        assert (annotated.format, annotated.size) == ("JPEG", (320, 240))
    [summary] = tenant.wait_for_summaries(1)
    assert (summary["verdict"], summary["event_id"]) == ("done", result["event_id"])
    assert summary["logging.googleapis.com/trace"].startswith(f"projects/{stack.names.project}/traces/")


def test_message_with_options_is_answered_by_result(tenant: Tenant, validate: Validate) -> None:
    tenant.put_model(models.detect())
    tenant.upload("a.jpg", picture())
    tenant.wait_for_result("a.jpg")
    body = json.dumps({"options": {"confidence_threshold": 0.85}}).encode()
    message_id = tenant.publish("a.jpg", body, request_id="order-7")
    [summary] = tenant.wait_for_summaries(1, "process_message")
    assert (summary["verdict"], summary["request_id"]) == ("done", "order-7")
    result = tenant.result("a.jpg")
    validate(result)
    assert (result["request_id"], result["event_id"], result["counts"]) == ("order-7", message_id, {"plant": 1})


def test_missing_model_publishes_400_and_a_later_model_serves_the_image(tenant: Tenant) -> None:
    tenant.upload("a.jpg", picture())
    attributes, data = tenant.wait_for_error()
    assert (attributes["status"], attributes["error"], attributes["model_type"]) == (
        "400",
        "model_not_found",
        "detect",
    )
    assert data["message"] == f"Model 'detect' not found for tenant '{tenant.id}'"
    assert data["status"] == 400
    assert tenant.result("a.jpg") is None
    generation = tenant.put_model(models.detect())
    tenant.publish("a.jpg")
    assert tenant.wait_for_result("a.jpg")["models"]["detect"]["generation"] == generation


@pytest.mark.parametrize(
    ("data", "status", "error"),
    [
        (b"no picture", "415", "unsupported_image"),
        (picture()[:200], "422", "invalid_image"),
        (b"", "422", "invalid_image"),
    ],
    ids=["text", "half a picture", "empty"],
)
def test_invalid_image_publishes_its_error(data: bytes, status: str, error: str, tenant: Tenant) -> None:
    tenant.put_model(models.detect())
    generation = tenant.upload("a.jpg", data)
    attributes, _ = tenant.wait_for_error()
    assert (attributes["status"], attributes["error"]) == (status, error)
    assert attributes["generation"] == str(generation)


def test_invalid_model_publishes_422(tenant: Tenant) -> None:
    tenant.put_model(b"no model")
    tenant.upload("a.jpg", picture())
    attributes, _ = tenant.wait_for_error()
    assert (attributes["status"], attributes["error"]) == ("422", "invalid_model")


def test_image_of_another_tenant_publishes_403(tenant: Tenant) -> None:
    tenant.put_model(models.detect())
    tenant.publish("uploads/somebody-else/a.jpg")
    attributes, _ = tenant.wait_for_error()
    assert (attributes["status"], attributes["error"]) == ("403", "tenant_mismatch")


def test_objects_outside_uploads_are_ignored(tenant: Tenant, stack: Stack) -> None:
    bucket = stack.storage.bucket(stack.names.upload_bucket)
    for name in (f"results/{tenant.id}/a.jpg/result.json", f"models/{tenant.id}/detect.onnx"):
        bucket.blob(name).upload_from_string(b"{}")
    tenant.put_model(models.detect())
    tenant.upload("a.jpg", picture())
    tenant.wait_for_result("a.jpg")
    ignored = [
        line
        for line in stack.log_lines("process_upload")
        if line.get("verdict") == "ignored" and f"/{tenant.id}/" in line.get("image", "")
    ]
    assert len(ignored) == 2


def test_repeated_request_is_a_duplicate_and_runs_no_model(tenant: Tenant) -> None:
    tenant.put_model(models.detect())
    tenant.upload("a.jpg", picture())
    first = tenant.wait_for_result("a.jpg")
    tenant.publish("a.jpg")
    [summary] = tenant.wait_for_summaries(1, "process_message")
    assert summary["verdict"] == "duplicate"
    assert not {"download", "infer", "write"} & set(summary["timings_ms"])
    assert tenant.result("a.jpg") == first


def test_new_image_generation_replaces_the_result(tenant: Tenant) -> None:
    tenant.put_model(models.detect())
    tenant.upload("a.png", picture(kind="PNG"))
    assert tenant.wait_for_result("a.png")["counts"] == {"plant": 1, "tray": 1}
    generation = tenant.upload("a.png", picture(colour="black", kind="PNG"))
    assert tenant.wait_for_result("a.png", generation)["counts"] == {}


def test_http_caller_gets_the_result_or_the_problem(tenant: Tenant, validate: Validate) -> None:
    tenant.put_model(models.detect())
    tenant.upload("a.jpg", picture())
    uploaded = tenant.wait_for_result("a.jpg")
    status, answer = tenant.request("a.jpg")
    assert (status, json.loads(answer)) == (200, uploaded)
    status, answer = tenant.request("a.jpg", options={"confidence_threshold": 0.85})
    validate(json.loads(answer))
    assert (status, json.loads(answer)["counts"]) == (200, {"plant": 1})
    status, answer = tenant.request("gone.jpg")
    assert (status, json.loads(answer)["error"]) == (404, "image_not_found")


def test_http_caller_gets_400_for_a_missing_model(tenant: Tenant) -> None:
    tenant.upload("a.jpg", picture())
    status, answer = tenant.request("a.jpg")
    assert (status, json.loads(answer)["error"]) == (400, "model_not_found")


def test_many_tenants_each_get_results_of_their_own_model(tenant: Tenant, stack: Stack) -> None:
    """Each model has its tenant's id as a label, so that counts show which one ran."""
    tenants = [Tenant(stack, f"{tenant.id}-{number}") for number in range(4)]
    for each in tenants:
        each.put_model(models.detect(labels=(each.id, "tray")))
    for number in range(5):
        for each in tenants:
            each.upload(f"{number}.jpg", picture((64 + number, 64)))
    for each in tenants:
        for number in range(5):
            result = each.wait_for_result(f"{number}.jpg")
            assert result["counts"] == {each.id: 1, "tray": 1}
            assert result["image"]["width"] == 64 + number


def test_unwrapped_push_names_tenant_and_request_in_its_body(tenant: Tenant, stack: Stack) -> None:
    """Gunicorn drops headers with an underscore in their names: `tenant_id` and `request_id` are in the body."""
    tenant.put_model(models.detect())
    tenant.upload("a.jpg", picture())
    tenant.wait_for_result("a.jpg")
    headers = {"x-goog-pubsub-message-id": "m-1", "content-type": "application/json", "image": "a.jpg"}
    body = json.dumps({"tenant_id": tenant.id, "request_id": "order-1"}).encode()
    assert post(stack.url("process_message"), headers, body) == (200, b"duplicate\n")
    assert tenant.wait_for_summaries(1, "process_message")[0]["request_id"] == "order-1"


@pytest.mark.parametrize("name", ["process_upload", "process_message", "process_request"])
@pytest.mark.parametrize("body", [b"", b"what-was-sent", b"{}", b"\xff"])
def test_server_answers_malformed_requests_without_repeating_them(name: str, body: bytes, stack: Stack) -> None:
    headers = {"authorization": "Bearer ya29.a-token", "content-type": "application/json"}
    status, answer = post(stack.url(name), headers, body)
    assert status == (400 if name == "process_request" else 200)
    assert b"ya29" not in answer
    assert b"what-was-sent" not in answer
