"""Defines the grammar of names: tenant ids, pipelines, generations, printable text, object paths, metadata keys.

Everything that reaches an object path, a cache key or a log line is checked or escaped by these functions. They
are pure, and independent of any request.
"""

from __future__ import annotations

import json
import re
from typing import Final

TENANT_ID: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
PIPELINE_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}")
UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

MAX_GENERATION: Final = 2**63 - 1
GENERATION_RULE: Final = "an integer from 1 to 2^63-1"
MAX_OBJECT_NAME_BYTES: Final = 1024  # https://cloud.google.com/storage/docs/objects#naming
# The results of an image are stored below its name, and their longest object name must be a valid one.
MAX_IMAGE_NAME_BYTES: Final = MAX_OBJECT_NAME_BYTES - len("results//thumbnail-8192.jpg")

UPLOADS_PREFIX: Final = "uploads/"
RESULT_NAME: Final = "result.json"

# Keys in the metadata of every object under results/, which identify the work it belongs to.
WORK_KEY: Final = "tenant-vision-work"
IMAGE_GENERATION_KEY: Final = "tenant-vision-image-generation"
MODEL_KEY_PREFIX: Final = "tenant-vision-model-"

MAX_SENTENCE_CHARACTERS: Final = 500  # of what is told to a sender, published or logged about an event

_GENERATION: Final = re.compile(r"[0-9]{1,19}")
_MAX_QUOTED_CHARACTERS: Final = 64


def parse_generation(value: object) -> int | None:
    """Return a generation (1 to MAX_GENERATION) given as a number or its decimal digits. None if it is invalid."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return None
    if isinstance(value, str):
        if not _GENERATION.fullmatch(value):
            return None
        value = int(value)
    return value if 0 < value <= MAX_GENERATION else None


def is_printable(text: str) -> bool:
    """Return whether the text has no control characters and no lone surrogates: logs and JSON can hold it."""
    return not UNPRINTABLE.search(text)


def sentence(text: str) -> str:
    """Return a text as one printable line of at most MAX_SENTENCE_CHARACTERS, with an ellipsis if it is cut."""
    shown = UNPRINTABLE.sub(_escape, text[: MAX_SENTENCE_CHARACTERS + 1])
    return shown if len(shown) <= MAX_SENTENCE_CHARACTERS else f"{shown[: MAX_SENTENCE_CHARACTERS - 1]}…"


def _escape(unprintable: re.Match[str]) -> str:
    return unprintable[0].encode("unicode_escape").decode()


def quoted(value: object) -> str:
    """Return an untrusted JSON value for an error message: on one line, printable and shortened."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    if isinstance(value, str):
        text = repr(value[:_MAX_QUOTED_CHARACTERS])
        shortened = len(value) > _MAX_QUOTED_CHARACTERS
    else:
        try:
            text = json.dumps(value)
        except ValueError:  # Python writes no integer of more than 4,300 digits
            return "an integer of thousands of digits"
        shortened = len(text) > _MAX_QUOTED_CHARACTERS
        text = text[:_MAX_QUOTED_CHARACTERS]
    return f"{text}…" if shortened else text


def uploads_prefix(tenant_id: str) -> str:
    """Return the prefix of all images of a tenant: `uploads/{tenant_id}/`."""
    return f"{UPLOADS_PREFIX}{tenant_id}/"


def result_prefix(tenant_id: str, image_name: str) -> str:
    """Return where the results of an image lie, without the final slash: `results/{tenant_id}/{path}`."""
    return f"results/{tenant_id}/{image_name.removeprefix(uploads_prefix(tenant_id))}"


def model_path(tenant_id: str, model_type: str) -> str:
    """Return the object name of a tenant's model: `models/{tenant_id}/{model_type}.onnx`."""
    return f"models/{tenant_id}/{model_type}.onnx"


def pipelines_path(tenant_id: str) -> str:
    """Return the object name of a tenant's own pipelines: `models/{tenant_id}/pipelines.json`."""
    return f"models/{tenant_id}/pipelines.json"
