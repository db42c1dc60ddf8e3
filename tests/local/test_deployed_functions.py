"""`make up` as it is: this repository's main.py, woken by an upload and by a message."""

import os
import time

import pytest

from local.stack import Stack

pytestmark = pytest.mark.stack

WHO = "tenant-without-models"


def test_upload_and_message_reach_the_deployed_functions(monkeypatch):
    for name in ("http_proxy", "https_proxy"):  # is for other addresses
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    environment = {key: value for key, value in os.environ.items() if not key.endswith("EMULATOR_HOST")}
    with Stack(environment=environment) as stack:
        image = stack.storage.bucket(stack.names.upload_bucket).blob(f"uploads/{WHO}/bed.jpg")
        image.upload_from_string(b"not quite a picture", content_type="image/jpeg")
        stack.publisher.publish(
            stack.names.image_topic, b"", tenant_id=WHO, image=f"uploads/{WHO}/another.jpg", request_id="7"
        ).result(timeout=5)
        errors = stack.read(stack.names.error_subscription, count=2, timeout_s=20)
        uploaded, asked_for = (one_line(stack, name) for name in ("process_upload", "process_message"))
    assert [message.attributes["tenant_id"] for message in errors] == [WHO, WHO]
    assert (uploaded["verdict"], uploaded["tenant_id"]) == ("rejected", WHO)
    assert (asked_for["verdict"], asked_for["request_id"]) == ("rejected", "7")


def one_line(stack, name):
    """The summary is written after the error is published."""
    deadline = time.monotonic() + 10
    while not (lines := [each for each in stack.log_lines(name) if "verdict" in each]):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    (line,) = lines
    return line
