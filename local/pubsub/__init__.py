"""Pub/Sub on one machine, for the stock clients: publish, pull, push, redelivery, dead letters."""

from local.pubsub.server import PubSubServer

__all__ = ["PubSubServer"]
