"""The part of the emulators that belongs to one test: buckets, an error topic, and the settings that name them."""

import json
import uuid
from typing import Any

from google.api_core.exceptions import NotFound

from local.stack import Stack


class Cloud:
    """Three empty buckets and an error topic, with what tenants put in and what readers get out."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.name = f"t{uuid.uuid4().hex[:12]}"
        project = stack.names.project
        self.topic = f"projects/{project}/topics/{self.name}"
        self.subscription = f"projects/{project}/subscriptions/{self.name}"
        self.models, self.uploads, self.results = (
            stack.storage.create_bucket(f"{self.name}-{purpose}") for purpose in ("models", "uploads", "results")
        )
        stack.publisher.create_topic(name=self.topic)
        stack.subscriber.create_subscription(name=self.subscription, topic=self.topic)
        self.settings: dict[str, str] = {
            "GCS_BUCKET": self.models.name,
            "UPLOAD_BUCKET": self.uploads.name,
            "RESULTS_BUCKET": self.results.name,
            "ERROR_TOPIC": self.topic,
            "GOOGLE_CLOUD_PROJECT": project,
            "STORAGE_EMULATOR_HOST": stack.storage_url,
            "PUBSUB_EMULATOR_HOST": stack.pubsub_host,
        }

    def put_model(self, tenant_id: str, data: bytes, model_type: str = "detect") -> int:
        """Upload a tenant's model and return its generation."""
        return _put(self.models, f"models/{tenant_id}/{model_type}.onnx", data)

    def put_image(self, tenant_id: str, path: str, data: bytes) -> int:
        """Upload a tenant's image and return its generation."""
        return _put(self.uploads, f"uploads/{tenant_id}/{path}", data)

    def result(self, tenant_id: str, path: str) -> Any:
        """Return the result document of an image, or None."""
        data = self.written(f"results/{tenant_id}/{path}/result.json")
        return None if data is None else json.loads(data)

    def written(self, name: str) -> bytes | None:
        """Return the bytes of an object in the results bucket, or None."""
        try:
            data: bytes = self.results.blob(name).download_as_bytes(retry=None)
        except NotFound:
            return None
        return data

    def names_written(self) -> list[str]:
        """Return the names of all objects in the results bucket."""
        return sorted(stored_object.name for stored_object in self.results.list_blobs())

    def errors(self, count: int = 1, timeout_s: float = 10.0) -> list[tuple[dict[str, str], Any]]:
        """Take `count` messages off the error topic, fewer if the time is over: (attributes, data) of each."""
        messages = self._stack.read(self.subscription, count=count, timeout_s=timeout_s)
        return [(dict(message.attributes), json.loads(message.data)) for message in messages]


def _put(bucket: Any, name: str, data: bytes) -> int:
    stored_object = bucket.blob(name)
    stored_object.upload_from_string(data, content_type="application/octet-stream")
    return int(stored_object.generation)
