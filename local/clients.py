"""Stock clients for the emulators of one stack, whatever this process's environment says. None of our own."""

import grpc
from google.auth.credentials import AnonymousCredentials
from google.cloud import pubsub_v1, storage
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

MAX_MESSAGE_BYTES = 32 * 1024 * 1024


def storage_client(url: str, project: str) -> storage.Client:
    return storage.Client(
        project=project, credentials=AnonymousCredentials(), client_options={"api_endpoint": url}
    )


def publisher_client(host_port: str) -> pubsub_v1.PublisherClient:
    return pubsub_v1.PublisherClient(transport=PublisherGrpcTransport(channel=_channel(host_port)))


def subscriber_client(host_port: str) -> pubsub_v1.SubscriberClient:
    return pubsub_v1.SubscriberClient(transport=SubscriberGrpcTransport(channel=_channel(host_port)))


def _channel(host_port: str) -> grpc.Channel:
    options = [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.enable_http_proxy", 0),  # an emulator is on this machine
    ]
    return grpc.insecure_channel(host_port, options=options)
