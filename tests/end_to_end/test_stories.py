"""From the upload or the message to what lies in the results and on the error topic, on the whole stack."""

import io
import json

import jsonschema
import pytest
from PIL import Image

from testing import models
from testing.pictures import picture

pytestmark = pytest.mark.stack


@pytest.fixture(scope="session")
def validate(root):
    return jsonschema.Draft202012Validator(
        json.loads((root / "shared/schemas/result.schema.json").read_text())
    ).validate


def test_an_upload_gets_its_result_and_its_picture(tenant, stack, validate):
    model = tenant.put_model(models.detect())
    generation = tenant.upload("beds/bed 7.jpg", picture((320, 240)))
    result = tenant.wait_for_result("beds/bed 7.jpg")
    validate(result)
    image = f"gs://{stack.names.upload_bucket}/uploads/{tenant.id}/beds/bed 7.jpg"
    assert result["image"] == {"uri": image, "generation": generation, "width": 320, "height": 240}
    assert (result["models"]["detect"]["generation"], result["counts"]) == (model, {"plant": 1, "tray": 1})
    data = tenant.results().blob(f"results/{tenant.id}/beds/bed 7.jpg/annotated.jpg").download_as_bytes()
    with Image.open(io.BytesIO(data)) as annotated:
        assert (annotated.format, annotated.size) == ("JPEG", (320, 240))
    [summary] = tenant.wait_for_summaries(1)
    assert (summary["verdict"], summary["event_id"]) == ("done", result["event_id"])
    assert summary["logging.googleapis.com/trace"].startswith(f"projects/{stack.names.project}/traces/")


def test_a_message_gets_its_result(tenant, validate):
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


def test_without_a_model_the_error_topic_says_400_and_with_one_the_same_image_has_a_result(tenant):
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
    ids=["a text", "half a picture", "nothing"],
)
def test_a_bad_image_is_told_to_the_error_topic(data, status, error, tenant):
    tenant.put_model(models.detect())
    generation = tenant.upload("a.jpg", data)
    attributes, _ = tenant.wait_for_error()
    assert (attributes["status"], attributes["error"]) == (status, error)
    assert attributes["generation"] == str(generation)


def test_a_broken_model_is_told_to_the_error_topic(tenant):
    tenant.put_model(b"no model")
    tenant.upload("a.jpg", picture())
    attributes, _ = tenant.wait_for_error()
    assert (attributes["status"], attributes["error"]) == ("422", "invalid_model")


def test_another_tenant_s_image_is_refused(tenant):
    tenant.put_model(models.detect())
    tenant.publish("uploads/somebody-else/a.jpg")
    attributes, _ = tenant.wait_for_error()
    assert (attributes["status"], attributes["error"]) == ("403", "tenant_mismatch")


def test_results_wake_nobody(tenant, stack):
    """The results' bucket is another here; with one bucket for all, its names tell."""
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


def test_the_same_image_again_is_a_duplicate_and_runs_no_model(tenant):
    tenant.put_model(models.detect())
    tenant.upload("a.jpg", picture())
    first = tenant.wait_for_result("a.jpg")
    tenant.publish("a.jpg")
    [summary] = tenant.wait_for_summaries(1, "process_message")
    assert summary["verdict"] == "duplicate"
    assert not {"download", "infer", "write"} & set(summary["timings_ms"])
    assert tenant.result("a.jpg") == first


def test_a_new_generation_of_the_image_takes_the_place_of_the_old_one(tenant):
    tenant.put_model(models.detect())
    tenant.upload("a.png", picture(kind="PNG"))
    assert tenant.wait_for_result("a.png")["counts"] == {"plant": 1, "tray": 1}
    generation = tenant.upload("a.png", picture(colour="black", kind="PNG"))
    assert tenant.wait_for_result("a.png", generation)["counts"] == {}


def test_over_http_the_caller_has_the_result_or_the_problem(tenant, validate):
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


def test_over_http_a_missing_model_is_a_400(tenant):
    tenant.upload("a.jpg", picture())
    status, answer = tenant.request("a.jpg")
    assert (status, json.loads(answer)["error"]) == (400, "model_not_found")


def test_many_images_of_many_tenants_each_get_their_own(tenant, stack):
    """Labels tell whose model answered."""
    tenants = [type(tenant)(stack, f"{tenant.id}-{number}") for number in range(4)]
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


def test_an_unwrapped_push_to_the_real_server_asks_in_its_body(tenant, stack, post):
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
def test_the_real_server_repeats_nothing_of_what_was_sent(name, body, stack, post):
    headers = {"authorization": "Bearer ya29.a-token", "content-type": "application/json"}
    status, answer = post(stack.url(name), headers, body)
    assert status == (400 if name == "process_request" else 200)
    assert b"ya29" not in answer
    assert b"what-was-sent" not in answer
