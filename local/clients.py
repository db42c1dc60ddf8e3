"""Stock clients for the emulators of one stack, whatever this process's environment says. None of our own."""

import time

import grpc
import requests
from google.api_core.exceptions import DeadlineExceeded
from google.auth.credentials import AnonymousCredentials
from google.cloud import pubsub_v1, storage
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

MAX_MESSAGE_BYTES = 32 * 1024 * 1024


def storage_client(url: str, project: str) -> storage.Client:
    nobody = AnonymousCredentials()  # type: ignore[no-untyped-call] # google.auth types some of itself
    session = requests.Session()
    session.trust_env = False  # no proxy of the environment stands between this machine and itself
    return storage.Client(project=project, credentials=nobody, client_options={"api_endpoint": url}, _http=session)


def publisher_client(host_port: str) -> pubsub_v1.PublisherClient:
    return pubsub_v1.PublisherClient(transport=PublisherGrpcTransport(channel=_channel(host_port)))


def subscriber_client(host_port: str) -> pubsub_v1.SubscriberClient:
    return pubsub_v1.SubscriberClient(transport=SubscriberGrpcTransport(channel=_channel(host_port)))


def read(
    subscriber: pubsub_v1.SubscriberClient, subscription: str, *, count: int, timeout_s: float
) -> list[pubsub_v1.types.PubsubMessage]:
    """Take and acknowledge `count` messages; fewer when the time is over."""
    deadline = time.monotonic() + timeout_s
    messages: list[pubsub_v1.types.PubsubMessage] = []
    while len(messages) < count and (left_s := deadline - time.monotonic()) > 0:
        try:
            answer = subscriber.pull(
                subscription=subscription, max_messages=count - len(messages), timeout=left_s, retry=None
            )
        except DeadlineExceeded:
            break
        if answer.received_messages:
            subscriber.acknowledge(
                subscription=subscription, ack_ids=[received.ack_id for received in answer.received_messages]
            )
        messages += [received.message for received in answer.received_messages]
    return messages


def _channel(host_port: str) -> grpc.Channel:
    options = [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.enable_http_proxy", 0),  # an emulator is on this machine
    ]
    return grpc.insecure_channel(host_port, options=options)
