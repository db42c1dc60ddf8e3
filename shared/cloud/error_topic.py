"""Publishes error messages to a Pub/Sub topic, and waits for the acknowledgement within the event deadline."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from shared.errors import PublishFailed
from shared.runtime import deadline

if TYPE_CHECKING:
    from google.api_core.retry import Retry
    from google.cloud import pubsub_v1

PUBLISH_TIMEOUT_S: Final = 30.0


class ErrorTopic:
    """The error topic. The Pub/Sub client is imported and created by the first `publish`, not before."""

    def __init__(self, topic: str, *, project: str = "", timeout_s: float = PUBLISH_TIMEOUT_S) -> None:
        """Name the topic: in full, or by its name alone in `project` (the default project if that is empty)."""
        self._topic = topic
        self._project = project
        self._timeout_s = timeout_s
        self._client: pubsub_v1.PublisherClient | None = None
        self._lock = threading.Lock()

    def publish(self, attributes: Mapping[str, str], data: bytes) -> str:
        """Publish one message, and return its id once Pub/Sub has acknowledged it.

        Raises:
            PublishFailed: Pub/Sub did not acknowledge the message within the timeout or the event deadline, for
                whatever reason. The event must then be delivered again.
        """
        try:
            client, path = self._connect()
            timeout_s = deadline.remaining_s(at_most=self._timeout_s)
            future = client.publish(path, data, retry=_retry(timeout_s), timeout=timeout_s, **attributes)
            return str(future.result(timeout=timeout_s))
        except Exception as error:
            raise PublishFailed("error message could not be published") from error

    def _connect(self) -> tuple[pubsub_v1.PublisherClient, str]:
        from google.cloud import pubsub_v1  # noqa: PLC0415 - it takes 60 to 110 ms, and most instances never publish

        with self._lock:
            if self._client is None:
                settings = pubsub_v1.types.BatchSettings(max_messages=1)
                self._client = pubsub_v1.PublisherClient(batch_settings=settings)
            if not self._topic.startswith("projects/"):
                self._topic = f"projects/{self._project or _default_project()}/topics/{self._topic}"
            return self._client, self._topic


def _retry(timeout_s: float) -> Retry:
    """Return the client's default retry, but with `timeout_s` instead of 600 s."""
    from google.api_core import exceptions as api  # noqa: PLC0415 - as above
    from google.api_core.retry import Retry, if_exception_type  # noqa: PLC0415

    is_transient = if_exception_type(api.ServerError, api.Aborted, api.Cancelled, api.TooManyRequests)
    return Retry(predicate=is_transient, initial=0.1, maximum=10.0, multiplier=4, timeout=timeout_s)


def _default_project() -> str:
    import google.auth  # noqa: PLC0415 - it asks the metadata server, which only a topic without project needs

    return str(google.auth.default()[1])
