"""Publishes error messages and waits until Pub/Sub has them, or the event's time is over."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from shared.errors import PublishFailed
from shared.runtime import deadline

if TYPE_CHECKING:
    from google.api_core.retry import Retry
    from google.cloud import pubsub_v1

PUBLISH_DEADLINE_S: Final = 30.0


class ErrorTopic:
    """The topic errors go to. Pub/Sub's client is imported and made by the first error, not before."""

    def __init__(self, topic: str, *, project: str = "", deadline_s: float = PUBLISH_DEADLINE_S) -> None:
        self._topic = topic
        self._project = project
        self._deadline_s = deadline_s
        self._client: pubsub_v1.PublisherClient | None = None
        self._lock = threading.Lock()

    def publish(self, attributes: Mapping[str, str], data: bytes) -> str:
        """Publish one message and give its id once Pub/Sub has it.

        Raises:
            PublishFailed: Pub/Sub did not take it within the deadline, or what is left of the event's time, for
                whatever reason: the caller's event must then be delivered again.
        """
        try:
            client, path = self._connected()
            left = deadline.remaining_s(at_most=self._deadline_s)
            retry = _retry(left)
            future = client.publish(path, data, retry=retry, timeout=left, **attributes)
            return str(future.result(timeout=left))
        except Exception as error:
            raise PublishFailed("The error could not be published") from error

    def _connected(self) -> tuple[pubsub_v1.PublisherClient, str]:
        from google.cloud import pubsub_v1  # noqa: PLC0415 - 60 to 110 ms that most instances never need

        with self._lock:
            if self._client is None:
                settings = pubsub_v1.types.BatchSettings(max_messages=1)
                self._client = pubsub_v1.PublisherClient(batch_settings=settings)
            if not self._topic.startswith("projects/"):
                self._topic = f"projects/{self._project or _default_project()}/topics/{self._topic}"
            return self._client, self._topic


def _retry(timeout_s: float) -> Retry:
    """As the client's own, which would go on for 600 s, with nobody there to hear of it."""
    from google.api_core import exceptions as api  # noqa: PLC0415 - as above
    from google.api_core.retry import Retry, if_exception_type  # noqa: PLC0415

    may_pass = if_exception_type(api.ServerError, api.Aborted, api.Cancelled, api.TooManyRequests)
    return Retry(predicate=may_pass, initial=0.1, maximum=10.0, multiplier=4, timeout=timeout_s)


def _default_project() -> str:
    import google.auth  # noqa: PLC0415 - asks the metadata server; only a short topic name needs it

    return str(google.auth.default()[1])
