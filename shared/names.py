"""The grammar of names: tenant ids, pipelines, generations, printable text, object paths and metadata keys.

Everything that reaches an object path, a cache key or a log line is checked by these. Pure; knows no request.
"""

from __future__ import annotations

import re
from typing import Final

TENANT_ID: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
PIPELINE_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}")
UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

MAX_GENERATION: Final = 2**63 - 1
MAX_OBJECT_NAME_BYTES: Final = 1024  # https://cloud.google.com/storage/docs/objects#naming
# An image's name must leave room for the longest name that its results add to it.
MAX_IMAGE_NAME_BYTES: Final = MAX_OBJECT_NAME_BYTES - len("results//thumbnail-8192.jpg")

UPLOADS_PREFIX: Final = "uploads/"
RESULT_NAME: Final = "result.json"

# Keys in the metadata of every object under results/: which work it belongs to.
WORK_KEY: Final = "tenant-vision-work"
IMAGE_GENERATION_KEY: Final = "tenant-vision-image-generation"
MODEL_KEY_PREFIX: Final = "tenant-vision-model-"

_GENERATION: Final = re.compile(r"[0-9]{1,19}")


def parse_generation(value: object) -> int | None:
    """Return the generation of an object (1 to MAX_GENERATION) from a number or its decimal digits, else None."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return None
    if isinstance(value, str):
        if not _GENERATION.fullmatch(value):
            return None
        value = int(value)
    return value if 0 < value <= MAX_GENERATION else None


def is_printable(text: str) -> bool:
    """Return whether the text can stand in a log line and in JSON: no control characters, no half surrogates."""
    return not UNPRINTABLE.search(text)


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
