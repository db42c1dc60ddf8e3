"""What Pub/Sub accepts: names, limits, and how the settings of a subscription become a policy. Pure.

What this server would have to ignore is refused instead. Accepted without effect are labels, retention,
expiration and the OIDC token of a push: nothing outlives the process, and a push carries no Authorization header.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from google.pubsub_v1 import types

from pubsub_emulator import filter as filters
from pubsub_emulator.backlog import Policy
from pubsub_emulator.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_REQUEST_BYTES = 10_000_000
_NAME = r"projects/[^/]+/{}/(?!goog)[A-Za-z][\w.~+%-]{{2,254}}"
_REFUSED_OF_TOPICS = ("schema_settings", "ingestion_data_source_settings", "message_transforms")
_REFUSED = (
    "bigquery_config",
    "cloud_storage_config",
    "bigtable_config",
    "message_transforms",
    "enable_exactly_once_delivery",
    "detached",
)
_LONGEST_BACKOFF = timedelta(seconds=600)
_DEFAULT_BACKOFF = (timedelta(seconds=10), _LONGEST_BACKOFF)
_PUSH_BACKOFF_S = (0.1, 60.0)  # Pub/Sub slows down an endpoint that fails, even without a retry policy


def check_name(collection: str, name: str) -> None:
    """`collection` is topics or subscriptions."""
    if not re.fullmatch(_NAME.format(collection), name, re.ASCII):
        raise InvalidArgument(f"Invalid [{collection}] name: (name={name})")


def check_topic(topic: types.Topic) -> None:
    check_name("topics", topic.name)
    _refuse(topic, _REFUSED_OF_TOPICS)


def check_messages(messages: Sequence[types.PubsubMessage]) -> None:
    """`messages` are those of one request."""
    if not 1 <= len(messages) <= 1000:
        raise InvalidArgument(f"A request publishes 1 to 1000 messages, not {len(messages)}")
    if sum(types.PubsubMessage.pb(message).ByteSize() for message in messages) > MAX_REQUEST_BYTES:
        raise InvalidArgument(f"The request is larger than {MAX_REQUEST_BYTES} bytes")
    for message in messages:
        if not message.data and not message.attributes:
            raise InvalidArgument("Some messages are empty")
        if len(message.attributes) > 100:
            raise InvalidArgument("A message has more than 100 attributes")
        for key, value in message.attributes.items():
            if not 1 <= len(key.encode()) <= 256 or key.startswith("goog") or len(value.encode()) > 1024:
                raise InvalidArgument(f"An attribute has an invalid key or value (key={key[:256]})")
        if len(message.ordering_key.encode()) > 1024:
            raise InvalidArgument("An ordering key is longer than 1024 bytes")


def check_deadline(seconds: int, *, least: int = 0) -> None:
    if not least <= seconds <= 600:
        raise InvalidArgument(f"An ack deadline is {least} to 600 seconds, not {seconds}")


def check_push(push: types.PushConfig) -> None:
    if push.push_endpoint and not _is_http(push.push_endpoint):
        raise InvalidArgument(f"Unsupported push_endpoint: {push.push_endpoint}")
    if push.attributes.get("x-goog-version", "v1") not in {"v1", "v1beta2"}:
        raise InvalidArgument(f"Unsupported x-goog-version: {push.attributes['x-goog-version']}")


def complete(settings: types.Subscription) -> types.Subscription:
    """A checked copy with the defaults filled in."""
    config = types.Subscription(settings)
    check_name("subscriptions", config.name)
    _refuse(config, _REFUSED)
    config.ack_deadline_seconds = config.ack_deadline_seconds or 10
    check_deadline(config.ack_deadline_seconds, least=10)
    if "message_retention_duration" not in config:
        config.message_retention_duration = timedelta(days=7)
    if "dead_letter_policy" in config:
        attempts = config.dead_letter_policy.max_delivery_attempts or 5
        if not 5 <= attempts <= 100:
            raise InvalidArgument(f"max_delivery_attempts is 5 to 100, not {attempts}")
        config.dead_letter_policy.max_delivery_attempts = attempts
    if "retry_policy" in config:
        _complete_backoff(config.retry_policy)
    check_push(config.push_config)
    filters.predicate(config.filter)
    config.state = types.Subscription.State(types.Subscription.State.ACTIVE)
    return config


def policy(config: types.Subscription) -> Policy:
    """The policy of a complete configuration."""
    shortest_s = longest_s = 0.0
    if "retry_policy" in config:
        shortest_s = config.retry_policy.minimum_backoff.total_seconds()
        longest_s = config.retry_policy.maximum_backoff.total_seconds()
    if config.push_config.push_endpoint:
        shortest_s = max(shortest_s, _PUSH_BACKOFF_S[0])
        longest_s = max(longest_s or _PUSH_BACKOFF_S[1], shortest_s)
    return Policy(
        ack_deadline_s=config.ack_deadline_seconds,
        minimum_backoff_s=shortest_s,
        maximum_backoff_s=longest_s,
        max_attempts=config.dead_letter_policy.max_delivery_attempts,
        ordered=config.enable_message_ordering,
    )


def _is_http(text: str) -> bool:
    try:
        url = urlsplit(text)
        return url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0
    except ValueError:  # a port or an IPv6 address that is none
        return False


def _complete_backoff(retry: types.RetryPolicy) -> None:
    for name, default in zip(("minimum_backoff", "maximum_backoff"), _DEFAULT_BACKOFF, strict=True):
        if name not in retry:
            setattr(retry, name, default)
        if not timedelta() <= getattr(retry, name) <= _LONGEST_BACKOFF:
            raise InvalidArgument(f"{name} is 0 to 600 seconds, not {getattr(retry, name).total_seconds():g}")
    if retry.minimum_backoff > retry.maximum_backoff:
        raise InvalidArgument("minimum_backoff is longer than maximum_backoff")


def _refuse(config: types.Topic | types.Subscription, names: Sequence[str]) -> None:
    for name in names:
        if name in config:
            raise InvalidArgument(f"{name} is not supported by this server")
