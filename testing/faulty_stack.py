"""The local stack with a fault-injecting proxy in front of its storage, and another in front of its Pub/Sub.

Only the functions use the proxies. A test's own clients, the notifications and the pushes do not.
"""

import json
import os
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Final, Self

from google.api_core.exceptions import NotFound

from local.resources import RedeliveryPolicy
from local.stack import Stack
from local.trigger import UPLOAD
from testing.fault_plan import FaultPlan, FaultSource
from testing.publish_proxy import PublishProxy
from testing.storage_proxy import StorageProxy

QUICK_REDELIVERY: Final = RedeliveryPolicy(
    ack_deadline_s=120, min_backoff_s=0.1, max_backoff_s=0.5, max_delivery_attempts=100
)
ACKNOWLEDGED: Final = frozenset({"done", "duplicate", "rejected", "ignored"})  # verdicts
THREADS: Final = 64  # of a function, so that stalled calls do not hold up the others
PUBLISH_TIMEOUT_S: Final = 20

Document = dict[str, Any]


class FaultyStack:
    """A context manager around the stack.

    `settings` are added to the functions' environment. `errors` has the attributes of the messages on the error
    topic, by tenant.
    """

    def __init__(
        self,
        *,
        targets: Sequence[str] = (UPLOAD,),
        storage_faults: FaultSource | None = None,
        publish_faults: FaultSource | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.storage_plan = FaultPlan()
        self.publish_plan = FaultPlan()
        self.errors: defaultdict[str, list[dict[str, str]]] = defaultdict(list)
        self._storage_proxy = StorageProxy(storage_faults or self.storage_plan)
        self._publish_proxy = PublishProxy(publish_faults or self.publish_plan)
        self.stack = Stack(
            targets=targets,
            environment=dict(os.environ) | {"THREADS": str(THREADS), "WORKER_PROCESSES": "1", **(settings or {})},
            redelivery=QUICK_REDELIVERY,
            wrap_settings=self._through_proxies,
        )
        self._exit = ExitStack()

    def __enter__(self) -> Self:
        with self._exit:
            for part in (self._storage_proxy, self._publish_proxy, self.stack):
                self._exit.enter_context(part)
            errors = self.stack.subscriber.subscribe(self.stack.names.error_subscription, self._read_error)
            self._exit.callback(_stop, errors)
            self._exit = self._exit.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def _through_proxies(self, settings: dict[str, str]) -> dict[str, str]:
        return settings | {
            "STORAGE_EMULATOR_HOST": self._storage_proxy.forward_to(settings["STORAGE_EMULATOR_HOST"]),
            "PUBSUB_EMULATOR_HOST": self._publish_proxy.forward_to(settings["PUBSUB_EMULATOR_HOST"]),
        }

    def _read_error(self, message: Any) -> None:
        self.errors[message.attributes.get("tenant_id", "")].append(dict(message.attributes))
        message.ack()

    def published(self, tenant_id: str) -> int:
        """Return how many messages the functions have published on the error topic."""
        return self._publish_proxy.published[tenant_id]

    # What a tenant does

    def put_model(self, tenant_id: str, data: bytes, model_type: str = "detect") -> int:
        return self._put(self.stack.names.models_bucket, f"models/{tenant_id}/{model_type}.onnx", data)

    def put_pipelines(self, tenant_id: str, document: Document) -> int:
        data = json.dumps(document).encode()
        return self._put(self.stack.names.models_bucket, f"models/{tenant_id}/pipelines.json", data)

    def upload(self, tenant_id: str, path: str, data: bytes) -> int:
        return self._put(self.stack.names.upload_bucket, f"uploads/{tenant_id}/{path}", data)

    def publish_request(self, tenant_id: str, path: str, **attributes: str) -> None:
        """Publish a message that requests an image."""
        self._publish(self.stack.names.image_topic, {"tenant_id": tenant_id, "image": path, **attributes})

    def notify(self, tenant_id: str, path: str, generation: int) -> None:
        """Publish the notification of an upload again."""
        self._publish(
            self.stack.names.upload_topic,
            {
                "eventType": "OBJECT_FINALIZE",
                "bucketId": self.stack.names.upload_bucket,
                "objectId": f"uploads/{tenant_id}/{path}",
                "objectGeneration": str(generation),
            },
        )

    # What a reader sees

    def result(self, tenant_id: str, path: str) -> Document | None:
        """Return the result document, or None."""
        bucket = self.stack.storage.bucket(self.stack.names.results_bucket)
        stored_object = bucket.blob(f"results/{tenant_id}/{path}/result.json")
        try:
            document: Document = json.loads(stored_object.download_as_bytes())
        except NotFound:
            return None
        return document

    def result_objects(self, tenant_id: str, path: str) -> dict[str, dict[str, str]]:
        """Return the metadata of the objects of an image's results, by name."""
        prefix = f"results/{tenant_id}/{path}/"
        blobs = self.stack.storage.list_blobs(self.stack.names.results_bucket, prefix=prefix)
        return {
            stored_object.name.removeprefix(prefix): dict(stored_object.metadata or {}) for stored_object in blobs
        }

    def summaries(self, targets: Sequence[str] = (UPLOAD,)) -> dict[str, list[Document]]:
        """Return the summary lines of the functions by tenant, in the order in which they were written."""
        summaries = defaultdict(list)
        for target in targets:
            for line in self.stack.log_lines(target):
                if "verdict" in line:
                    summaries[line.get("tenant_id", "")].append(line)
        return summaries

    def _put(self, bucket: str, name: str, data: bytes) -> int:
        stored_object = self.stack.storage.bucket(bucket).blob(name)
        stored_object.upload_from_string(data)
        return int(stored_object.generation)

    def _publish(self, topic: str, attributes: dict[str, str]) -> None:
        self.stack.publisher.publish(topic, b"", **attributes).result(timeout=PUBLISH_TIMEOUT_S)


def _stop(subscription: Any) -> None:
    subscription.cancel()
    subscription.result()


def wait_until(condition: Callable[[], bool], timeout_s: float, describe: Callable[[], object]) -> None:
    """Poll `condition`; fail with what `describe` returns when the time is over."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, describe()
        time.sleep(0.05)
