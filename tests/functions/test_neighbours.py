"""Two tenants at once on one instance: logs, errors and results of one have nothing of the other."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from testing import models
from testing.cloud import Cloud
from testing.pictures import picture
from testing.recorded_events import encode_base64
from testing.serving import ReadLogLines, ServeFunction

TENANTS = {"tenant-amber": "amber", "tenant-basil": "basil"}
OTHER = {"amber": "basil", "basil": "amber"}


@pytest.fixture
def marked_tenants(cloud: Cloud) -> Cloud:
    """Store models, pipelines and images of two tenants, with the tenant's mark in every name."""
    for tenant_id, mark in TENANTS.items():
        cloud.put_model(tenant_id, models.detect(labels=(f"{mark}-plant", f"{mark}-tray")))
        cloud.models.blob(f"models/{tenant_id}/pipelines.json").upload_from_string(
            json.dumps({f"own_{mark}": {"steps": [{"step": "detect", "options": {"labels": [f"{mark}-plant"]}}]}})
        )
        for number in range(3):
            cloud.put_image(tenant_id, f"{mark}-{number}.png", picture((64 + number, 64), kind="PNG"))
        cloud.put_image(tenant_id, f"{mark}-broken.png", picture(kind="PNG")[:-30])
    return cloud


def messages(mark: str) -> Iterator[dict[str, Any]]:
    """Yield messages that end in a result, in each kind of error, and in access to the other tenant."""
    other, others = OTHER[mark], f"tenant-{OTHER[mark]}"
    for number in range(3):
        yield {"image": f"{mark}-{number}.png", "request_id": f"{mark}-order-{number}"}
        yield {"image": f"{mark}-{number}.png", "pipeline": f"own_{mark}"}
    yield {"image": f"{mark}-gone.png"}
    yield {"image": f"{mark}-broken.png"}
    yield {"image": f"{mark}-0.png", "pipeline": "segment"}
    yield {"image": f"{mark}-0.png", "pipeline": f"none_of_{mark}"}
    yield {"image": f"{mark}-1.png", "options": {"labels": [f"{mark}-weed"]}}
    yield {"image": f"uploads/{others}/{other}-0.png"}
    yield {"image": f"{mark}-0.png", "pipeline": f"own_{other}"}


def test_logs_errors_and_results_of_a_tenant_have_nothing_of_another(
    marked_tenants: Cloud, serve: ServeFunction, lines: ReadLogLines
) -> None:
    application = serve("process_message", marked_tenants.settings).application
    posts = [
        (tenant_id, mark, fields)
        for pair in zip(*([(t, m, f) for f in messages(m)] for t, m in TENANTS.items()), strict=True)
        for tenant_id, mark, fields in pair
    ]

    def post(numbered: tuple[str, str, dict[str, Any]]) -> str:
        tenant_id, mark, fields = numbered
        message = {
            "messageId": f"{mark}-message",
            "attributes": {"tenant_id": tenant_id, **{k: v for k, v in fields.items() if k != "options"}},
        }
        if "options" in fields:
            body = {"options": fields["options"]}
            message["data"] = encode_base64(json.dumps(body))
        return application.test_client().post("/", data=json.dumps({"message": message})).text

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(post, posts))
    verdicts = [answer.strip() for answer in answers]
    assert verdicts.count("rejected") == 2 * 7
    assert verdicts.count("deferred") == 0

    written = lines()
    assert len(written.summaries) == len(posts)
    for line in written.all:
        mark = TENANTS[line["tenant_id"]]
        # Only what the sender itself wrote may name the other tenant.
        other_fields = {
            name: value for name, value in line.items() if name not in {"image", "message", "pipeline", "reason"}
        }
        assert OTHER[mark] not in json.dumps(other_fields)
        if line["verdict"] != "rejected":
            assert OTHER[mark] not in json.dumps(line)
        assert all(isinstance(value, (int, float)) for value in line["cache"].values())
        assert line["event_id"] == f"{mark}-message"
    for attributes, data in marked_tenants.errors(14):
        mark = TENANTS[attributes["tenant_id"]]
        assert attributes["event_id"] == f"{mark}-message"
        named_by_the_sender = OTHER[mark] in attributes.get("image", "") + attributes.get("pipeline", "")
        assert named_by_the_sender or OTHER[mark] not in json.dumps([attributes, data])
        if attributes["error"] == "invalid_pipeline" and "; known " in data["message"]:
            assert OTHER[mark] not in data["message"].partition("; known ")[2]
    for name in marked_tenants.names_written():
        mark = TENANTS[name.split("/")[1]]
        assert OTHER[mark] not in name
        if name.endswith(".json"):
            assert OTHER[mark].encode() not in (marked_tenants.written(name) or b"")
