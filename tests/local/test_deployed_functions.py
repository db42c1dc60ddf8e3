"""This repository's own functions on the local stack, called by an upload and by a message."""

import os
import time
from typing import Any

import pytest

from local.stack import Stack

pytestmark = pytest.mark.stack

TENANT = "tenant-without-models"


def test_upload_and_message_reach_the_deployed_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy"):  # the stack must not use it
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    environment = {key: value for key, value in os.environ.items() if not key.endswith("EMULATOR_HOST")}
    with Stack(environment=environment) as stack:
        image = stack.storage.bucket(stack.names.upload_bucket).blob(f"uploads/{TENANT}/bed.jpg")
        image.upload_from_string(b"not quite a picture", content_type="image/jpeg")
        stack.publisher.publish(
            stack.names.image_topic, b"", tenant_id=TENANT, image=f"uploads/{TENANT}/another.jpg", request_id="7"
        ).result(timeout=5)
        errors = stack.read(stack.names.error_subscription, count=2, timeout_s=20)
        upload, message = (summary_line(stack, name) for name in ("process_upload", "process_message"))
    assert [error.attributes["tenant_id"] for error in errors] == [TENANT, TENANT]
    assert (upload["verdict"], upload["tenant_id"]) == ("rejected", TENANT)
    assert (message["verdict"], message["request_id"]) == ("rejected", "7")


def summary_line(stack: Stack, name: str) -> dict[str, Any]:
    """Wait for the summary line of a function, which is logged after the error is published."""
    deadline = time.monotonic() + 10
    while not (lines := [each for each in stack.log_lines(name) if "verdict" in each]):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    (line,) = lines
    return line
