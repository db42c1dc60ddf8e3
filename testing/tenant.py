"""A tenant of the local stack: what tenants, publishers and operators do with the stock clients."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from google.api_core.exceptions import NotFound

from local.stack import Stack

TIMEOUT_S: Final = 20

Document = dict[str, Any]
T = TypeVar("T")


class Tenant:
    """One tenant, with its models, uploads and results."""

    def __init__(self, stack: Stack, tenant_id: str) -> None:
        self.id = tenant_id
        self._stack = stack

    def put_model(self, data: bytes, model_type: str = "detect") -> int:
        """Upload a model and return its generation."""
        return self._put(self._stack.names.models_bucket, f"models/{self.id}/{model_type}.onnx", data)

    def put_pipelines(self, document: Document) -> int:
        """Upload a pipelines.json and return its generation."""
        data = json.dumps(document).encode()
        return self._put(self._stack.names.models_bucket, f"models/{self.id}/pipelines.json", data)

    def upload(self, path: str, data: bytes) -> int:
        """Upload an image and return its generation."""
        return self._put(self._stack.names.upload_bucket, f"uploads/{self.id}/{path}", data)

    def publish(self, path: str, body: bytes = b"", **attributes: str) -> str:
        """Publish a message that requests an image, and return its id."""
        attributes = {"tenant_id": self.id, "image": path, **attributes}
        future = self._stack.publisher.publish(self._stack.names.image_topic, body, **attributes)
        return str(future.result(timeout=TIMEOUT_S))

    def request(self, path: str, **fields: Any) -> tuple[int, bytes]:
        """Request an image over HTTP; return the status and the body of the response."""
        body = json.dumps({"tenant_id": self.id, "image": path, **fields}).encode()
        return post(self._stack.url("process_request"), {"content-type": "application/json"}, body)

    def results_bucket(self) -> Any:
        return self._stack.storage.bucket(self._stack.names.results_bucket)

    def result(self, path: str) -> Any:
        """Return the result document of an image, or None."""
        stored_object = self.results_bucket().blob(f"results/{self.id}/{path}/result.json")
        try:
            return json.loads(stored_object.download_as_bytes(retry=None))
        except NotFound:
            return None

    def wait_for_result(self, path: str, generation: int | None = None) -> Document:
        """Return the result of that generation of the image, or of any, once it exists."""

        def read() -> Document | None:
            document = self.result(path)
            fits = document and generation in {None, document["image"]["generation"]}
            return document if fits else None

        return wait_for(read)

    def summaries(self, name: str = "process_upload") -> list[Document]:
        """Return the summary lines of this tenant's events in a function's log."""
        lines = self._stack.log_lines(name)
        return [line for line in lines if "verdict" in line and line.get("tenant_id") == self.id]

    def wait_for_summaries(self, count: int, name: str = "process_upload") -> list[Document]:
        """Return the summary lines once there are `count` of them."""

        def read() -> list[Document] | None:
            summaries = self.summaries(name)
            return summaries if len(summaries) >= count else None

        return wait_for(read)

    def wait_for_error(self) -> tuple[dict[str, str], Document]:
        """Return attributes and data of this tenant's next message on the error topic; drop those of others."""

        def read() -> tuple[dict[str, str], Document] | None:
            for message in self._stack.read(self._stack.names.error_subscription, timeout_s=1):
                if message.attributes.get("tenant_id") == self.id:
                    return dict(message.attributes), json.loads(message.data)
            return None

        return wait_for(read)

    def _put(self, bucket: str, name: str, data: bytes) -> int:
        stored_object = self._stack.storage.bucket(bucket).blob(name)
        stored_object.upload_from_string(data)
        return int(stored_object.generation)


def wait_for(read: Callable[[], T | None], timeout_s: float = TIMEOUT_S) -> T:
    """Poll `read` until it returns something true, and return that."""
    deadline = time.monotonic() + timeout_s
    while not (value := read()):
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.02)
    return value


def post(url: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
    """Post to a server of the stack; return the status and the body of the response."""
    request = urllib.request.Request(url, body, dict(headers))  # noqa: S310 - the stack's own address
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:  # noqa: S310
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()
