"""The methods of google.pubsub.v1 that are served: requests in, the broker's answers out."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import grpc
from google.pubsub_v1 import types

from pubsub_emulator import rules
from pubsub_emulator.errors import InvalidArgument, PubSubError
from pubsub_emulator.subscription import Room

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Executor

    from pubsub_emulator.backlog import Delivery
    from pubsub_emulator.broker import Broker

_PULL_WAIT_S = 30.0
_STREAM_WAIT_S = 3600.0

Item = TypeVar("Item")


def handlers(broker: Broker, readers: Executor) -> list[grpc.GenericRpcHandler]:
    """One for each service. A method that is not named here is UNIMPLEMENTED."""
    publisher = {
        "CreateTopic": _unary(types.Topic, lambda topic, _: broker.create_topic(topic)),
        "GetTopic": _unary(types.GetTopicRequest, lambda it, _: broker.topic(it.topic)),
        "ListTopics": _unary(types.ListTopicsRequest, lambda it, _: list_topics(broker, it)),
        "ListTopicSubscriptions": _unary(
            types.ListTopicSubscriptionsRequest, lambda it, _: list_topic_subscriptions(broker, it)
        ),
        "DeleteTopic": _unary(types.DeleteTopicRequest, lambda it, _: broker.delete_topic(it.topic)),
        "Publish": _unary(types.PublishRequest, lambda it, _: publish(broker, it)),
    }
    subscriber = {
        "CreateSubscription": _unary(types.Subscription, lambda config, _: broker.create_subscription(config)),
        "GetSubscription": _unary(
            types.GetSubscriptionRequest, lambda it, _: broker.subscription(it.subscription)
        ),
        "ListSubscriptions": _unary(types.ListSubscriptionsRequest, lambda it, _: list_subscriptions(broker, it)),
        "UpdateSubscription": _unary(
            types.UpdateSubscriptionRequest,
            lambda it, _: broker.update_subscription(it.subscription, it.update_mask),
        ),
        "DeleteSubscription": _unary(
            types.DeleteSubscriptionRequest, lambda it, _: broker.delete_subscription(it.subscription)
        ),
        "ModifyPushConfig": _unary(
            types.ModifyPushConfigRequest, lambda it, _: broker.modify_push(it.subscription, it.push_config)
        ),
        "Acknowledge": _unary(types.AcknowledgeRequest, lambda it, _: acknowledge(broker, it)),
        "ModifyAckDeadline": _unary(types.ModifyAckDeadlineRequest, lambda it, _: modify_ack_deadline(broker, it)),
        "Pull": _unary(types.PullRequest, lambda it, context: pull(broker, it, context)),
        "StreamingPull": grpc.stream_stream_rpc_method_handler(
            lambda requests, context: streaming_pull(broker, readers, requests, context),
            types.StreamingPullRequest.deserialize,
            types.StreamingPullResponse.serialize,
        ),
    }
    return [
        grpc.method_handlers_generic_handler("google.pubsub.v1.Publisher", publisher),
        grpc.method_handlers_generic_handler("google.pubsub.v1.Subscriber", subscriber),
    ]


def publish(broker: Broker, request: types.PublishRequest) -> types.PublishResponse:
    return types.PublishResponse(message_ids=broker.publish(request.topic, request.messages))


def acknowledge(broker: Broker, request: types.AcknowledgeRequest) -> None:
    if not request.ack_ids:
        raise InvalidArgument("No ack ids specified")
    broker.acknowledge(request.subscription, request.ack_ids)


def modify_ack_deadline(broker: Broker, request: types.ModifyAckDeadlineRequest) -> None:
    if not request.ack_ids:
        raise InvalidArgument("No ack ids specified")
    seconds = request.ack_deadline_seconds
    broker.extend(request.subscription, [(ack_id, seconds) for ack_id in request.ack_ids])


def pull(broker: Broker, request: types.PullRequest, context: grpc.ServicerContext) -> types.PullResponse:
    if request.max_messages < 1:
        raise InvalidArgument("max_messages is 1 or more")
    context.add_callback(broker.wake)
    deliveries = broker.receive(
        request.subscription,
        Room(request.max_messages, rules.MAX_REQUEST_BYTES),
        wait_s=0.0 if request.return_immediately else _PULL_WAIT_S,
        alive=context.is_active,
    )
    return types.PullResponse(received_messages=_received(deliveries))


def streaming_pull(
    broker: Broker,
    readers: Executor,
    requests: Iterator[types.StreamingPullRequest],
    context: grpc.ServicerContext,
) -> Iterator[types.StreamingPullResponse]:
    """Messages go out here; what the client says comes in on another thread."""
    context.add_callback(broker.wake)
    try:
        stream = Stream(broker, next(requests))
        readers.submit(stream.read, requests)
        while deliveries := broker.receive(
            stream.subscription,
            stream.room,
            wait_s=_STREAM_WAIT_S,
            alive=lambda: context.is_active() and not stream.ended,
            deadline_s=stream.deadline_s,
        ):
            yield types.StreamingPullResponse(received_messages=_received(deliveries))
        if stream.error is not None:
            raise stream.error
    except PubSubError as error:
        _abort(context, error)


class Stream:
    """One open StreamingPull: its flow control, and what the client says on it."""

    def __init__(self, broker: Broker, first: types.StreamingPullRequest) -> None:
        self._broker = broker
        self.subscription = first.subscription
        self.room = Room(
            first.max_outstanding_messages if first.max_outstanding_messages > 0 else sys.maxsize,
            first.max_outstanding_bytes if first.max_outstanding_bytes > 0 else sys.maxsize,
        )
        self.deadline_s = first.stream_ack_deadline_seconds
        self.ended = False
        self.error: PubSubError | None = None
        rules.check_deadline(self.deadline_s, least=10)
        self._apply(first)

    def read(self, requests: Iterator[types.StreamingPullRequest]) -> None:
        """Apply what comes, until the client ends the stream or says something wrong."""
        try:
            for request in requests:
                self._apply(request)
        except PubSubError as error:
            self.error = error
        finally:
            self.ended = True
            self._broker.wake()

    def _apply(self, request: types.StreamingPullRequest) -> None:
        if request.stream_ack_deadline_seconds:
            rules.check_deadline(request.stream_ack_deadline_seconds, least=10)
            self.deadline_s = request.stream_ack_deadline_seconds
        if len(request.modify_deadline_ack_ids) != len(request.modify_deadline_seconds):
            raise InvalidArgument("modify_deadline_ack_ids and modify_deadline_seconds differ in length")
        if request.ack_ids:
            self._broker.acknowledge(self.subscription, request.ack_ids)
        if request.modify_deadline_ack_ids:
            pairs = zip(request.modify_deadline_ack_ids, request.modify_deadline_seconds, strict=True)
            self._broker.extend(self.subscription, pairs)


def list_topics(broker: Broker, request: types.ListTopicsRequest) -> types.ListTopicsResponse:
    topics, token = _page(broker.topics(request.project), request.page_size, request.page_token)
    return types.ListTopicsResponse(topics=topics, next_page_token=token)


def list_topic_subscriptions(
    broker: Broker, request: types.ListTopicSubscriptionsRequest
) -> types.ListTopicSubscriptionsResponse:
    names, token = _page(broker.subscriptions_of(request.topic), request.page_size, request.page_token)
    return types.ListTopicSubscriptionsResponse(subscriptions=names, next_page_token=token)


def list_subscriptions(broker: Broker, request: types.ListSubscriptionsRequest) -> types.ListSubscriptionsResponse:
    configs, token = _page(broker.subscriptions(request.project), request.page_size, request.page_token)
    return types.ListSubscriptionsResponse(subscriptions=configs, next_page_token=token)


def _page(found: Sequence[Item], size: int, token: str) -> tuple[Sequence[Item], str]:
    """One page and the token of the next: how many were seen before it."""
    if size < 0 or (token and not token.isdecimal()):
        raise InvalidArgument(f"Invalid page_size or page_token: {size}, {token}")
    begin = int(token or 0)
    end = begin + (size or 100)
    return found[begin:end], str(end) if end < len(found) else ""


def _received(deliveries: Sequence[Delivery]) -> list[types.ReceivedMessage]:
    return [
        types.ReceivedMessage(
            ack_id=delivery.ack_id,
            delivery_attempt=delivery.attempt,
            message=types.PubsubMessage(
                data=delivery.message.data,
                attributes=delivery.message.attributes,
                message_id=delivery.message.message_id,
                publish_time=delivery.message.published,
                ordering_key=delivery.message.ordering_key,
            ),
        )
        for delivery in deliveries
    ]


def _unary(request_type: Any, method: Callable[[Any, grpc.ServicerContext], Any]) -> grpc.RpcMethodHandler:
    def answer(request: object, context: grpc.ServicerContext) -> object:
        try:
            return method(request, context)
        except PubSubError as error:
            _abort(context, error)

    return grpc.unary_unary_rpc_method_handler(answer, request_type.deserialize, _serialized)


def _serialized(response: Any) -> bytes:
    return b"" if response is None else type(response).serialize(response)


def _abort(context: grpc.ServicerContext, error: PubSubError) -> NoReturn:
    context.abort(grpc.StatusCode[error.status], str(error))
    raise AssertionError("abort raises") from error
