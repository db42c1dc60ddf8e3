"""The gRPC methods of google.pubsub.v1: each passes a request to the broker and returns its answer."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from typing import Any, NoReturn, TypeVar

import grpc
from google.pubsub_v1 import types

from pubsub_emulator import validation
from pubsub_emulator.backlog import Delivery
from pubsub_emulator.broker import Broker
from pubsub_emulator.errors import InvalidArgument, PubSubError
from pubsub_emulator.subscription import FlowControl

_PULL_TIMEOUT_S = 30.0
_STREAM_IDLE_TIMEOUT_S = 3600.0  # a stream without messages ends; clients then open another
_DEFAULT_PAGE_SIZE = 100

Item = TypeVar("Item")


def create_handlers(broker: Broker, readers: Executor) -> list[grpc.GenericRpcHandler]:
    """Return the handlers of the Publisher and Subscriber services; other methods are UNIMPLEMENTED.

    Args:
        broker: answers the requests.
        readers: runs one thread for each open streaming pull, which reads the client's requests.
    """
    publisher = {
        "CreateTopic": _unary(types.Topic, lambda topic, _: broker.create_topic(topic)),
        "GetTopic": _unary(types.GetTopicRequest, lambda request, _: broker.topic(request.topic)),
        "ListTopics": _unary(types.ListTopicsRequest, lambda request, _: list_topics(broker, request)),
        "ListTopicSubscriptions": _unary(
            types.ListTopicSubscriptionsRequest, lambda request, _: list_topic_subscriptions(broker, request)
        ),
        "DeleteTopic": _unary(types.DeleteTopicRequest, lambda request, _: broker.delete_topic(request.topic)),
        "Publish": _unary(types.PublishRequest, lambda request, _: publish(broker, request)),
    }
    subscriber = {
        "CreateSubscription": _unary(types.Subscription, lambda config, _: broker.create_subscription(config)),
        "GetSubscription": _unary(
            types.GetSubscriptionRequest, lambda request, _: broker.subscription(request.subscription)
        ),
        "ListSubscriptions": _unary(
            types.ListSubscriptionsRequest, lambda request, _: list_subscriptions(broker, request)
        ),
        "UpdateSubscription": _unary(
            types.UpdateSubscriptionRequest,
            lambda request, _: broker.update_subscription(request.subscription, request.update_mask),
        ),
        "DeleteSubscription": _unary(
            types.DeleteSubscriptionRequest, lambda request, _: broker.delete_subscription(request.subscription)
        ),
        "ModifyPushConfig": _unary(
            types.ModifyPushConfigRequest,
            lambda request, _: broker.modify_push_config(request.subscription, request.push_config),
        ),
        "Acknowledge": _unary(types.AcknowledgeRequest, lambda request, _: acknowledge(broker, request)),
        "ModifyAckDeadline": _unary(
            types.ModifyAckDeadlineRequest, lambda request, _: modify_ack_deadline(broker, request)
        ),
        "Pull": _unary(types.PullRequest, lambda request, context: pull(broker, request, context)),
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
    """Serve Publish."""
    return types.PublishResponse(message_ids=broker.publish(request.topic, request.messages))


def acknowledge(broker: Broker, request: types.AcknowledgeRequest) -> None:
    """Serve Acknowledge."""
    if not request.ack_ids:
        raise InvalidArgument("ack_ids is empty, expected at least one ack id")
    broker.acknowledge(request.subscription, request.ack_ids)


def modify_ack_deadline(broker: Broker, request: types.ModifyAckDeadlineRequest) -> None:
    """Serve ModifyAckDeadline."""
    if not request.ack_ids:
        raise InvalidArgument("ack_ids is empty, expected at least one ack id")
    seconds = request.ack_deadline_seconds
    broker.extend(request.subscription, [(ack_id, seconds) for ack_id in request.ack_ids])


def pull(broker: Broker, request: types.PullRequest, context: grpc.ServicerContext) -> types.PullResponse:
    """Serve Pull."""
    if request.max_messages < 1:
        raise InvalidArgument(f"max_messages is {request.max_messages}, expected 1 or more")
    context.add_callback(broker.notify)
    deliveries = broker.pull(
        request.subscription,
        FlowControl(request.max_messages, validation.MAX_REQUEST_BYTES),
        timeout_s=0.0 if request.return_immediately else _PULL_TIMEOUT_S,
        is_active=context.is_active,
    )
    return types.PullResponse(received_messages=_received_messages(deliveries))


def streaming_pull(
    broker: Broker,
    readers: Executor,
    requests: Iterator[types.StreamingPullRequest],
    context: grpc.ServicerContext,
) -> Iterator[types.StreamingPullResponse]:
    """Serve StreamingPull: yield messages, while another thread reads the client's requests."""
    context.add_callback(broker.notify)
    try:
        stream = StreamState(broker, next(requests))
        readers.submit(stream.read_requests, requests)
        while deliveries := broker.pull(
            stream.subscription,
            stream.flow_control,
            timeout_s=_STREAM_IDLE_TIMEOUT_S,
            is_active=lambda: context.is_active() and not stream.ended,
            ack_deadline_s=stream.ack_deadline_s,
        ):
            yield types.StreamingPullResponse(received_messages=_received_messages(deliveries))
        if stream.error is not None:
            raise stream.error
    except PubSubError as error:
        _abort(context, error)


class StreamState:
    """One open streaming pull: its flow control, and the effect of the client's requests."""

    def __init__(self, broker: Broker, first: types.StreamingPullRequest) -> None:
        self._broker = broker
        self.subscription = first.subscription
        self.flow_control = FlowControl(
            first.max_outstanding_messages if first.max_outstanding_messages > 0 else sys.maxsize,
            first.max_outstanding_bytes if first.max_outstanding_bytes > 0 else sys.maxsize,
        )
        self.ack_deadline_s = first.stream_ack_deadline_seconds
        self.ended = False
        self.error: PubSubError | None = None
        validation.ensure_ack_deadline(self.ack_deadline_s, minimum=validation.MIN_ACK_DEADLINE_S)
        self._apply(first)

    def read_requests(self, requests: Iterator[types.StreamingPullRequest]) -> None:
        """Apply the client's requests until it ends the stream or sends an invalid one."""
        try:
            for request in requests:
                self._apply(request)
        except PubSubError as error:
            self.error = error
        finally:
            self.ended = True
            self._broker.notify()

    def _apply(self, request: types.StreamingPullRequest) -> None:
        if request.stream_ack_deadline_seconds:
            validation.ensure_ack_deadline(
                request.stream_ack_deadline_seconds, minimum=validation.MIN_ACK_DEADLINE_S
            )
            self.ack_deadline_s = request.stream_ack_deadline_seconds
        if len(request.modify_deadline_ack_ids) != len(request.modify_deadline_seconds):
            raise InvalidArgument(
                f"modify_deadline_ack_ids has {len(request.modify_deadline_ack_ids)} items, but "
                f"modify_deadline_seconds has {len(request.modify_deadline_seconds)}: expected the same number"
            )
        if request.ack_ids:
            self._broker.acknowledge(self.subscription, request.ack_ids)
        if request.modify_deadline_ack_ids:
            deadlines = zip(request.modify_deadline_ack_ids, request.modify_deadline_seconds, strict=True)
            self._broker.extend(self.subscription, deadlines)


def list_topics(broker: Broker, request: types.ListTopicsRequest) -> types.ListTopicsResponse:
    """Serve ListTopics."""
    topics, token = _page(broker.topics(request.project), request.page_size, request.page_token)
    return types.ListTopicsResponse(topics=topics, next_page_token=token)


def list_topic_subscriptions(
    broker: Broker, request: types.ListTopicSubscriptionsRequest
) -> types.ListTopicSubscriptionsResponse:
    """Serve ListTopicSubscriptions."""
    names, token = _page(broker.subscription_names_of(request.topic), request.page_size, request.page_token)
    return types.ListTopicSubscriptionsResponse(subscriptions=names, next_page_token=token)


def list_subscriptions(broker: Broker, request: types.ListSubscriptionsRequest) -> types.ListSubscriptionsResponse:
    """Serve ListSubscriptions."""
    configs, token = _page(broker.subscriptions(request.project), request.page_size, request.page_token)
    return types.ListSubscriptionsResponse(subscriptions=configs, next_page_token=token)


def _page(items: Sequence[Item], size: int, token: str) -> tuple[Sequence[Item], str]:
    """Return one page of items and the token of the next page, which is the index of its first item."""
    if size < 0:
        raise InvalidArgument(f"page_size is {size}, expected 0 or more")
    if token and not token.isdecimal():
        raise InvalidArgument(f"Invalid page_token: {token[:100]!r}, expected the next_page_token of a response")
    begin = int(token or 0)
    end = begin + (size or _DEFAULT_PAGE_SIZE)
    return items[begin:end], str(end) if end < len(items) else ""


def _received_messages(deliveries: Sequence[Delivery]) -> list[types.ReceivedMessage]:
    return [
        types.ReceivedMessage(
            ack_id=delivery.ack_id,
            delivery_attempt=delivery.attempt,
            message=types.PubsubMessage(
                data=delivery.message.data,
                attributes=delivery.message.attributes,
                message_id=delivery.message.message_id,
                publish_time=delivery.message.publish_time,
                ordering_key=delivery.message.ordering_key,
            ),
        )
        for delivery in deliveries
    ]


def _unary(request_type: Any, method: Callable[[Any, grpc.ServicerContext], Any]) -> grpc.RpcMethodHandler:
    def serve(request: object, context: grpc.ServicerContext) -> object:
        try:
            return method(request, context)
        except PubSubError as error:
            _abort(context, error)

    return grpc.unary_unary_rpc_method_handler(serve, request_type.deserialize, _serialize)


def _serialize(response: Any) -> bytes:
    return b"" if response is None else type(response).serialize(response)


def _abort(context: grpc.ServicerContext, error: PubSubError) -> NoReturn:
    context.abort(grpc.StatusCode[error.status], str(error))
    raise AssertionError("abort raises") from error
