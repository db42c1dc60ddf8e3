"""What Pub/Sub accepts: names, limits, and how a subscription's settings become a policy. Pure.

Everything that this server would have to ignore is refused instead, with INVALID_ARGUMENT. Accepted without effect
are labels, retention, expiration and the push's OIDC token: nothing is kept longer than the process, and a push
carries no Authorization header.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from google.api_core.exceptions import InvalidArgument
from google.pubsub_v1 import types

from local.pubsub import filter as filters
from local.pubsub.backlog import Policy

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_REQUEST_BYTES = 10_000_000
_NAME = r"projects/[^/]+/{}/(?!goog)[A-Za-z][\w.~+%-]{{2,254}}"
_UNSUPPORTED = (
    "bigquery_config", "cloud_storage_config", "bigtable_config", "message_transforms",
    "enable_exactly_once_delivery", "detached",
)  # fmt: skip
_UNSUPPORTED_OF_TOPIC = ("schema_settings", "ingestion_data_source_settings", "message_transforms")
_POLICY_BACKOFF_S = (10.0, 600.0)
_PUSH_BACKOFF_S = (0.1, 60.0)  # a push that failed is never repeated at once, whatever the policy


def check_name(kind: str, name: str) -> None:
    """`kind` is topics or subscriptions."""
    if not re.fullmatch(_NAME.format(kind), name, re.ASCII):
        raise InvalidArgument(f"Invalid [{kind}] name: (name={name})")


def check_topic(topic: Any) -> None:
    check_name("topics", topic.name)
    _refuse(topic, _UNSUPPORTED_OF_TOPIC)


def check_messages(messages: Sequence[Any]) -> None:
    """`messages` are those of one PublishRequest."""
    if not 1 <= len(messages) <= 1000:
        raise InvalidArgument(f"A request publishes 1 to 1000 messages, not {len(messages)}")
    if sum(message.ByteSize() for message in messages) > MAX_REQUEST_BYTES:
        raise InvalidArgument(f"The request is larger than {MAX_REQUEST_BYTES} bytes")
    for message in messages:
        if not message.data and not message.attributes:
            raise InvalidArgument("Some messages are empty")
        if len(message.attributes) > 100:
            raise InvalidArgument("A message has more than 100 attributes")
        for key, value in message.attributes.items():
            if not 1 <= len(key.encode()) <= 256 or key.startswith("goog") or len(value.encode()) > 1024:
                raise InvalidArgument(f"An attribute has an invalid key or value: {key[:256]!r}")
        if len(message.ordering_key.encode()) > 1024:
            raise InvalidArgument("An ordering key is longer than 1024 bytes")


def check_deadline(seconds: int, *, least: int = 0) -> None:
    if not least <= seconds <= 600:
        raise InvalidArgument(f"An ack deadline is {least} to 600 seconds, not {seconds}")


def complete(config: Any) -> None:
    """Check a subscription's settings and fill in the defaults, in place."""
    check_name("subscriptions", config.name)
    _refuse(config, _UNSUPPORTED)
    config.ack_deadline_seconds = config.ack_deadline_seconds or 10
    check_deadline(config.ack_deadline_seconds, least=10)
    if not config.HasField("message_retention_duration"):
        config.message_retention_duration.seconds = 7 * 24 * 3600
    if config.HasField("dead_letter_policy"):
        letters = config.dead_letter_policy
        letters.max_delivery_attempts = letters.max_delivery_attempts or 5
        if not 5 <= letters.max_delivery_attempts <= 100:
            raise InvalidArgument(f"max_delivery_attempts is 5 to 100, not {letters.max_delivery_attempts}")
    if config.HasField("retry_policy"):
        _complete_backoff(config.retry_policy)
    check_push(config.push_config)
    accepts(config)
    config.state = types.Subscription.State.ACTIVE


def check_push(push: Any) -> None:
    url = urlsplit(push.push_endpoint)
    if push.push_endpoint and (url.scheme not in {"http", "https"} or not url.hostname):
        raise InvalidArgument(f"Unsupported push_endpoint: {push.push_endpoint}")
    if push.attributes.get("x-goog-version", "v1") not in {"v1", "v1beta2"}:
        raise InvalidArgument(f"Unsupported x-goog-version: {push.attributes['x-goog-version']}")


def accepts(config: Any) -> filters.Predicate:
    try:
        return filters.predicate(config.filter)
    except filters.FilterError as error:
        raise InvalidArgument(f"Invalid filter: {error}") from error


def policy(config: Any) -> Policy:
    """The policy of a complete configuration."""
    least_s, most_s = 0.0, 0.0
    if config.HasField("retry_policy"):
        least_s = config.retry_policy.minimum_backoff.ToNanoseconds() / 1e9
        most_s = config.retry_policy.maximum_backoff.ToNanoseconds() / 1e9
    if config.push_config.push_endpoint:
        least_s, most_s = (
            max(least_s, _PUSH_BACKOFF_S[0]),
            max(most_s or _PUSH_BACKOFF_S[1], _PUSH_BACKOFF_S[0]),
        )
    return Policy(
        ack_deadline_s=config.ack_deadline_seconds,
        minimum_backoff_s=least_s,
        maximum_backoff_s=most_s,
        max_attempts=config.dead_letter_policy.max_delivery_attempts,
        ordered=config.enable_message_ordering,
    )


def _complete_backoff(retry: Any) -> None:
    for name, default in zip(("minimum_backoff", "maximum_backoff"), _POLICY_BACKOFF_S, strict=True):
        if not retry.HasField(name):
            getattr(retry, name).FromNanoseconds(int(default * 1e9))
        if not 0 <= getattr(retry, name).ToNanoseconds() <= 600e9:
            raise InvalidArgument(f"{name} is 0 to 600 seconds")
    if retry.minimum_backoff.ToNanoseconds() > retry.maximum_backoff.ToNanoseconds():
        raise InvalidArgument("minimum_backoff is longer than maximum_backoff")


def _refuse(config: Any, names: Sequence[str]) -> None:
    given = {descriptor.name for descriptor, _ in config.ListFields()}
    for name in names:
        if name in given:
            raise InvalidArgument(f"{name} is not supported here")
