"""Publishes what a storage emulator that somebody else started does not: that an object was finalized.

It looks at the bucket's listing again and again, so of two uploads of one name between two looks it sees the
second only, and of an object deleted meanwhile nothing. The storage that the stack starts publishes its own.
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

LOOK_EVERY_S = 0.25
TIMEOUT_S = 10.0


class UploadWatcher:
    """What is in the bucket when it starts is not news."""

    def __init__(self, storage_url: str, bucket: str, publisher: pubsub_v1.PublisherClient, topic: str) -> None:
        self._storage_url = storage_url
        self._bucket = bucket
        self._publisher = publisher
        self._topic = topic
        self._opener = build_opener(ProxyHandler({}))
        self._seen: dict[str, str] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="upload-watcher", daemon=True)

    def start(self) -> None:
        self._seen = {item["name"]: str(item["generation"]) for item in self._listing()}
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(TIMEOUT_S)

    def look(self) -> None:
        listing = {item["name"]: item for item in self._listing()}
        for name, item in listing.items():
            generation = str(item["generation"])
            if self._seen.get(name) != generation:
                self._publish(item)
                self._seen[name] = generation
        for name in self._seen.keys() - listing.keys():
            del self._seen[name]

    def _watch(self) -> None:
        while not self._stopped.wait(LOOK_EVERY_S):
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 - an emulator of others may be away for a while in any way
                logger.warning("could not look at gs://%s: %r", self._bucket, error)

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
