"""process_request: an HTTP caller gets the result, or a problem document."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from testing import models, scripted_server
from testing.case_ids import case_id
from testing.cloud import Cloud
from testing.pictures import picture
from testing.serving import ReadLogLines, ServeFunction

BEARER = "Bearer ya29.a-token-of-the-caller"
JSON = {"content-type": "application/json", "authorization": BEARER}
SCHEMA = json.loads((Path(__file__).parents[2] / "shared/schemas/result.schema.json").read_text())


@pytest.fixture
def nursery(cloud: Cloud) -> Cloud:
    cloud.put_model("tenant-001", models.detect())
    cloud.put_model("tenant-004", b"no model")
    for tenant_id in ("tenant-001", "tenant-003", "tenant-004"):
        cloud.put_image(tenant_id, "a.jpg", picture())
    cloud.put_image("tenant-001", "text.jpg", b"no picture")
    cloud.put_image("tenant-001", "half.png", picture((300, 300), kind="PNG")[:-100])
    cloud.put_image("tenant-001", "vast.png", picture((2001, 1000), kind="PNG"))
    return cloud


@pytest.fixture
def client(nursery: Cloud, serve: ServeFunction) -> FlaskClient:
    return serve("process_request", nursery.settings | {"MAX_IMAGE_PIXELS": "2000000"})


def post(client: FlaskClient, **fields: Any) -> TestResponse:
    return client.post("/", headers=JSON, data=json.dumps({"tenant_id": "tenant-001", "image": "a.jpg", **fields}))


def document(answer: TestResponse) -> Any:
    """Return the JSON document of an answer."""
    return answer.json


def test_answer_is_the_stored_result_document(client: FlaskClient, nursery: Cloud) -> None:
    answer = post(client, request_id="order-1")
    assert (answer.status_code, answer.mimetype) == (200, "application/json")
    jsonschema.validate(document(answer), SCHEMA)
    assert document(answer) == nursery.result("tenant-001", "a.jpg")
    assert (document(answer)["request_id"], document(answer)["counts"]) == ("order-1", {"plant": 1, "tray": 1})


def test_repeated_request_gets_the_same_document(client: FlaskClient) -> None:
    assert post(client).data == post(client).data


@pytest.mark.parametrize("first", ["order-1", None])
@pytest.mark.parametrize("second", ["order-2", None])
def test_existing_result_is_answered_with_the_caller_s_request_id(
    first: str | None, second: str | None, client: FlaskClient, nursery: Cloud
) -> None:
    requests = [{"request_id": each} if each else {} for each in (first, second)]
    made, answered = (document(post(client, **fields)) for fields in requests)
    assert answered == made | {"request_id": second}
    assert nursery.result("tenant-001", "a.jpg") == made


PROBLEMS = {
    "model_not_found": ({"tenant_id": "tenant-003"}, 400),
    "invalid_event": ({"tenant_id": "Tenant 1"}, 400),
    "invalid_pipeline": ({"pipeline": "astrology"}, 400),
    "tenant_mismatch": ({"image": "uploads/tenant-003/a.jpg"}, 403),
    "image_not_found": ({"image": "gone.jpg"}, 404),
    "image_too_large": ({"image": "vast.png"}, 413),
    "unsupported_image": ({"image": "text.jpg"}, 415),
    "invalid_image": ({"image": "half.png"}, 422),
    "invalid_model": ({"tenant_id": "tenant-004"}, 422),
}


@pytest.mark.parametrize("error", PROBLEMS)
def test_failure_is_a_problem_document_with_its_status(
    error: str, client: FlaskClient, nursery: Cloud, lines: ReadLogLines
) -> None:
    fields, status = PROBLEMS[error]
    answer = post(client, request_id="order-1", **fields)
    assert (answer.status_code, answer.mimetype) == (status, "application/problem+json")
    problem = document(answer)
    assert (problem["status"], problem["error"], problem["request_id"]) == (status, error, "order-1")
    assert {"type", "title", "detail"} <= set(problem)
    assert BEARER not in answer.text
    assert nursery.errors(timeout_s=0.05) == [], "an error was published"
    [summary] = lines().summaries
    assert (summary["verdict"], summary["status"]) == ("rejected", status)


def test_missing_model_is_named_as_in_the_contract(client: FlaskClient) -> None:
    answer = post(client, tenant_id="tenant-003")

    assert document(answer)["detail"] == "Model 'detect' not found for tenant 'tenant-003'"


@pytest.mark.parametrize(
    "options",
    [
        [],
        "none",
        {"confidence_threshold": "0.5"},
        {"confidence_threshold": 2},
        {"confidence_threshold": None},
        {"confidence_threshold": True},
        {"iou_threshold": -0.1},
        {"max_detections": 0},
        {"max_detections": 1.5},
        {"max_detections": 10**30},
        {"colour": "red"},
        {"confidence_threshold": {}},
    ],
    ids=case_id,
)
def test_invalid_options_are_a_400_problem(options: Any, client: FlaskClient) -> None:
    answer = post(client, options=options)
    assert answer.status_code == 400
    assert document(answer)["error"] in {"invalid_pipeline", "invalid_event"}
    assert len(document(answer)["detail"]) > 20


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff", b'"a text"', b"[" * 50_000], ids=case_id)
def test_body_without_a_request_is_a_400_problem(body: bytes, client: FlaskClient) -> None:
    answer = client.post("/", headers=JSON, data=body)
    assert (answer.status_code, document(answer)["error"]) == (400, "invalid_event")


def test_headers_are_not_read_as_attributes(client: FlaskClient) -> None:
    assert client.post("/", headers=JSON | {"tenant-id": "tenant-001", "image": "a.jpg"}).status_code == 400


def test_storage_failure_is_a_503_problem(nursery: Cloud, serve: ServeFunction) -> None:
    with scripted_server.serve_responses(scripted_server.Response(403)) as (url, _):
        answer = post(serve("process_request", nursery.settings | {"STORAGE_EMULATOR_HOST": url}))
    assert (answer.status_code, document(answer)["error"]) == (503, "storage_unavailable")
    assert url not in answer.text


def test_bug_is_a_500_problem_without_its_cause(
    nursery: Cloud, serve: ServeFunction, monkeypatch: pytest.MonkeyPatch, lines: ReadLogLines
) -> None:
    client = serve("process_request", nursery.settings | {"WORKER_PROCESSES": "0"})

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr("simplejpeg.encode_jpeg", broken)
    answer = post(client)
    assert (answer.status_code, document(answer)["error"]) == (500, "internal_error")
    assert "secret" not in answer.text
    assert any("secret" in line["message"] for line in lines().all)


def test_generation_older_than_the_result_is_a_404_or_409_problem(client: FlaskClient, nursery: Cloud) -> None:
    old = nursery.put_image("tenant-001", "b.jpg", picture())
    nursery.put_image("tenant-001", "b.jpg", picture(colour="grey"))
    assert post(client, image="b.jpg").status_code == 200
    assert post(client, image="b.jpg", generation=old).status_code in {404, 409}
