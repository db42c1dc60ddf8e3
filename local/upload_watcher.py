"""Publishes the storage notifications of a bucket in an emulator that the stack has not started.

It polls the listing of the bucket. Of two uploads of one name between two polls it publishes the second only, and
it misses an object that is deleted before the next poll. The storage server that the stack starts publishes its
own notifications.
"""

import json
import logging
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode
from urllib.request import ProxyHandler, build_opener

from google.cloud import pubsub_v1

logger = logging.getLogger(__name__)

POLL_INTERVAL_S = 0.25
TIMEOUT_S = 10.0


class UploadWatcher:
    """Polls a bucket in a thread, and publishes OBJECT_FINALIZE of each generation that is new since the start."""

    def __init__(self, storage_url: str, bucket: str, publisher: pubsub_v1.PublisherClient, topic: str) -> None:
        self._storage_url = storage_url
        self._bucket = bucket
        self._publisher = publisher
        self._topic = topic
        self._opener = build_opener(ProxyHandler({}))
        self._generations: dict[str, str] = {}  # by object name
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="upload-watcher", daemon=True)

    def start(self) -> None:
        """List the objects that are there, and start polling."""
        self._generations = {item["name"]: str(item["generation"]) for item in self._listing()}
        self._thread.start()

    def stop(self) -> None:
        """Stop polling, and join the thread."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(TIMEOUT_S)

    def poll(self) -> None:
        """List the bucket once, and publish what is new."""
        listing = {item["name"]: item for item in self._listing()}
        for name, item in listing.items():
            generation = str(item["generation"])
            if self._generations.get(name) != generation:
                self._publish(item)
                self._generations[name] = generation
        for name in self._generations.keys() - listing.keys():
            del self._generations[name]

    def _watch(self) -> None:
        while not self._stopped.wait(POLL_INTERVAL_S):
            try:
                self.poll()
            except Exception as error:  # noqa: BLE001 - go on polling, however the emulator fails meanwhile
                logger.warning("cannot list gs://%s at %s: %r", self._bucket, self._storage_url, error)

    def _listing(self) -> Iterator[dict[str, Any]]:
        query: dict[str, str] = {}
        while True:
            url = f"{self._storage_url}/storage/v1/b/{quote(self._bucket, safe='')}/o?{urlencode(query)}"
            with self._opener.open(url, timeout=TIMEOUT_S) as response:
                page = json.load(response)
            yield from page.get("items", [])
            if not page.get("nextPageToken"):
                return
            query = {"pageToken": page["nextPageToken"]}

    def _publish(self, item: dict[str, Any]) -> None:
        self._publisher.publish(
            self._topic,
            json.dumps(item).encode(),
            eventType="OBJECT_FINALIZE",
            bucketId=self._bucket,
            objectId=item["name"],
            objectGeneration=str(item["generation"]),
            eventTime=item.get("timeCreated") or item["updated"],
            payloadFormat="JSON_API_V1",
        ).result(timeout=TIMEOUT_S)
