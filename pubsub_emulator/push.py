"""The hand of the clock: ends leases in time and posts what is to be pushed.

One thread with an event loop of its own, so that a push has one deadline for everything (connect, send, wait),
any number of slow endpoints cost no thread, and stopping is cancelling.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import re
import threading
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from pubsub_emulator.broker import Broker
    from pubsub_emulator.subscription import Push

logger = logging.getLogger(__name__)
ACKNOWLEDGING = frozenset({102, 200, 201, 202, 204})
_REST_S = 5.0  # for what an endpoint says after its status
_OURS = re.compile(r"host|connection|user-agent|content-length|transfer-encoding|x-goog-.*", re.IGNORECASE)
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


def body(push: Push) -> bytes:
    """The body of a wrapped push. Empty fields are left out, as protobuf's JSON does."""
    message = push.delivery.message
    fields: dict[str, Any] = {
        "attributes": dict(message.attributes),
        "data": base64.b64encode(message.data).decode(),
        "messageId": message.message_id,
        "message_id": message.message_id,
        "orderingKey": message.ordering_key,
        "publishTime": message.published_rfc3339,
        "publish_time": message.published_rfc3339,
    }
    envelope: dict[str, Any] = {
        "message": {name: value for name, value in fields.items() if value},
        "subscription": push.subscription,
    }
    if push.delivery.attempt:
        envelope["deliveryAttempt"] = push.delivery.attempt
    return json.dumps(envelope).encode()


def headers(push: Push) -> dict[str, str]:
    """The headers of an unwrapped push that writes metadata: ours, and attributes that can be headers."""
    message = push.delivery.message
    metadata = {
        "x-goog-pubsub-subscription-name": push.subscription,
        "x-goog-pubsub-message-id": message.message_id,
        "x-goog-pubsub-publish-time": message.published_rfc3339,
    }
    if message.ordering_key:
        metadata["x-goog-pubsub-ordering-key"] = message.ordering_key
    attributes = {
        key: value
        for key, value in message.attributes.items()
        if _HEADER_NAME.fullmatch(key) and not _OURS.fullmatch(key)
    }
    return {name: value for name, value in {**attributes, **metadata}.items() if value.isprintable()}


def request(push: Push) -> bytes:
    """The whole HTTP request."""
    url = urlsplit(push.config.push_endpoint)
    unwrapped = "no_wrapper" in push.config
    content = push.delivery.message.data if unwrapped else body(push)
    own: Mapping[str, str] = {} if unwrapped else {"Content-Type": "application/json"}
    if unwrapped and push.config.no_wrapper.write_metadata:
        own = headers(push)
    lines = {
        "Host": url.netloc.rpartition("@")[2],
        "User-Agent": "CloudPubSub-Google",
        "Accept": "*/*",
        **own,
        "Content-Length": str(len(content)),
        "Connection": "close",
    }
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    head = f"POST {target} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return head.encode() + b"\r\n" + content


@asynccontextmanager
async def posted(push: Push) -> AsyncIterator[int]:
    """The status that the endpoint answers, as soon as it does; the rest of its answer is read on leaving."""
    url = urlsplit(push.config.push_endpoint)
    secure = url.scheme == "https"
    async with AsyncExitStack() as stack:
        async with asyncio.timeout(push.timeout_s):
            reader, writer = await asyncio.open_connection(
                url.hostname, url.port or (443 if secure else 80), ssl=secure or None
            )
            stack.callback(writer.close)
            writer.write(request(push))
            await writer.drain()
            status = int((await reader.readline()).split()[1])
        yield status
        with suppress(OSError):
            async with asyncio.timeout(_REST_S):
                while await reader.read(65536):
                    pass


class Pusher:
    """Runs from start() to stop()."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._stopped = False
        # A daemon, so that a server which nobody stops does not keep its process alive.
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="pubsub-push", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Pushes under way are cut off."""
        self._stopped = True
        if self._thread.is_alive():
            self._broker.wake()
            self._thread.join()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        changed = asyncio.Event()
        under_way: set[asyncio.Task[None]] = set()
        self._broker.listen(lambda: loop.call_soon_threadsafe(changed.set))
        while not self._stopped:
            changed.clear()
            pushes, rest_s = self._broker.tick()
            for push in pushes:
                task = loop.create_task(self._deliver(push))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
            with suppress(TimeoutError):
                async with asyncio.timeout(rest_s):
                    await changed.wait()
        self._broker.listen(lambda: None)

    async def _deliver(self, push: Push) -> None:
        try:
            async with posted(push) as status:
                logger.info("push to %s: %d", push.config.push_endpoint, status)
                self._broker.settle(push, acknowledged=status in ACKNOWLEDGING)
        except (OSError, ValueError, IndexError) as error:  # refused, timed out, or not HTTP
            logger.info("push to %s: %r", push.config.push_endpoint, error)
            self._broker.settle(push, acknowledged=False)
