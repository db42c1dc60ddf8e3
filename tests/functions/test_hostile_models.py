"""What becomes of events whose model is hostile, and of the tenant beside it: settings, verdicts, errors."""

import json

import pytest

from testing import hostile_graphs, hostile_models, models
from testing.pictures import picture

ENDLESS = hostile_graphs.in_loop(hostile_graphs.node("Identity", "state", "next"), iterations=5_000_000)
FOREIGN = hostile_models.REJECTED["operators of an unsupported domain"][0]


def asking(tenant_id):
    message = {"attributes": {"tenant_id": tenant_id, "image": "a.jpg"}, "messageId": "m-1"}
    return json.dumps({"message": message, "subscription": "s"}).encode()


@pytest.fixture
def two(cloud):
    """Two tenants with an image each; the second has a model as it should be."""
    for tenant_id in ("tenant-001", "tenant-002"):
        cloud.put_image(tenant_id, "a.jpg", picture())
    cloud.put_model("tenant-002", models.detect())
    return cloud


@pytest.mark.parametrize(
    ("data", "settings", "sentence"),
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
def test_a_hostile_model_is_rejected_with_a_sentence_and_its_neighbour_served(
    data, settings, sentence, two, serve
):
    two.put_model("tenant-001", data)
    client = serve("process_message", two.settings | settings)
    for _ in range(2):
        answer = client.post("/", headers={"content-type": "application/json"}, data=asking("tenant-001"))
        assert (answer.status_code, answer.text) == (200, "rejected\n")
    for attributes, told in two.errors(2):
        assert (attributes["status"], attributes["error"]) == ("422", "invalid_model")
        assert sentence in told["message"]
    answer = client.post("/", headers={"content-type": "application/json"}, data=asking("tenant-002"))
    assert answer.text == ("rejected\n" if "MODEL_DOMAINS" in settings else "done\n")


def test_an_endless_model_that_the_event_has_no_time_for_comes_again(two, serve, lines):
    two.put_model("tenant-001", ENDLESS)
    client = serve("process_message", two.settings | {"EVENT_DEADLINE_SECONDS": "1"})
    answer = client.post("/", headers={"content-type": "application/json"}, data=asking("tenant-001"))
    assert (answer.status_code, answer.text) == (503, "deferred\n")
    [summary] = lines().summaries
    assert (summary["status"], summary["error"]) == (504, "deadline_exceeded")


@pytest.mark.parametrize(("room", "held"), [("0", 2), ("300000", 2), ("100000", 0)])  # a model: 75,000
def test_the_room_for_models_is_a_setting(room, held, two, serve, lines):
    two.put_model("tenant-001", models.detect())
    client = serve("process_message", two.settings | {"MODEL_CACHE_BYTES": room})
    for tenant_id in ("tenant-001", "tenant-002"):
        answer = client.post("/", headers={"content-type": "application/json"}, data=asking(tenant_id))
        assert answer.text == "done\n"
    assert lines().summaries[-1]["cache"]["models"] == held
