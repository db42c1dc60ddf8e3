"""An in-process emulator of Google Cloud Pub/Sub for the unmodified client libraries."""

from pubsub_emulator.server import PubSubServer

__all__ = ["PubSubServer"]
