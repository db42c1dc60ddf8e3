"""What is written for the outside: result documents, error messages, and where results lie. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from shared.errors import TenantVisionError
from shared.events import Request
from shared.processing_context import ProcessingContext, SizeStatistics
from shared.vision.boxes.detections import Detections, Integers
from shared.vision.classification import Classification
from shared.vision.masks.polygons import coordinates
from shared.vision.masks.run_lengths import run_lengths
from shared.vision.masks.segments import Segments

SCHEMA_VERSION: Final = 1


def result(
    request: Request,
    ctx: ProcessingContext,
    *,
    generation: int,
    pipeline_digest: str,
    created_at: datetime,
    timings_ms: Mapping[str, float],
) -> dict[str, Any]:
    """The result document, as the schema beside this module's package says. Boxes in px of the upright image."""
    height, width = ctx.image_hw
    document: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "tenant_id": request.tenant_id,
        "image": {"uri": request.image.uri, "generation": generation, "width": width, "height": height},
        "pipeline": request.pipeline,
        "pipeline_digest": pipeline_digest,
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
        document["detections"] = _detections(ctx, ctx.detections)
    if ctx.segments is not None:
        document["segments"] = _segments(ctx, ctx.segments)
    if ctx.classification is not None:
        document["classification"] = _classification(ctx, ctx.classification)
    if ctx.sizes is not None:
        document["sizes"] = [_sizes(each) for each in ctx.sizes]
    document["counts"] = counts(ctx)
    if ctx.warnings:
        document["warnings"] = list(ctx.warnings)
    return document | {
        "request_id": request.request_id,
        "event_id": request.event_id,
        "created_at": _timestamp(created_at),
        "timings_ms": dict(timings_ms),
    }


def with_request_id(document: bytes, request_id: str | None) -> bytes:
    """A result that was made for another request, as the answer to this one."""
    result = json.loads(document)
    return document if result.get("request_id") == request_id else to_json(result | {"request_id": request_id})


def counts(ctx: ProcessingContext) -> dict[str, int]:
    """How many of each label were found, in the order of the model's labels; labels not found are left out.

    Of detections, or of segments where no step looked for detections.
    """
    if ctx.detections is not None:
        return _counts(ctx.labels("detect", ctx.detections.class_ids), ctx.detections.class_ids)
    if ctx.segments is not None:
        class_ids = ctx.segments.detections.class_ids
        return _counts(ctx.labels("segment", class_ids), class_ids)
    return {}


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


def _counts(labels: tuple[str, ...], class_ids: Integers) -> dict[str, int]:
    found = Counter(labels[class_id] for class_id in class_ids.tolist())
    return {label: found[label] for label in labels if found[label]}


def _boxes(detections: Detections, labels: tuple[str, ...]) -> list[dict[str, Any]]:
    return [
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


def _ranked(each: Mapping[str, Any]) -> tuple[Any, ...]:
    """Strongest first, ties by position, both as they are written: rounding makes ties."""
    return -each["confidence"], each["box"], each["class_id"]


def _detections(ctx: ProcessingContext, detections: Detections) -> list[dict[str, Any]]:
    found = _boxes(detections, ctx.labels("detect", detections.class_ids))
    if ctx.segment_index is not None and ctx.segments is not None:
        places = {index: place for place, index in enumerate(_segment_order(ctx, ctx.segments))}
        for each, home in zip(found, ctx.segment_index.tolist(), strict=True):
            each["segment"] = places.get(home)
    return sorted(found, key=_ranked)


def _segment_order(ctx: ProcessingContext, segments: Segments) -> list[int]:
    boxes = _boxes(segments.detections, ctx.labels("segment", segments.detections.class_ids))
    return sorted(range(len(boxes)), key=lambda index: _ranked(boxes[index]))


def _segments(ctx: ProcessingContext, segments: Segments) -> list[dict[str, Any]]:
    found = _boxes(segments.detections, ctx.labels("segment", segments.detections.class_ids))
    for each, area, parts in zip(found, segments.areas.tolist(), segments.polygons(), strict=True):
        each["area"] = round(area)
        each["polygons"] = coordinates(parts)
    if ctx.run_lengths:
        image_hw = ctx.image_hw
        for each, mask in zip(found, segments.in_image(image_hw), strict=True):
            each["run_lengths"] = {"size": list(image_hw), "counts": run_lengths(mask, image_hw)}
    if ctx.include_segment_counts and ctx.segment_index is not None and ctx.detections is not None:
        labels = ctx.labels("detect", ctx.detections.class_ids)
        for index, each in enumerate(found):
            each["counts"] = _counts(labels, ctx.detections.class_ids[ctx.segment_index == index])
    return [found[index] for index in _segment_order(ctx, segments)]


def _classification(ctx: ProcessingContext, classification: Classification) -> list[dict[str, Any]]:
    labels = ctx.labels("classify", classification.class_ids)
    return [
        {"label": labels[class_id], "class_id": class_id, "confidence": round(confidence, 4)}
        for confidence, class_id in zip(
            classification.confidences.tolist(), classification.class_ids.tolist(), strict=True
        )
    ]


def _sizes(sizes: SizeStatistics) -> dict[str, Any]:
    return {
        "label": sizes.label,
        "count": sizes.count,
        "mean_area": round(sizes.mean_area, 1),
        "standard_deviation": round(sizes.deviation, 1),
        "bands": dict(sizes.bands),
    }


def _timestamp(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
