"""Reads and writes whole objects in Cloud Storage within the event deadline, and raises this project's errors.

It is independent of what the objects are: their tenants, and what a missing one means.
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

from shared.cloud.content_encoding import gunzip
from shared.cloud.objects import ObjectStat, StoredObject, crc32c
from shared.errors import ObjectChanged, ObjectNotFound, StorageUnavailable
from shared.runtime import deadline

CONNECT_TIMEOUT_S: Final = 10.0
READ_IDLE_TIMEOUT_S: Final = 20.0
CALL_TIMEOUT_S: Final = 45.0
MIN_ATTEMPT_TIMEOUT_S: Final = 0.001  # libraries reject a timeout of 0, or take it as none

T = TypeVar("T")


class ObjectStore:
    """Cloud Storage in four methods. Safe to share between threads; the client is created on first use.

    Transient errors are retried for `call_timeout_s`, or until the event deadline if that is earlier. Every method
    raises DeadlineExceeded if the deadline has passed.
    """

    def __init__(self, *, project: str | None = None, call_timeout_s: float = CALL_TIMEOUT_S) -> None:
        """Set the project (the environment's if None) and the timeout of a call with all its attempts."""
        self._project = project
        self._client: storage.Client | None = None
        self._call_timeout_s = call_timeout_s

    def stat(self, bucket: str, name: str, *, generation: int | None = None) -> ObjectStat:
        """Read an object's metadata.

        Raises:
            ObjectNotFound: there is no such object or generation.
            StorageUnavailable: storage failed, timed out, denied access or has no such bucket.
        """
        handle = self._handle(bucket, name, generation)
        with translate_errors(bucket, name):
            self._call(handle.reload)
            return _stat(handle)

    def changed(self, bucket: str, name: str, *, generation: int) -> bool:
        """Return whether the live object is of another generation, by one conditional read of its metadata.

        Raises:
            ObjectNotFound: there is no such object.
            StorageUnavailable: storage failed, timed out, denied access or has no such bucket.
        """
        handle = self._handle(bucket, name)
        with translate_errors(bucket, name):
            try:
                self._call(handle.reload, if_generation_not_match=generation)
            except api.NotModified:
                return False
            return bool(int(handle.generation) != generation)

    def read(
        self, bucket: str, name: str, *, generation: int | None = None, max_bytes: int | None = None
    ) -> StoredObject:
        """Read an object in one request, and verify its bytes by their CRC32C.

        An object of more than `max_bytes` is not read to its end, and is returned without data. One that is stored
        with `Content-Encoding: gzip` is decompressed, up to as many bytes.

        Raises:
            ObjectNotFound: there is no such object or generation.
            StorageUnavailable: storage failed, timed out, denied access or has no such bucket, or the checksum
                does not match.
        """
        handle = self._handle(bucket, name, generation)
        with translate_errors(bucket, name):
            try:
                data = self._call(_download, handle, max_bytes)
            except api.RequestRangeNotSatisfiable:  # an empty object has no range of bytes
                data = b""
            if not handle.generation or not handle.crc32c:  # the response had no such headers
                self._call(handle.reload)
            live_generation = int(handle.generation)
        uri = f"gs://{bucket}/{name}"
        if max_bytes is not None and len(data) > max_bytes:
            return StoredObject(None, uri, live_generation, handle.crc32c)
        if crc32c(data) != handle.crc32c:
            raise StorageUnavailable(f"checksum mismatch: the download of {uri} is damaged")
        if (handle.content_encoding or "").lower() == "gzip":
            return StoredObject(gunzip(data, max_bytes=max_bytes), uri, live_generation, handle.crc32c)
        return StoredObject(data, uri, live_generation, handle.crc32c)

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
        """Write an object and return its generation. Storage verifies the bytes by their CRC32C.

        With `if_generation` it writes only over that generation (0: only if there is no object).

        Raises:
            ObjectChanged: the live object is not of `if_generation`.
            StorageUnavailable: storage failed, timed out, denied access or has no such bucket.
        """
        handle = self._handle(bucket, name)
        handle.metadata = dict(metadata or {})
        handle.cache_control = "no-cache"
        try:
            with translate_errors(bucket, name):
                self._call(
                    handle.upload_from_string,
                    data,
                    content_type=content_type,
                    checksum="crc32c",
                    if_generation_match=if_generation,
                )
                return int(handle.generation)
        except ObjectNotFound as error:
            raise StorageUnavailable(f"bucket '{bucket}' not found") from error

    def _call(self, function: Callable[..., T], *args: object, **kwargs: object) -> T:
        """Retry within the event deadline; each attempt gets the remaining time as its timeout."""
        end = time.monotonic() + deadline.remaining_s(at_most=self._call_timeout_s)

        def attempt() -> T:
            remaining = max(deadline.remaining_s(at_most=end - time.monotonic()), MIN_ATTEMPT_TIMEOUT_S)
            timeout = min(CONNECT_TIMEOUT_S, remaining), min(READ_IDLE_TIMEOUT_S, remaining)
            return function(*args, **kwargs, timeout=timeout, retry=None)

        result: T = DEFAULT_RETRY.with_timeout(end - time.monotonic())(attempt)()
        return result

    def _handle(self, bucket: str, name: str, generation: int | None = None) -> storage.Blob:
        if self._client is None:
            # Without this the client requests each bucket's metadata in a thread of its own, for OpenTelemetry
            # traces that are not exported. That would need one more permission (storage.buckets.get).
            os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
            with translate_errors(bucket, name):
                self._client = storage.Client(project=self._project)
        return self._client.bucket(bucket).blob(name, generation=generation)


class _DeadlineBuffer(io.BytesIO):
    """Buffers a download until the event deadline: the client's timeout limits only the pause between bytes."""

    def write(self, data: Any, /) -> int:
        """Append data.

        Raises:
            DeadlineExceeded: the event deadline has passed.
        """
        deadline.check()
        return super().write(data)


def _download(handle: storage.Blob, max_bytes: int | None, **kwargs: object) -> bytes:
    buffer = _DeadlineBuffer()
    handle.download_to_file(buffer, end=max_bytes, raw_download=True, checksum=None, **kwargs)
    return buffer.getvalue()


def _stat(handle: storage.Blob) -> ObjectStat:
    return ObjectStat(
        int(handle.generation), int(handle.size or 0), handle.crc32c or "", dict(handle.metadata or {})
    )


# The client raises these for a response that is not storage's: the page of a proxy, an object without its fields.
_MALFORMED_RESPONSE_ERRORS: Final = (AttributeError, KeyError, TypeError, ValueError)

# Storage answers 404 with this message for a missing bucket, but not in every case.
_NO_BUCKET_MESSAGE: Final = "The specified bucket does not exist."


def _error_message(error: api.GoogleAPICallError) -> str:
    """Return storage's own message, which is plain text for a download, and in JSON for all other requests."""
    text = getattr(getattr(error, "response", None), "text", "")
    try:
        return str(json.loads(text)["error"]["message"])
    except (ValueError, TypeError, KeyError):
        return str(text).strip()


@contextmanager
def translate_errors(bucket: str, name: str) -> Generator[None]:
    """Translate the client's errors: 404 to ObjectNotFound, 412 to ObjectChanged, others to StorageUnavailable.

    Raises:
        ObjectNotFound: the object does not exist.
        ObjectChanged: the precondition of a write failed.
        StorageUnavailable: any other error, and a missing bucket: a later attempt may succeed.
    """
    try:
        yield
    except api.NotFound as error:
        if _error_message(error) == _NO_BUCKET_MESSAGE:  # a wrong setting, which can be corrected
            raise StorageUnavailable(f"bucket '{bucket}' not found") from error
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
        *_MALFORMED_RESPONSE_ERRORS,
    ) as error:
        raise StorageUnavailable(f"Cloud Storage request failed for gs://{bucket}/{name}") from error
