"""Builds the documents that others read: result documents, error messages and problem details.

Pure functions. The formats are in docs/contract.md, and that of results in `shared/schemas/result.schema.json`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from shared.errors import ImageTooLarge, TenantVisionError
from shared.events import ImageVersion, Request
from shared.processing_context import ProcessingContext, SizeStatistics
from shared.vision.arrays import Int64Array
from shared.vision.boxes.detections import Detections
from shared.vision.classification import Classification
from shared.vision.masks.polygons import coordinates
from shared.vision.masks.rle import encode_all
from shared.vision.masks.segments import Segments

SCHEMA_VERSION: Final = 1
MAX_RESULT_BYTES: Final = 32 * 2**20  # Cloud Run answers with no more
MAX_LOGGED_COUNTS_BYTES: Final = 16 * 2**10
MAX_ATTRIBUTE_BYTES: Final = 1024  # https://cloud.google.com/pubsub/quotas#resource_limits


def findings(
    tenant_id: str, image: ImageVersion, pipeline: str, ctx: ProcessingContext, *, pipeline_digest: str
) -> dict[str, Any]:
    """Return the part of a result document that only image, models and pipeline determine (`result.schema.json`).

    Boxes and polygons are in px of the upright image.

    Raises:
        ImageTooLarge: It would have more than MAX_RESULT_BYTES, as far as its objects tell before they are built.
    """
    height, width = ctx.image_hw
    document: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "tenant_id": tenant_id,
        "image": {"uri": image.uri, "generation": image.generation, "width": width, "height": height},
        "pipeline": pipeline,
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
        document["sizes"] = [_sizes(sizes) for sizes in ctx.sizes]
    document["counts"] = counts(ctx)
    if ctx.warnings:
        document["warnings"] = list(ctx.warnings)
    return document


def complete(
    findings_json: bytes, request: Request, *, created_at: datetime, timings_ms: Mapping[str, float]
) -> bytes:
    """Return the result document: findings, the ids of the request, and when and in what time they were made.

    The findings are not parsed: a worker has encoded them, and they may be large.

    Raises:
        ImageTooLarge: It has more than MAX_RESULT_BYTES.
    """
    rest = {
        "request_id": request.request_id,
        "event_id": request.event_id,
        "created_at": _timestamp(created_at),
        "timings_ms": dict(timings_ms),
    }
    document = findings_json.rstrip().removesuffix(b"}") + b"," + to_json(rest).removeprefix(b"{")
    _ensure_result_fits(len(document))
    return document


def with_request_id(document: bytes, request_id: str | None) -> bytes:
    """Return a result document with its request id replaced: the answer to a duplicate request."""
    fields = json.loads(document)
    return document if fields.get("request_id") == request_id else to_json(fields | {"request_id": request_id})


def counts(ctx: ProcessingContext) -> dict[str, int]:
    """Return the number of objects of each label, in the order of the model's labels.

    Counts detections, or segments if no step has detected. Labels without objects are omitted.
    """
    if ctx.detections is not None:
        return _counts(ctx.labels("detect", ctx.detections.class_ids), ctx.detections.class_ids)
    if ctx.segments is not None:
        class_ids = ctx.segments.detections.class_ids
        return _counts(ctx.labels("segment", class_ids), class_ids)
    return {}


def logged_counts(ctx: ProcessingContext) -> dict[str, int]:
    """Return the first of the counts, in MAX_LOGGED_COUNTS_BYTES of JSON: a log line has few labels."""
    logged, size = {}, 0
    for label, count in counts(ctx).items():
        size += len(json.dumps({label: count}))
        if size > MAX_LOGGED_COUNTS_BYTES:
            break
        logged[label] = count
    return logged


def error_message(
    error: TenantVisionError, fields: Mapping[str, Any], *, occurred_at: datetime
) -> tuple[dict[str, str], bytes]:
    """Return attributes and data of the message on the error topic.

    Args:
        error: Why the event failed.
        fields: The loggable fields of the event.
        occurred_at: When it failed.
    """
    known = {name: fields.get(name) for name in _ERROR_FIELDS}
    known["model_type"] = getattr(error, "model_type", None)
    attributes = {"status": str(error.status), "error": error.error}
    attributes |= {name: str(value) for name, value in known.items() if value not in {None, ""}}
    data = attributes | {
        "status": error.status,
        "message": str(error),
        "occurred_at": _timestamp(occurred_at),
    }
    return _truncate_values(attributes), to_json(data)


def problem(error: TenantVisionError, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the problem details of a failed HTTP request (RFC 9457, `application/problem+json`)."""
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
    """Encode a document as one line of compact UTF-8 JSON.

    Raises:
        ImageTooLarge: It has more than MAX_RESULT_BYTES.
    """
    data = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
    _ensure_result_fits(len(data))
    return data


def _ensure_result_fits(size: int) -> None:
    if size > MAX_RESULT_BYTES:
        raise ImageTooLarge(
            f"The result would have {size} bytes or more; the limit is {MAX_RESULT_BYTES} bytes: "
            "set a lower max_detections, or run_lengths to false, or shorten the model's labels"
        )


# The fewest bytes of parts of a result, by which its size is estimated before they are built.
_MIN_BOX_BYTES: Final = len('{"label":"","class_id":0,"confidence":0.0,"box":[0.0,0.0,0.0,0.0]},')
_MIN_VERTEX_BYTES: Final = len("[0.0,0.0],")

_ERROR_FIELDS: Final = ("tenant_id", "image", "generation", "pipeline", "event_id", "request_id")


def _truncate_values(attributes: Mapping[str, str]) -> dict[str, str]:
    """Cut attribute values to Pub/Sub's limit; the message's data has them in full."""
    return {
        name: value.encode()[:MAX_ATTRIBUTE_BYTES].decode(errors="ignore") for name, value in attributes.items()
    }


def _counts(labels: tuple[str, ...], class_ids: Int64Array) -> dict[str, int]:
    counter = Counter(labels[class_id] for class_id in class_ids.tolist())
    return {label: counter[label] for label in labels if counter[label]}


def _boxes(detections: Detections, labels: tuple[str, ...]) -> list[dict[str, Any]]:
    counts_by_class = Counter(detections.class_ids.tolist())
    _ensure_result_fits(
        sum(count * (_MIN_BOX_BYTES + len(labels[index].encode())) for index, count in counts_by_class.items())
    )
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


def _rank(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    """Sort by descending confidence, then by box and class, all as written: rounding makes ties."""
    return -entry["confidence"], entry["box"], entry["class_id"]


def _detections(ctx: ProcessingContext, detections: Detections) -> list[dict[str, Any]]:
    entries = _boxes(detections, ctx.labels("detect", detections.class_ids))
    if ctx.segment_index is not None and ctx.segments is not None:
        positions = {index: position for position, index in enumerate(_segment_order(ctx, ctx.segments))}
        for entry, segment_index in zip(entries, ctx.segment_index.tolist(), strict=True):
            entry["segment"] = positions.get(segment_index)
    return sorted(entries, key=_rank)


def _segment_order(ctx: ProcessingContext, segments: Segments) -> list[int]:
    """Return the indices of the segments in the order in which they are written."""
    boxes = _boxes(segments.detections, ctx.labels("segment", segments.detections.class_ids))
    return sorted(range(len(boxes)), key=lambda index: _rank(boxes[index]))


def _segments(ctx: ProcessingContext, segments: Segments) -> list[dict[str, Any]]:
    entries = _boxes(segments.detections, ctx.labels("segment", segments.detections.class_ids))
    vertices = sum(len(ring) for polygons in segments.polygons() for part in polygons for ring in part)
    _ensure_result_fits(vertices * _MIN_VERTEX_BYTES)
    for entry, area, polygons in zip(entries, segments.areas.tolist(), segments.polygons(), strict=True):
        entry["area"] = round(area)
        entry["polygons"] = coordinates(polygons)
    if ctx.run_lengths:
        image_hw = ctx.image_hw
        for entry, runs in zip(entries, encode_all(segments.in_image(image_hw), image_hw), strict=True):
            entry["run_lengths"] = {"size": list(image_hw), "counts": runs}
    if ctx.include_segment_counts and ctx.segment_index is not None and ctx.detections is not None:
        labels = ctx.labels("detect", ctx.detections.class_ids)
        for index, entry in enumerate(entries):
            entry["counts"] = _counts(labels, ctx.detections.class_ids[ctx.segment_index == index])
    return [entries[index] for index in _segment_order(ctx, segments)]


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
