"""Push delivery: a thread that posts messages to push endpoints and ends leases when they expire.

The thread runs an asyncio event loop. One timeout covers connecting, sending and waiting for the status, slow
endpoints occupy no threads, and stopping cancels the pushes under way.

Format of a push: https://cloud.google.com/pubsub/docs/push#receive_push and
https://cloud.google.com/pubsub/docs/payload-unwrapping
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import re
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

from pubsub_emulator.broker import Broker
from pubsub_emulator.subscription import Push

logger = logging.getLogger(__name__)
ACKNOWLEDGING_STATUSES = frozenset({102, 200, 201, 202, 204})
_RESPONSE_BODY_TIMEOUT_S = 5.0
_RESERVED_HEADER_PATTERN = re.compile(
    r"host|connection|user-agent|content-length|transfer-encoding|x-goog-.*", re.IGNORECASE
)
_HEADER_NAME_PATTERN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


def wrapped_body(push: Push) -> bytes:
    """Return the JSON body of a wrapped push, without empty fields, as in protobuf's JSON mapping."""
    message = push.delivery.message
    fields: dict[str, Any] = {
        "attributes": dict(message.attributes),
        "data": base64.b64encode(message.data).decode(),
        "messageId": message.message_id,
        "message_id": message.message_id,
        "orderingKey": message.ordering_key,
        "publishTime": message.publish_time_rfc3339,
        "publish_time": message.publish_time_rfc3339,
    }
    envelope: dict[str, Any] = {
        "message": {name: value for name, value in fields.items() if value},
        "subscription": push.subscription,
    }
    if push.delivery.attempt:
        envelope["deliveryAttempt"] = push.delivery.attempt
    return json.dumps(envelope).encode()


def metadata_headers(push: Push) -> dict[str, str]:
    """Return the headers of an unwrapped push with metadata: Pub/Sub's, and the attributes that can be headers."""
    message = push.delivery.message
    metadata = {
        "x-goog-pubsub-subscription-name": push.subscription,
        "x-goog-pubsub-message-id": message.message_id,
        "x-goog-pubsub-publish-time": message.publish_time_rfc3339,
    }
    if message.ordering_key:
        metadata["x-goog-pubsub-ordering-key"] = message.ordering_key
    attributes = {
        key: value
        for key, value in message.attributes.items()
        if _HEADER_NAME_PATTERN.fullmatch(key) and not _RESERVED_HEADER_PATTERN.fullmatch(key)
    }
    return {name: value for name, value in {**attributes, **metadata}.items() if value.isprintable()}


def encode_request(push: Push) -> bytes:
    """Return the bytes of the HTTP request, with its headers and body."""
    url = urlsplit(push.config.push_endpoint)
    unwrapped = "no_wrapper" in push.config
    content = push.delivery.message.data if unwrapped else wrapped_body(push)
    content_headers: Mapping[str, str] = {} if unwrapped else {"Content-Type": "application/json"}
    if unwrapped and push.config.no_wrapper.write_metadata:
        content_headers = metadata_headers(push)
    headers = {
        "Host": url.netloc.rpartition("@")[2],
        "User-Agent": "CloudPubSub-Google",
        "Accept": "*/*",
        **content_headers,
        "Content-Length": str(len(content)),
        "Connection": "close",
    }
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    head = f"POST {target} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return head.encode() + b"\r\n" + content


@asynccontextmanager
async def post(push: Push) -> AsyncIterator[int]:
    """Post a push, and yield the status of the response; its headers and body are read and dropped on exit."""
    url = urlsplit(push.config.push_endpoint)
    secure = url.scheme == "https"
    async with AsyncExitStack() as stack:
        async with asyncio.timeout(push.timeout_s):
            reader, writer = await asyncio.open_connection(
                url.hostname, url.port or (443 if secure else 80), ssl=secure or None
            )
            stack.callback(writer.close)
            writer.write(encode_request(push))
            await writer.drain()
            status = int((await reader.readline()).split()[1])
        yield status
        with suppress(OSError):
            async with asyncio.timeout(_RESPONSE_BODY_TIMEOUT_S):
                while await reader.read(65536):
                    pass


class Pusher:
    """The push thread of one broker, which runs from start() to stop()."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._stopped = False
        # A daemon thread does not keep the process alive if the server is never stopped.
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="pubsub-push", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Cancel the pushes under way, and join the thread."""
        self._stopped = True
        if self._thread.is_alive():
            self._broker.notify()
            self._thread.join()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        changed = asyncio.Event()
        tasks: set[asyncio.Task[None]] = set()  # the loop itself keeps only weak references
        self._broker.set_listener(lambda: loop.call_soon_threadsafe(changed.set))
        while not self._stopped:
            changed.clear()
            pushes, timeout_s = self._broker.advance()
            for push in pushes:
                task = loop.create_task(self._deliver(push))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await changed.wait()
        self._broker.set_listener(lambda: None)

    async def _deliver(self, push: Push) -> None:
        try:
            async with post(push) as status:
                logger.info("push to %s: %d", push.config.push_endpoint, status)
                self._broker.finish_push(push, acknowledged=status in ACKNOWLEDGING_STATUSES)
        except (OSError, ValueError, IndexError) as error:  # connection failed, timed out, or not HTTP
            logger.info("push to %s: %r", push.config.push_endpoint, error)
            self._broker.finish_push(push, acknowledged=False)
