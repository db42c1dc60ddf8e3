"""Reads and writes whole objects in Cloud Storage, each call within the event's time, in our own words.

It does not know what the objects are for: which tenant they belong to, or what a missing one means.
"""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import requests.exceptions
import urllib3.exceptions
from google.api_core import exceptions as api
from google.auth import exceptions as auth
from google.cloud import storage
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
from google.cloud.storage.retry import DEFAULT_RETRY

from shared.cloud.objects import ObjectStat, StoredObject, crc32c
from shared.errors import ObjectChanged, ObjectNotFound, StorageUnavailable
from shared.runtime import deadline

CONNECT_TIMEOUT_S: Final = 10.0
READ_TIMEOUT_S: Final = 20.0  # without a byte
CALL_DEADLINE_S: Final = 45.0
MINIMUM_S: Final = 0.001  # a timeout of 0 is none to some, and refused by others

T = TypeVar("T")


class ObjectStore:
    """The storage client behind four verbs. One for all threads; the client is made on first use.

    A call is attempted again for `call_deadline_s`, or for what is left of the event's time if that is less, and
    no attempt waits longer. Raises DeadlineExceeded where nothing is left.
    """

    def __init__(self, *, project: str | None = None, call_deadline_s: float = CALL_DEADLINE_S) -> None:
        self._project = project
        self._client: storage.Client | None = None
        self._call_deadline_s = call_deadline_s

    def stat(self, bucket: str, name: str, *, generation: int | None = None) -> ObjectStat:
        """Read an object's metadata.

        Raises:
            ObjectNotFound: storage answered 404.
            StorageUnavailable: it did not answer, or not in time, or forbade it, or has no such bucket.
        """
        blob = self._blob(bucket, name, generation)
        with _our_words(bucket, name):
            self._call(blob.reload)
            return _stat(blob)

    def changed(self, bucket: str, name: str, *, generation: int) -> bool:
        """Whether the live object is of another generation: one conditional read of its metadata.

        Raises: as `stat`.
        """
        blob = self._blob(bucket, name)
        with _our_words(bucket, name):
            try:
                self._call(blob.reload, if_generation_not_match=generation)
            except api.NotModified:
                return False
            return bool(int(blob.generation) != generation)

    def read(
        self, bucket: str, name: str, *, generation: int | None = None, max_bytes: int | None = None
    ) -> StoredObject:
        """Read an object in one request, and check its bytes against the crc32c storage has of them.

        An object of more than `max_bytes` is not read to its end and comes without data.

        Raises:
            ObjectNotFound: storage answered 404.
            StorageUnavailable: as `stat`, or the bytes are not those that were stored.
        """
        blob = self._blob(bucket, name, generation)
        with _our_words(bucket, name):
            try:
                data = self._call(_download, blob, max_bytes)
            except api.RequestRangeNotSatisfiable:  # an empty object has no first byte
                data = b""
            if not blob.generation or not blob.crc32c:  # not in the headers of this answer: ask once more
                self._call(blob.reload)
            found = int(blob.generation)
        uri = f"gs://{bucket}/{name}"
        if max_bytes is not None and len(data) > max_bytes:
            return StoredObject(None, uri, found, blob.crc32c)
        if crc32c(data) != blob.crc32c:
            raise StorageUnavailable(f"The bytes of {uri} arrived damaged")
        return StoredObject(data, uri, found, blob.crc32c)

    def write(
        self,
        bucket: str,
        name: str,
        data: bytes,
        *,
        content_type: str,
        metadata: Mapping[str, str] | None = None,
        if_generation: int | None = None,
    ) -> int:
        """Write an object and give its generation; storage verifies the bytes by their crc32c.

        `if_generation` writes only over that generation (0: only where there is none).

        Raises:
            ObjectChanged: the object is not at `if_generation`.
            StorageUnavailable: as `stat`, or there is no such bucket.
        """
        blob = self._blob(bucket, name)
        blob.metadata = dict(metadata or {})
        blob.cache_control = "no-cache"
        try:
            with _our_words(bucket, name):
                self._call(
                    blob.upload_from_string,
                    data,
                    content_type=content_type,
                    checksum="crc32c",
                    if_generation_match=if_generation,
                )
                return int(blob.generation)
        except ObjectNotFound as error:
            raise StorageUnavailable(f"There is no bucket {bucket} to write to") from error

    def _call(self, attempt: Callable[..., T], *what: object, **how: object) -> T:
        """The answer to one of several attempts. Each is told what is left then: the client knows no end."""
        ends = time.monotonic() + deadline.remaining_s(at_most=self._call_deadline_s)

        def once() -> T:
            left = max(deadline.remaining_s(at_most=ends - time.monotonic()), MINIMUM_S)
            timeout = min(CONNECT_TIMEOUT_S, left), min(READ_TIMEOUT_S, left)
            return attempt(*what, **how, timeout=timeout, retry=None)

        answer: T = DEFAULT_RETRY.with_timeout(ends - time.monotonic())(once)()
        return answer

    def _blob(self, bucket: str, name: str, generation: int | None = None) -> storage.Blob:
        if self._client is None:
            # The client would ask for each bucket's metadata beside the first read, in a thread of its own, for
            # traces that nobody keeps: a request more, and a right (storage.buckets.get) that we do not need.
            os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
            with _our_words(bucket, name):
                self._client = storage.Client(project=self._project)
        return self._client.bucket(bucket).blob(name, generation=generation)


class _Sink(io.BytesIO):
    """Takes a body as long as there is time: a timeout counts from one byte to the next, however slow they are."""

    def write(self, data: Any, /) -> int:
        deadline.check()
        return super().write(data)


def _download(blob: storage.Blob, max_bytes: int | None, **how: object) -> bytes:
    sink = _Sink()
    blob.download_to_file(sink, end=max_bytes, raw_download=True, checksum=None, **how)
    return sink.getvalue()


def _stat(blob: storage.Blob) -> ObjectStat:
    return ObjectStat(int(blob.generation), int(blob.size or 0), blob.crc32c or "", dict(blob.metadata or {}))


# What the client stumbles over where an answer is not storage's: a proxy's page, an object without its fields.
_NOT_STORAGE: Final = (AttributeError, KeyError, TypeError, ValueError)


# Storage does not always tell: the 404 of an object may stand for that of its bucket.
_NO_BUCKET: Final = "The specified bucket does not exist."


def _said(error: api.GoogleAPICallError) -> str:
    """Storage's own sentence: alone where bytes were asked for, and in JSON everywhere else."""
    text = getattr(getattr(error, "response", None), "text", "")
    try:
        return str(json.loads(text)["error"]["message"])
    except (ValueError, TypeError, KeyError):
        return str(text).strip()


@contextmanager
def _our_words(bucket: str, name: str) -> Generator[None]:
    """Only a 404 means "not there" and only a 412 means "changed"; everything else may heal with time."""
    try:
        yield
    except api.NotFound as error:
        if _said(error) == _NO_BUCKET:  # a setting is wrong, or a right is missing: that can be mended
            raise StorageUnavailable(f"There is no bucket {bucket}") from error
        raise ObjectNotFound(f"gs://{bucket}/{name}") from error
    except api.PreconditionFailed as error:
        raise ObjectChanged(f"gs://{bucket}/{name}") from error
    except (
        api.GoogleAPIError,
        auth.GoogleAuthError,
        requests.exceptions.RequestException,
        urllib3.exceptions.HTTPError,
        DataCorruption,
        InvalidResponse,
        OSError,
        *_NOT_STORAGE,
    ) as error:
        raise StorageUnavailable(f"Storage did not serve gs://{bucket}/{name}") from error
