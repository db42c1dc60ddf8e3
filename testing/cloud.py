"""A corner of the emulators that belongs to one test: buckets, an error topic and the settings that name them."""

import json
import uuid

from google.api_core.exceptions import NotFound


class Cloud:
    def __init__(self, stack):
        self._stack = stack
        self.name = f"t{uuid.uuid4().hex[:12]}"
        project = stack.names.project
        self.topic = f"projects/{project}/topics/{self.name}"
        self.subscription = f"projects/{project}/subscriptions/{self.name}"
        self.models, self.uploads, self.results = (
            stack.storage.create_bucket(f"{self.name}-{what}") for what in ("models", "uploads", "results")
        )
        stack.publisher.create_topic(name=self.topic)
        stack.subscriber.create_subscription(name=self.subscription, topic=self.topic)
        self.settings = {
            "GCS_BUCKET": self.models.name,
            "UPLOAD_BUCKET": self.uploads.name,
            "RESULTS_BUCKET": self.results.name,
            "ERROR_TOPIC": self.topic,
            "GOOGLE_CLOUD_PROJECT": project,
            "STORAGE_EMULATOR_HOST": stack.storage_url,
            "PUBSUB_EMULATOR_HOST": stack.pubsub_host,
        }

    def put_model(self, tenant_id, data, model_type="detect"):
        """Upload a tenant's model and give its generation."""
        return _put(self.models, f"models/{tenant_id}/{model_type}.onnx", data)

    def put_image(self, tenant_id, path, data):
        """Upload a tenant's image and give its generation."""
        return _put(self.uploads, f"uploads/{tenant_id}/{path}", data)

    def result(self, tenant_id, path):
        """The result document of an image, or None."""
        data = self.written(f"results/{tenant_id}/{path}/result.json")
        return None if data is None else json.loads(data)

    def written(self, name):
        """The bytes of an object among the results, or None."""
        try:
            return self.results.blob(name).download_as_bytes(retry=None)
        except NotFound:
            return None

    def names_written(self):
        return sorted(blob.name for blob in self.results.list_blobs())

    def errors(self, count=1, timeout_s=10.0):
        """Take `count` messages off the error topic: (attributes, data) of each; fewer when the time is over."""
        messages = self._stack.read(self.subscription, count=count, timeout_s=timeout_s)
        return [(dict(each.attributes), json.loads(each.data)) for each in messages]


def _put(bucket, name, data):
    blob = bucket.blob(name)
    blob.upload_from_string(data, content_type="application/octet-stream")
    return int(blob.generation)
