"""The methods of google.pubsub.v1.Publisher and Subscriber: requests in, the broker's answers out."""

from __future__ import annotations

import re
import sys
from math import inf
from typing import TYPE_CHECKING, Any

import grpc
from google.api_core.exceptions import GoogleAPICallError, InvalidArgument
from google.protobuf.empty_pb2 import Empty
from google.pubsub_v1 import types

from local.pubsub import rules
from local.pubsub.broker import Room, counts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Executor

    from local.pubsub.backlog import Delivery
    from local.pubsub.broker import Broker

_PULL_WAIT_S = 30.0
_STREAM_WAIT_S = 3600.0
_REQUESTS = {
    "Publisher": {
        "CreateTopic": "Topic",
        "GetTopic": "GetTopicRequest",
        "ListTopics": "ListTopicsRequest",
        "ListTopicSubscriptions": "ListTopicSubscriptionsRequest",
        "DeleteTopic": "DeleteTopicRequest",
        "Publish": "PublishRequest",
    },
    "Subscriber": {
        "CreateSubscription": "Subscription",
        "GetSubscription": "GetSubscriptionRequest",
        "ListSubscriptions": "ListSubscriptionsRequest",
        "UpdateSubscription": "UpdateSubscriptionRequest",
        "DeleteSubscription": "DeleteSubscriptionRequest",
        "ModifyPushConfig": "ModifyPushConfigRequest",
        "Pull": "PullRequest",
        "Acknowledge": "AcknowledgeRequest",
        "ModifyAckDeadline": "ModifyAckDeadlineRequest",
    },
}


def handlers(broker: Broker, readers: Executor) -> list[Any]:
    """One generic handler for each service; what is not named here is UNIMPLEMENTED."""
    methods = Methods(broker, readers)
    services: dict[str, dict[str, Any]] = {
        service: {
            name: _unary(getattr(methods, _snake(name)), _pb(request)) for name, request in requests.items()
        }
        for service, requests in _REQUESTS.items()
    }
    services["Subscriber"]["StreamingPull"] = _streaming(methods.streaming_pull, _pb("StreamingPullRequest"))
    return [
        grpc.method_handlers_generic_handler(f"google.pubsub.v1.{service}", named)
        for service, named in services.items()
    ]


class Methods:
    def __init__(self, broker: Broker, readers: Executor) -> None:
        self._broker = broker
        self._readers = readers

    def create_topic(self, topic: Any, _: Any) -> Any:
        return self._broker.create_topic(topic)

    def get_topic(self, request: Any, _: Any) -> Any:
        return self._broker.topic(request.topic)

    def list_topics(self, request: Any, _: Any) -> Any:
        topics, token = _page(self._broker.topics(request.project), request)
        return _pb("ListTopicsResponse")(topics=topics, next_page_token=token)

    def list_topic_subscriptions(self, request: Any, _: Any) -> Any:
        found, token = _page(self._broker.subscriptions_of(request.topic), request)
        names = [subscription.name for subscription in found]
        return _pb("ListTopicSubscriptionsResponse")(subscriptions=names, next_page_token=token)

    def delete_topic(self, request: Any, _: Any) -> Any:
        self._broker.delete_topic(request.topic)
        return Empty()

    def publish(self, request: Any, _: Any) -> Any:
        return _pb("PublishResponse")(message_ids=self._broker.publish(request.topic, request.messages))

    def create_subscription(self, config: Any, _: Any) -> Any:
        return self._broker.create_subscription(config)

    def get_subscription(self, request: Any, _: Any) -> Any:
        return self._broker.subscription(request.subscription)

    def list_subscriptions(self, request: Any, _: Any) -> Any:
        found, token = _page(self._broker.subscriptions(request.project), request)
        return _pb("ListSubscriptionsResponse")(subscriptions=found, next_page_token=token)

    def update_subscription(self, request: Any, _: Any) -> Any:
        return self._broker.update_subscription(request.subscription, request.update_mask)

    def delete_subscription(self, request: Any, _: Any) -> Any:
        self._broker.delete_subscription(request.subscription)
        return Empty()

    def modify_push_config(self, request: Any, _: Any) -> Any:
        self._broker.modify_push(request.subscription, request.push_config)
        return Empty()

    def pull(self, request: Any, context: Any) -> Any:
        if request.max_messages < 1:
            raise InvalidArgument("max_messages is 1 or more")
        context.add_callback(self._broker.wake)
        deliveries = self._broker.receive(
            request.subscription,
            Room(request.max_messages, rules.MAX_REQUEST_BYTES),
            wait_s=0.0 if request.return_immediately else _PULL_WAIT_S,
            alive=context.is_active,
        )
        counted = counts(self._broker.subscription(request.subscription))
        return _pb("PullResponse")(received_messages=_received(deliveries, counted=counted))

    def acknowledge(self, request: Any, _: Any) -> Any:
        if not request.ack_ids:
            raise InvalidArgument("No ack ids specified")
        self._broker.acknowledge(request.subscription, request.ack_ids)
        return Empty()

    def modify_ack_deadline(self, request: Any, _: Any) -> Any:
        if not request.ack_ids:
            raise InvalidArgument("No ack ids specified")
        seconds = request.ack_deadline_seconds
        self._broker.extend(request.subscription, [(ack_id, seconds) for ack_id in request.ack_ids])
        return Empty()

    def streaming_pull(self, requests: Iterator[Any], context: Any) -> Iterator[Any]:
        first = next(requests)
        stream = _Stream(self._broker, first)
        context.add_callback(self._broker.wake)
        self._readers.submit(stream.read, requests)
        while context.is_active() and not stream.ended:
            config = self._broker.subscription(stream.name)
            deliveries = self._broker.receive(
                stream.name,
                stream.room,
                wait_s=_STREAM_WAIT_S,
                alive=lambda: context.is_active() and not stream.ended,
                deadline_s=stream.deadline_s,
            )
            if deliveries:
                yield _pb("StreamingPullResponse")(
                    received_messages=_received(deliveries, counted=counts(config))
                )
        if stream.error is not None:
            raise stream.error


class _Stream:
    """One open StreamingPull: its flow control, and what the client says on it."""

    def __init__(self, broker: Broker, first: Any) -> None:
        self._broker = broker
        self.name = first.subscription
        self.room = Room(first.max_outstanding_messages or sys.maxsize, first.max_outstanding_bytes or inf)
        self.deadline_s: float = 0
        self.ended = False
        self.error: GoogleAPICallError | None = None
        rules.check_deadline(first.stream_ack_deadline_seconds, least=10)
        self._apply(first)

    def read(self, requests: Iterator[Any]) -> None:
        """Apply what comes, until the client ends the stream or says something wrong."""
        try:
            for request in requests:
                self._apply(request)
        except GoogleAPICallError as error:
            self.error = error
        finally:
            self.ended = True
            self._broker.wake()

    def _apply(self, request: Any) -> None:
        if request.stream_ack_deadline_seconds:
            rules.check_deadline(request.stream_ack_deadline_seconds, least=10)
            self.deadline_s = request.stream_ack_deadline_seconds
        if len(request.modify_deadline_ack_ids) != len(request.modify_deadline_seconds):
            raise InvalidArgument("modify_deadline_ack_ids and modify_deadline_seconds differ in length")
        if request.ack_ids:
            self._broker.acknowledge(self.name, request.ack_ids)
        if request.modify_deadline_ack_ids:
            pairs = zip(request.modify_deadline_ack_ids, request.modify_deadline_seconds, strict=True)
            self._broker.extend(self.name, pairs)


def _received(deliveries: Sequence[Delivery], *, counted: bool) -> list[Any]:
    return [
        _pb("ReceivedMessage")(
            ack_id=delivery.ack_id,
            delivery_attempt=delivery.attempt if counted else 0,
            message=_pb("PubsubMessage")(
                data=delivery.message.data,
                attributes=delivery.message.attributes,
                message_id=delivery.message.message_id,
                publish_time=delivery.message.published,
                ordering_key=delivery.message.ordering_key,
            ),
        )
        for delivery in deliveries
    ]


def _page(found: list[Any], request: Any) -> tuple[list[Any], str]:
    """The part of the list that was asked for, and the token of the next; a token is a number of things seen."""
    if not request.page_token.isdigit() and request.page_token:
        raise InvalidArgument(f"Invalid page_token: {request.page_token}")
    begin = int(request.page_token or 0)
    end = begin + (request.page_size or len(found))
    return found[begin:end], str(end) if end < len(found) else ""


def _unary(method: Callable[[Any, Any], Any], request: Any) -> Any:
    def answer(message: Any, context: Any) -> Any:
        try:
            return method(message, context)
        except GoogleAPICallError as error:
            context.abort(error.grpc_status_code, error.message)

    return grpc.unary_unary_rpc_method_handler(answer, request.FromString, _serialized)


def _streaming(method: Callable[[Any, Any], Iterator[Any]], request: Any) -> Any:
    def answer(messages: Iterator[Any], context: Any) -> Iterator[Any]:
        try:
            yield from method(messages, context)
        except GoogleAPICallError as error:
            context.abort(error.grpc_status_code, error.message)

    return grpc.stream_stream_rpc_method_handler(answer, request.FromString, _serialized)


def _serialized(message: Any) -> bytes:
    return bytes(message.SerializeToString())


def _pb(name: str) -> Any:
    """The protobuf class behind one of the client library's types."""
    return getattr(types, name).pb()


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
