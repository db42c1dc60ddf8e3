"""The local stack with a proxy that fails on purpose before its storage, and another before its Pub/Sub.

Only the functions go through them. A test's own clients, the notifications and the pushes do not.
"""

import json
import os
import time
from collections import defaultdict
from contextlib import ExitStack

from google.api_core.exceptions import NotFound

from local.resources import RedeliveryPolicy
from local.stack import Stack
from local.trigger import UPLOAD
from testing.fault_plan import FaultPlan
from testing.publish_proxy import PublishProxy
from testing.storage_proxy import StorageProxy

QUICK = RedeliveryPolicy(ack_deadline_s=120, min_backoff_s=0.1, max_backoff_s=0.5, max_delivery_attempts=100)
ACKNOWLEDGED = {"done", "duplicate", "rejected", "ignored"}
THREADS = 64  # of a function, so that those who wait for something hold up nobody


class FaultyStack:
    """`settings` are the functions' environment. `errors` has the messages of the error topic, by tenant."""

    def __init__(self, *, targets=(UPLOAD,), storage=None, publishing=None, delivery=QUICK, **settings):
        self.storage_faults = storage or FaultPlan()
        self.publish_faults = publishing or FaultPlan()
        self.errors = defaultdict(list)
        self._storage = StorageProxy(self.storage_faults)
        self._publishing = PublishProxy(self.publish_faults)
        environment = dict(os.environ) | {"THREADS": str(THREADS), **settings}
        self.stack = Stack(
            targets=targets, environment=environment, redelivery=delivery, wrap_settings=self._between
        )
        self._exit = ExitStack()

    def __enter__(self):
        with self._exit:
            for part in (self._storage, self._publishing, self.stack):
                self._exit.enter_context(part)
            reading = self.stack.subscriber.subscribe(self.stack.names.error_subscription, self._read_error)
            self._exit.callback(_stop, reading)
            self._exit = self._exit.pop_all()
        return self

    def __exit__(self, *_):
        self._exit.close()

    def _between(self, settings):
        return settings | {
            "STORAGE_EMULATOR_HOST": self._storage.to(settings["STORAGE_EMULATOR_HOST"]),
            "PUBSUB_EMULATOR_HOST": self._publishing.to(settings["PUBSUB_EMULATOR_HOST"]),
        }

    def _read_error(self, message):
        self.errors[message.attributes.get("tenant_id", "")].append(dict(message.attributes))
        message.ack()

    def published(self, tenant_id):
        """How many messages of the error topic the functions' publishing has come to."""
        return self._publishing.published[tenant_id]

    # What a tenant does

    def put_model(self, tenant_id, data, model_type="detect"):
        return self._put(self.stack.names.models_bucket, f"models/{tenant_id}/{model_type}.onnx", data)

    def put_pipelines(self, tenant_id, document):
        data = json.dumps(document).encode()
        return self._put(self.stack.names.models_bucket, f"models/{tenant_id}/pipelines.json", data)

    def upload(self, tenant_id, path, data):
        return self._put(self.stack.names.upload_bucket, f"uploads/{tenant_id}/{path}", data)

    def ask(self, tenant_id, path, **attributes):
        """A message that asks for an image."""
        asked = {"tenant_id": tenant_id, "image": path, **attributes}
        return self.stack.publisher.publish(self.stack.names.image_topic, b"", **asked).result(timeout=20)

    def notify(self, tenant_id, path, generation):
        """The notification of an upload, once more."""
        return self.stack.publisher.publish(
            self.stack.names.upload_topic,
            b"",
            eventType="OBJECT_FINALIZE",
            bucketId=self.stack.names.upload_bucket,
            objectId=f"uploads/{tenant_id}/{path}",
            objectGeneration=str(generation),
        ).result(timeout=20)

    # What a reader sees

    def result(self, tenant_id, path):
        """The result document, or None."""
        blob = self._result(tenant_id, path, "result.json")
        try:
            return json.loads(blob.download_as_bytes())
        except NotFound:
            return None

    def written_for(self, tenant_id, path):
        """The objects of an image's results: their metadata by name."""
        prefix = f"results/{tenant_id}/{path}/"
        blobs = self.stack.storage.list_blobs(self.stack.names.results_bucket, prefix=prefix)
        return {blob.name.removeprefix(prefix): dict(blob.metadata or {}) for blob in blobs}

    def summaries(self, targets=(UPLOAD,)):
        """The summary lines of the functions by tenant, in the order they were written."""
        found = defaultdict(list)
        for target in targets:
            for line in self.stack.log_lines(target):
                if "verdict" in line:
                    found[line.get("tenant_id", "")].append(line)
        return found

    def _result(self, tenant_id, path, name):
        bucket = self.stack.storage.bucket(self.stack.names.results_bucket)
        return bucket.blob(f"results/{tenant_id}/{path}/{name}")

    def _put(self, bucket, name, data):
        blob = self.stack.storage.bucket(bucket).blob(name)
        blob.upload_from_string(data)
        return int(blob.generation)


def _stop(reading):
    reading.cancel()
    reading.result()


def wait_until(holds, timeout_s, what):
    """`what`: gives the sentence of the failure."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, what()
        time.sleep(0.05)
