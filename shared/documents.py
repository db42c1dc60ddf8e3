"""What is written for the outside: result documents, error messages, and where results lie. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from shared.errors import TenantVisionError
from shared.events import UPLOADS, Request
from shared.processing_context import ProcessingContext
from shared.vision.detections import Detections

SCHEMA_VERSION: Final = 1


def result_prefix(request: Request) -> str:
    """The folder of an image's results: `results/{tenant_id}/{path}`."""
    path = request.image.name.removeprefix(f"{UPLOADS}{request.tenant_id}/")
    return f"results/{request.tenant_id}/{path}"


def result(
    request: Request,
    ctx: ProcessingContext,
    *,
    generation: int,
    created_at: datetime,
    timings_ms: Mapping[str, float],
) -> dict[str, Any]:
    """The result document, as the schema beside this module's package says. Boxes in px of the upright image."""
    height, width = ctx.image.shape[:2]
    document: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "tenant_id": request.tenant_id,
        "image": {"uri": request.image.uri, "generation": generation, "width": width, "height": height},
        "pipeline": request.pipeline,
        "models": {
            model_type: {
                "uri": model.source.uri,
                "generation": model.source.generation,
                "crc32c": model.source.crc32c,
                "labels": list(model.export.labels),
            }
            for model_type, model in sorted(ctx.models.items())
        },
    }
    if ctx.detections is not None:
        labels = ctx.models["detect"].export.labels_for(ctx.detections.class_ids)
        document["detections"] = _detections(ctx.detections, labels)
    document["counts"] = counts(ctx)
    if ctx.warnings:
        document["warnings"] = list(ctx.warnings)
    return document | {
        "request_id": request.request_id,
        "event_id": request.event_id,
        "created_at": _timestamp(created_at),
        "timings_ms": dict(timings_ms),
    }


def counts(ctx: ProcessingContext) -> dict[str, int]:
    """How many of each label were found, in the order of the model's labels; labels not found are left out."""
    if ctx.detections is None:
        return {}
    labels = ctx.models["detect"].export.labels_for(ctx.detections.class_ids)
    found = Counter(labels[class_id] for class_id in ctx.detections.class_ids.tolist())
    return {label: found[label] for label in labels if found[label]}


def error_message(
    error: TenantVisionError, fields: Mapping[str, Any], *, occurred_at: datetime
) -> tuple[dict[str, str], bytes]:
    """Attributes and data of the message on the error topic. `fields`: what is known of the event."""
    known = {name: fields.get(name) for name in _ERROR_FIELDS}
    known["model_type"] = getattr(error, "model_type", None)
    attributes = {"status": str(error.status), "error": error.error}
    attributes |= {name: str(value) for name, value in known.items() if value not in {None, ""}}
    data = attributes | {
        "status": error.status,
        "message": str(error),
        "occurred_at": _timestamp(occurred_at),
    }
    return _fitting(attributes), to_json(data)


def problem(error: TenantVisionError, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to a request over HTTP that failed (RFC 9457, `application/problem+json`)."""
    document = {
        "type": f"urn:tenant-vision:error:{error.error}",
        "title": error.error.replace("_", " "),
        "status": error.status,
        "detail": str(error),
        "error": error.error,
        "model_type": getattr(error, "model_type", None),
    }
    document |= {name: fields.get(name) for name in _ERROR_FIELDS}
    return {name: value for name, value in document.items() if value not in {None, ""}}


def to_json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


_ERROR_FIELDS: Final = ("tenant_id", "image", "generation", "pipeline", "event_id", "request_id")


def _fitting(attributes: Mapping[str, str]) -> dict[str, str]:
    """Pub/Sub takes attribute values of at most 1024 bytes; the whole value is in the data."""
    return {name: value.encode()[:1024].decode(errors="ignore") for name, value in attributes.items()}


def _detections(detections: Detections, labels: tuple[str, ...]) -> list[dict[str, Any]]:
    """Strongest first, ties by position, both as they are written here: rounding makes ties."""
    found: list[dict[str, Any]] = [
        {
            "label": labels[class_id],
            "class_id": class_id,
            "confidence": round(confidence, 4),
            "box": [round(side, 2) for side in box],
        }
        for box, confidence, class_id in zip(
            detections.boxes_xyxy.tolist(),
            detections.confidences.tolist(),
            detections.class_ids.tolist(),
            strict=True,
        )
    ]
    return sorted(found, key=lambda each: (-each["confidence"], each["box"], each["class_id"]))


def _timestamp(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
