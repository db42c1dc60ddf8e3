"""Validation of topics, messages and subscription settings, and the delivery policy of a subscription.

Settings that the emulator would have to ignore are rejected with InvalidArgument. Labels, retention, expiration
and the OIDC token of a push are accepted without effect: nothing outlives the process, and a push carries no
Authorization header.

Limits: https://cloud.google.com/pubsub/quotas#resource_limits
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from urllib.parse import urlsplit

from google.pubsub_v1 import types

from pubsub_emulator import filter as filters
from pubsub_emulator.backlog import DeliveryPolicy
from pubsub_emulator.errors import InvalidArgument

MAX_REQUEST_BYTES = 10_000_000
MAX_REQUEST_MESSAGES = 1000
MAX_ATTRIBUTES = 100
MAX_ATTRIBUTE_KEY_BYTES = 256
MAX_ATTRIBUTE_VALUE_BYTES = 1024
MAX_ORDERING_KEY_BYTES = 1024
MIN_ACK_DEADLINE_S = 10
MAX_ACK_DEADLINE_S = 600
MIN_DELIVERY_ATTEMPTS = 5
MAX_DELIVERY_ATTEMPTS = 100
MAX_BACKOFF = timedelta(seconds=600)
DEFAULT_BACKOFFS = (timedelta(seconds=10), MAX_BACKOFF)  # minimum and maximum of a retry policy
DEFAULT_RETENTION = timedelta(days=7)
# Pub/Sub slows down an endpoint that fails, even without a retry policy.
DEFAULT_MIN_PUSH_BACKOFF_S = 0.1
DEFAULT_MAX_PUSH_BACKOFF_S = 60.0
_NAME_PATTERN = r"projects/[^/]+/{}/(?!goog)[A-Za-z][\w.~+%-]{{2,254}}"
_UNSUPPORTED_TOPIC_FIELDS = ("schema_settings", "ingestion_data_source_settings", "message_transforms")
_UNSUPPORTED_SUBSCRIPTION_FIELDS = (
    "bigquery_config",
    "cloud_storage_config",
    "bigtable_config",
    "message_transforms",
    "enable_exactly_once_delivery",
    "detached",
)


def ensure_name(collection: str, name: str) -> None:
    """Ensure that `name` is `projects/P/{collection}/ID`; the collection is topics or subscriptions."""
    if not re.fullmatch(_NAME_PATTERN.format(collection), name, re.ASCII):
        raise InvalidArgument(
            f"Invalid [{collection}] name: name={name[:300]!r}, expected projects/PROJECT/{collection}/ID, "
            "with an ID of 3 to 255 characters that begins with a letter, but not with goog"
        )


def ensure_topic(topic: types.Topic) -> None:
    """Ensure that the topic has a valid name and only supported settings."""
    ensure_name("topics", topic.name)
    _reject_unsupported(topic, _UNSUPPORTED_TOPIC_FIELDS)


def ensure_messages(messages: Sequence[types.PubsubMessage]) -> None:
    """Ensure that the messages of one publish request keep Pub/Sub's limits."""
    if not 1 <= len(messages) <= MAX_REQUEST_MESSAGES:
        raise InvalidArgument(f"The request has {len(messages)} messages, expected 1 to {MAX_REQUEST_MESSAGES}")
    size = sum(types.PubsubMessage.pb(message).ByteSize() for message in messages)
    if size > MAX_REQUEST_BYTES:
        raise InvalidArgument(f"The request has {size} bytes, expected at most {MAX_REQUEST_BYTES}")
    for message in messages:
        _ensure_message(message)


def _ensure_message(message: types.PubsubMessage) -> None:
    if not message.data and not message.attributes:
        raise InvalidArgument("A message is empty, expected data or attributes")
    if len(message.attributes) > MAX_ATTRIBUTES:
        raise InvalidArgument(
            f"A message has {len(message.attributes)} attributes, expected at most {MAX_ATTRIBUTES}"
        )
    for key, value in message.attributes.items():
        if not 1 <= len(key.encode()) <= MAX_ATTRIBUTE_KEY_BYTES or key.startswith("goog"):
            raise InvalidArgument(
                f"The attribute key {key[:MAX_ATTRIBUTE_KEY_BYTES]!r} is invalid: expected 1 to "
                f"{MAX_ATTRIBUTE_KEY_BYTES} bytes that do not begin with goog"
            )
        if len(value.encode()) > MAX_ATTRIBUTE_VALUE_BYTES:
            raise InvalidArgument(f"The attribute {key!r} is longer than {MAX_ATTRIBUTE_VALUE_BYTES} bytes")
    if len(message.ordering_key.encode()) > MAX_ORDERING_KEY_BYTES:
        raise InvalidArgument(f"An ordering key is longer than {MAX_ORDERING_KEY_BYTES} bytes")


def ensure_ack_deadline(seconds: int, *, minimum: int = 0) -> None:
    """Ensure that an ack deadline is in the range that Pub/Sub accepts."""
    if not minimum <= seconds <= MAX_ACK_DEADLINE_S:
        raise InvalidArgument(f"The ack deadline is {seconds} s, expected {minimum} to {MAX_ACK_DEADLINE_S} s")


def ensure_push_config(push: types.PushConfig) -> None:
    """Ensure that the endpoint, if any, is an HTTP URL, and that the format of a push is supported."""
    if push.push_endpoint and not _is_http_url(push.push_endpoint):
        raise InvalidArgument(
            f"Invalid push_endpoint: {push.push_endpoint[:300]!r}, expected an HTTP or HTTPS URL"
        )
    version = push.attributes.get("x-goog-version", "v1")
    if version not in {"v1", "v1beta2"}:
        raise InvalidArgument(f"Unsupported x-goog-version: {version[:100]!r}, expected v1 or v1beta2")


def with_defaults(settings: types.Subscription) -> types.Subscription:
    """Return a validated copy of a subscription's settings in which the defaults are filled in."""
    config = types.Subscription(settings)
    ensure_name("subscriptions", config.name)
    _reject_unsupported(config, _UNSUPPORTED_SUBSCRIPTION_FIELDS)
    config.ack_deadline_seconds = config.ack_deadline_seconds or MIN_ACK_DEADLINE_S
    ensure_ack_deadline(config.ack_deadline_seconds, minimum=MIN_ACK_DEADLINE_S)
    if "message_retention_duration" not in config:
        config.message_retention_duration = DEFAULT_RETENTION
    if "dead_letter_policy" in config:
        attempts = config.dead_letter_policy.max_delivery_attempts or MIN_DELIVERY_ATTEMPTS
        if not MIN_DELIVERY_ATTEMPTS <= attempts <= MAX_DELIVERY_ATTEMPTS:
            raise InvalidArgument(
                f"max_delivery_attempts is {attempts}, expected {MIN_DELIVERY_ATTEMPTS} to {MAX_DELIVERY_ATTEMPTS}"
            )
        config.dead_letter_policy.max_delivery_attempts = attempts
    if "retry_policy" in config:
        _set_backoff_defaults(config.retry_policy)
    ensure_push_config(config.push_config)
    filters.parse_filter(config.filter)
    config.state = types.Subscription.State(types.Subscription.State.ACTIVE)
    return config


def delivery_policy(config: types.Subscription) -> DeliveryPolicy:
    """Return the delivery policy of settings that `with_defaults` returned."""
    minimum_s = maximum_s = 0.0
    if "retry_policy" in config:
        minimum_s = config.retry_policy.minimum_backoff.total_seconds()
        maximum_s = config.retry_policy.maximum_backoff.total_seconds()
    if config.push_config.push_endpoint:
        minimum_s = max(minimum_s, DEFAULT_MIN_PUSH_BACKOFF_S)
        maximum_s = max(maximum_s or DEFAULT_MAX_PUSH_BACKOFF_S, minimum_s)
    return DeliveryPolicy(
        ack_deadline_s=config.ack_deadline_seconds,
        minimum_backoff_s=minimum_s,
        maximum_backoff_s=maximum_s,
        max_attempts=config.dead_letter_policy.max_delivery_attempts,
        ordered=config.enable_message_ordering,
    )


def _is_http_url(text: str) -> bool:
    try:
        url = urlsplit(text)
        return url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0
    except ValueError:  # an invalid port or IPv6 address
        return False


def _set_backoff_defaults(retry: types.RetryPolicy) -> None:
    for name, default in zip(("minimum_backoff", "maximum_backoff"), DEFAULT_BACKOFFS, strict=True):
        if name not in retry:
            setattr(retry, name, default)
        backoff: timedelta = getattr(retry, name)
        if not timedelta() <= backoff <= MAX_BACKOFF:
            raise InvalidArgument(f"{name} is {backoff.total_seconds():g} s, expected 0 to 600 s")
    if retry.minimum_backoff > retry.maximum_backoff:
        raise InvalidArgument(
            f"minimum_backoff is {retry.minimum_backoff.total_seconds():g} s, expected at most maximum_backoff, "
            f"which is {retry.maximum_backoff.total_seconds():g} s"
        )


def _reject_unsupported(config: types.Topic | types.Subscription, fields: Sequence[str]) -> None:
    for name in fields:
        if name in config:
            raise InvalidArgument(f"{name} is not supported by this emulator")
