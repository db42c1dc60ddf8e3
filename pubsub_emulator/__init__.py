"""Pub/Sub on one machine, for the stock clients: publish, pull, push, redelivery, dead letters."""

from pubsub_emulator.server import PubSubServer

__all__ = ["PubSubServer"]
