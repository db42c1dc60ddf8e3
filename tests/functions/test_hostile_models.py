"""Events whose model is hostile: verdicts and errors, and the service of another tenant."""

import json
from collections.abc import Mapping

import numpy as np
import pytest

from testing import hostile_graphs, hostile_models, models
from testing.cloud import Cloud
from testing.pictures import picture
from testing.serving import ReadLogLines, ServeFunction

ENDLESS = hostile_graphs.in_loop(hostile_graphs.node("Identity", "state", "next"), iterations=5_000_000)
FOREIGN = hostile_models.REJECTED["operators of an unsupported domain"][0]


def message_for(tenant_id: str, **attributes: str) -> bytes:
    message = {"attributes": {"tenant_id": tenant_id, "image": "a.jpg", **attributes}, "messageId": "m-1"}
    return json.dumps({"message": message, "subscription": "s"}).encode()


@pytest.fixture
def two_tenants(cloud: Cloud) -> Cloud:
    """Store an image for two tenants, and a valid model for the second."""
    for tenant_id in ("tenant-001", "tenant-002"):
        cloud.put_image(tenant_id, "a.jpg", picture())
    cloud.put_model("tenant-002", models.detect())
    return cloud


@pytest.mark.parametrize(
    ("data", "settings", "message"),
    [
        (ENDLESS, {"MAX_RUN_SECONDS": "0.2"}, "more than 0.2 s"),
        (models.detect(ballast=10_000), {"MAX_MODEL_BYTES": "9000"}, "more than 9000 bytes"),
        (FOREIGN, {}, "'evil.ops'"),
        (models.detect(), {"MODEL_DOMAINS": "our.ops"}, "our.ops"),
        (hostile_models.REJECTED["2 GB by ConstantOfShape"][0], {}, "requests"),
        (models.detect(external="../tenant-002/detect.onnx"), {}, "another file"),
    ],
    ids=["endless", "too large", "foreign", "domains", "bomb", "outside"],
)
def test_hostile_model_is_rejected_and_the_other_tenant_served(
    data: bytes, settings: Mapping[str, str], message: str, two_tenants: Cloud, serve: ServeFunction
) -> None:
    two_tenants.put_model("tenant-001", data)
    client = serve("process_message", {**two_tenants.settings, **settings})
    for _ in range(2):
        answer = client.post("/", headers={"content-type": "application/json"}, data=message_for("tenant-001"))
        assert (answer.status_code, answer.text) == (200, "rejected\n")
    for attributes, published in two_tenants.errors(2):
        assert (attributes["status"], attributes["error"]) == ("422", "invalid_model")
        assert message in published["message"]
    answer = client.post("/", headers={"content-type": "application/json"}, data=message_for("tenant-002"))
    assert answer.text == ("rejected\n" if "MODEL_DOMAINS" in settings else "done\n")


def test_event_is_deferred_when_an_endless_model_exceeds_its_deadline(
    two_tenants: Cloud, serve: ServeFunction, lines: ReadLogLines
) -> None:
    two_tenants.put_model("tenant-001", ENDLESS)
    client = serve("process_message", two_tenants.settings | {"EVENT_DEADLINE_SECONDS": "1"})
    answer = client.post("/", headers={"content-type": "application/json"}, data=message_for("tenant-001"))
    assert (answer.status_code, answer.text) == (503, "deferred\n")
    [summary] = lines().summaries
    assert (summary["status"], summary["error"]) == (504, "deadline_exceeded")


@pytest.mark.parametrize(
    ("cache_bytes", "cached_models"), [("0", 2), ("300000", 2), ("100000", 0)]
)  # a model needs some 75,000 bytes
def test_model_cache_bytes_limits_the_cached_models(
    cache_bytes: str, cached_models: int, two_tenants: Cloud, serve: ServeFunction, lines: ReadLogLines
) -> None:
    two_tenants.put_model("tenant-001", models.detect())
    client = serve("process_message", two_tenants.settings | {"MODEL_CACHE_BYTES": cache_bytes})
    for tenant_id in ("tenant-001", "tenant-002"):
        answer = client.post("/", headers={"content-type": "application/json"}, data=message_for(tenant_id))
        assert answer.text == "done\n"
    assert lines().summaries[-1]["cache"]["models"] == cached_models


@pytest.mark.parametrize(
    "options", [{}, {"resolution": "image"}, {"run_lengths": True}], ids=["canvas", "image", "run lengths"]
)
@pytest.mark.parametrize("limit", ["prototypes.MAX_SIGN_CHANGES", "contours.MAX_EDGES", "polygons.MAX_VERTICES"])
def test_segmenter_of_noise_is_rejected_without_a_result(
    limit: str,
    options: Mapping[str, object],
    two_tenants: Cloud,
    serve: ServeFunction,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(f"shared.vision.masks.{limit}", 1000)
    noise = np.random.default_rng(0).random((4, 64, 64)) < 0.5
    two_tenants.put_model("tenant-001", models.segment([(0, 0.9, pixels) for pixels in noise]), "segment")
    client = serve(
        "process_message", two_tenants.settings | {"WORKER_PROCESSES": "0"}
    )  # limits are set in this process
    steps = json.dumps({"noise": {"steps": [{"step": "segment", "options": {"iou_threshold": 1, **options}}]}})
    two_tenants.models.blob("models/tenant-001/pipelines.json").upload_from_string(steps)

    answer = client.post(
        "/", headers={"content-type": "application/json"}, data=message_for("tenant-001", pipeline="noise")
    )

    assert (answer.status_code, answer.text) == (200, "rejected\n")
    [(attributes, published)] = two_tenants.errors(1)
    assert (attributes["status"], attributes["error"]) == ("422", "invalid_model")
    assert "1000" in published["message"]
    assert "check that the model is trained" in published["message"]
    assert not any(name.endswith("result.json") for name in two_tenants.names_written())
