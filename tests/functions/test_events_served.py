"""Every event of tests/events, as the platforms post it, through the real main.py to a result."""

import pytest

from testing import models, recorded_events
from testing.cloud import Cloud
from testing.pictures import picture
from testing.serving import ReadLogLines, ServeFunction


@pytest.fixture
def image(cloud: Cloud) -> int:
    cloud.put_model(recorded_events.TENANT_ID, models.detect())
    generation: int = cloud.put_image(recorded_events.TENANT_ID, recorded_events.PATH, picture())
    return generation


@pytest.mark.parametrize("name", recorded_events.NAMES)
def test_real_event_gives_a_result(
    name: str, cloud: Cloud, image: int, serve: ServeFunction, lines: ReadLogLines
) -> None:
    event = recorded_events.load(name).with_image(cloud.uploads.name, image)
    client = serve(event.entry_point, cloud.settings)

    answer = client.post("/", headers=event.headers, data=event.body)

    assert (answer.status_code, answer.text) == (200, "done\n")
    result = cloud.result(recorded_events.TENANT_ID, recorded_events.PATH)
    assert result["image"]["generation"] == image
    assert result["event_id"] in event.headers.values() or result["event_id"].encode() in event.body
    assert result["counts"] == {"plant": 1, "tray": 1}
    assert result["request_id"] == ("order-4711" if event.entry_point == "process_message" else None)
    [summary] = lines().summaries
    assert (summary["verdict"], summary["tenant_id"]) == ("done", recorded_events.TENANT_ID)


@pytest.mark.parametrize("entry_point", ["process_upload", "process_message"])
@pytest.mark.parametrize("name", ["storage_cloudevent_binary", "pubsub_push_wrapped"])
def test_both_event_entry_points_accept_every_envelope(
    name: str, entry_point: str, cloud: Cloud, image: int, serve: ServeFunction
) -> None:
    event = recorded_events.load(name).with_image(cloud.uploads.name, image)
    answer = serve(entry_point, cloud.settings).post("/", headers=event.headers, data=event.body)
    assert (answer.status_code, answer.text) == (200, "done\n")


def test_redelivered_event_is_a_duplicate(cloud: Cloud, image: int, serve: ServeFunction) -> None:
    event = recorded_events.load("storage_cloudevent_binary").with_image(cloud.uploads.name, image)
    client = serve(event.entry_point, cloud.settings)
    answers = [client.post("/", headers=event.headers, data=event.body).text for _ in range(2)]
    assert answers == ["done\n", "duplicate\n"]


def test_recorded_events_cover_all_envelopes() -> None:
    assert len(recorded_events.NAMES) >= 16
