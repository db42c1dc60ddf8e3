"""The whole stack, once for all stories; each story has tenants of its own, so that none sees another's events."""

import itertools
import json
import time
import urllib.request

import pytest
from google.api_core.exceptions import NotFound

from local.resources import RedeliveryPolicy
from local.stack import Stack

TIMEOUT_S = 20
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def stack():
    """Redelivers quickly and for long: a story about it need not take seconds, on a busy machine neither."""
    with Stack(
        redelivery=RedeliveryPolicy(min_backoff_s=0.1, max_backoff_s=0.5, max_delivery_attempts=100)
    ) as stack:
        yield stack


@pytest.fixture
def tenant(stack):
    return Tenant(stack, f"tenant-{next(_numbers):03}")


@pytest.fixture(scope="session", name="wait")
def _wait():
    """Gives a function: what to try, until it gives something."""
    return wait


@pytest.fixture(scope="session")
def post():
    """Gives a function: a URL, headers and a body -> the status and the body of the answer."""
    return _post


class Tenant:
    """What a tenant, a publisher and an operator do, with the stock clients."""

    def __init__(self, stack, tenant_id):
        self.id = tenant_id
        self._stack = stack

    def put_model(self, data, model_type="detect"):
        blob = self._stack.storage.bucket(self._stack.names.models_bucket).blob(
            f"models/{self.id}/{model_type}.onnx"
        )
        blob.upload_from_string(data)
        return int(blob.generation)

    def put_pipelines(self, document):
        """`document`: as JSON has it, or the bytes themselves."""
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        bucket = self._stack.storage.bucket(self._stack.names.models_bucket)
        bucket.blob(f"models/{self.id}/pipelines.json").upload_from_string(data)

    def upload(self, path, data):
        blob = self._stack.storage.bucket(self._stack.names.upload_bucket).blob(f"uploads/{self.id}/{path}")
        blob.upload_from_string(data)
        return int(blob.generation)

    def publish(self, path, body=b"", **attributes):
        asked = {"tenant_id": self.id, "image": path, **attributes}
        topic = self._stack.names.image_topic
        return self._stack.publisher.publish(topic, body, **asked).result(timeout=TIMEOUT_S)

    def request(self, path, **others):
        """Ask over HTTP: the status and the document."""
        body = json.dumps({"tenant_id": self.id, "image": path, **others}).encode()
        return _post(self._stack.url("process_request"), {"content-type": "application/json"}, body)

    def results(self):
        return self._stack.storage.bucket(self._stack.names.results_bucket)

    def result(self, path):
        """The result document that is there, or None."""
        try:
            return json.loads(
                self.results().blob(f"results/{self.id}/{path}/result.json").download_as_bytes(retry=None)
            )
        except NotFound:
            return None

    def wait_for_result(self, path, generation=None):
        """The result of that generation of the image (of any), once it is there."""

        def found():
            document = self.result(path)
            fits = document and generation in {None, document["image"]["generation"]}
            return document if fits else None

        return wait(found)

    def summaries(self, name="process_upload"):
        """What the function's log says of this tenant's events."""
        lines = self._stack.log_lines(name)
        return [line for line in lines if "verdict" in line and line.get("tenant_id") == self.id]

    def wait_for_summaries(self, count, name="process_upload"):
        return wait(lambda: found if len(found := self.summaries(name)) >= count else None)

    def wait_for_error(self):
        """The next message of this tenant's on the error topic: attributes and data. Others' are dropped."""

        def found():
            for message in self._stack.read(self._stack.names.error_subscription, timeout_s=1):
                if message.attributes.get("tenant_id") == self.id:
                    return dict(message.attributes), json.loads(message.data)
            return None

        return wait(found)


def wait(found, timeout_s=TIMEOUT_S):
    """What `found` gives as soon as it gives something."""
    deadline = time.monotonic() + timeout_s
    while not (value := found()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return value


def _post(url, headers, body):
    request = urllib.request.Request(url, body, headers)  # noqa: S310 - the stack's own address
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()
