"""Google's client libraries, connected to the emulators of one stack regardless of environment variables."""

import time

import grpc
import requests
from google.api_core.exceptions import DeadlineExceeded
from google.auth.credentials import AnonymousCredentials
from google.cloud import pubsub_v1, storage
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

MAX_MESSAGE_BYTES = 32 * 1024 * 1024


def with_scheme(host: str) -> str:
    """Return a value of STORAGE_EMULATOR_HOST with a scheme, which it may lack and the Python client needs."""
    host = host.rstrip("/")
    return host if not host or "://" in host else f"http://{host}"


def storage_client(url: str, project: str) -> storage.Client:
    """Return a Cloud Storage client for the emulator at a URL."""
    credentials = AnonymousCredentials()  # type: ignore[no-untyped-call] # google.auth is typed in part
    session = requests.Session()
    session.trust_env = False  # the environment's proxy is not for this machine
    return storage.Client(
        project=project, credentials=credentials, client_options={"api_endpoint": url}, _http=session
    )


def publisher_client(host_port: str) -> pubsub_v1.PublisherClient:
    """Return a Pub/Sub publisher for the emulator at HOST:PORT."""
    return pubsub_v1.PublisherClient(transport=PublisherGrpcTransport(channel=_channel(host_port)))


def subscriber_client(host_port: str) -> pubsub_v1.SubscriberClient:
    """Return a Pub/Sub subscriber for the emulator at HOST:PORT."""
    return pubsub_v1.SubscriberClient(transport=SubscriberGrpcTransport(channel=_channel(host_port)))


def read(
    subscriber: pubsub_v1.SubscriberClient, subscription: str, *, count: int, timeout_s: float
) -> list[pubsub_v1.types.PubsubMessage]:
    """Pull and acknowledge `count` messages, or fewer if the time is over."""
    deadline = time.monotonic() + timeout_s
    messages: list[pubsub_v1.types.PubsubMessage] = []
    while len(messages) < count and (remaining_s := deadline - time.monotonic()) > 0:
        try:
            response = subscriber.pull(
                subscription=subscription, max_messages=count - len(messages), timeout=remaining_s, retry=None
            )
        except DeadlineExceeded:
            break
        if response.received_messages:
            subscriber.acknowledge(
                subscription=subscription, ack_ids=[received.ack_id for received in response.received_messages]
            )
        messages += [received.message for received in response.received_messages]
    return messages


def _channel(host_port: str) -> grpc.Channel:
    options = [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.enable_http_proxy", 0),  # the environment's proxy is not for this machine
    ]
    return grpc.insecure_channel(host_port, options=options)
