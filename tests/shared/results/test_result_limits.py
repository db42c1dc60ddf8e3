"""A result has a limit of bytes, whatever its labels and outlines are, and is rejected before it is built."""

import json
import tracemalloc
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from shared.errors import ImageTooLarge
from shared.events import ImageRef, ImageVersion, Request
from shared.ml.export_metadata import MAX_LABEL_CHARACTERS
from shared.processing_context import ProcessingContext
from shared.results import documents
from shared.results.documents import MAX_LOGGED_COUNTS_BYTES, MAX_RESULT_BYTES
from shared.vision.boxes.detections import Detections
from shared.vision.masks.masks import Mask
from shared.vision.masks.segments import Segments

IMAGE_HW = (200, 200)


def detections(count: int) -> Detections:
    boxes = np.tile(np.array([[0, 0, 10, 10]], np.float32), (count, 1))
    return Detections(boxes, np.full(count, 0.5, np.float32), np.zeros(count, np.int64))


def context(*labels: str, **answers: Any) -> ProcessingContext:
    model: Any = SimpleNamespace(
        source=SimpleNamespace(uri="gs://m/o", generation=1, crc32c="AAAAAA=="),
        export=SimpleNamespace(labels=labels, labels_for=lambda _: labels),
    )
    return ProcessingContext(
        tenant_id="t",
        image=np.zeros((*IMAGE_HW, 3), np.uint8),
        models={"detect": model, "segment": model},
        **answers,
    )


def document(*, label: str = "a", **answers: Any) -> dict[str, Any]:
    image = ImageVersion("up", "uploads/t/a.jpg", 7)
    return documents.findings("t", image, "detect", context(label, **answers), pipeline_digest="0" * 64)


def noisy_segments(count: int) -> Segments:
    """Return masks of a pixel in four, each with an outline of its own."""
    inside = np.zeros(IMAGE_HW, bool)
    inside[::2, ::2] = True
    return Segments(detections(count), tuple(Mask(0, 0, inside) for _ in range(count)))


def test_detections_with_a_giant_label_are_rejected_before_they_are_built() -> None:
    three_hundred = detections(300)
    tracemalloc.start()
    try:
        with pytest.raises(
            ImageTooLarge, match=f"the limit is {MAX_RESULT_BYTES} bytes: set a lower max_detections"
        ):
            document(label="x" * 500_000, detections=three_hundred)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak_bytes < 4 * 2**20


def test_as_many_detections_as_possible_with_the_longest_label_of_ascii_fit() -> None:
    data = documents.to_json(document(label="x" * MAX_LABEL_CHARACTERS, detections=detections(30_000)))

    assert 9 * 2**20 < len(data) <= MAX_RESULT_BYTES


def test_outlines_beyond_the_limit_are_rejected_before_they_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    segments = noisy_segments(1)
    size = len(documents.to_json(document(segments=segments)))
    monkeypatch.setattr(documents, "coordinates", lambda _: pytest.fail("it was written"))
    monkeypatch.setattr(documents, "MAX_RESULT_BYTES", size // 4)

    with pytest.raises(ImageTooLarge, match="run_lengths"):
        document(segments=segments)


def test_json_of_exactly_the_limit_is_written_and_one_byte_more_is_not() -> None:
    padding = MAX_RESULT_BYTES - len(documents.to_json({"a": ""}))
    assert len(documents.to_json({"a": "x" * padding})) == MAX_RESULT_BYTES

    with pytest.raises(ImageTooLarge, match=f"have {MAX_RESULT_BYTES + 1} bytes or more"):
        documents.to_json({"a": "x" * (padding + 1)})


def test_counts_of_a_log_line_are_cut_after_some_kilobytes() -> None:
    labels = [f"{number:0{MAX_LABEL_CHARACTERS}}" for number in range(1000)]
    detected = replace(detections(1000), class_ids=np.arange(1000))

    logged = documents.logged_counts(context(*labels, detections=detected))

    assert len(json.dumps(logged)) <= MAX_LOGGED_COUNTS_BYTES
    assert list(logged) == labels[: len(logged)]
    assert len(logged) > 50
    small = replace(detections(4), class_ids=np.array([2, 0, 1, 1]))
    assert documents.logged_counts(context("a", "b", "c", detections=small)) == {"a": 1, "b": 2, "c": 1}


def test_complete_document_has_no_more_bytes_than_findings_may() -> None:
    request = Request(tenant_id="t", image=ImageRef("up", "uploads/t/a.jpg", 7), pipeline="detect")

    def complete(padding: int) -> bytes:
        findings = b'{"a":"' + b"x" * padding + b'"}\n'
        return documents.complete(findings, request, created_at=datetime(2026, 11, 22, tzinfo=UTC), timings_ms={})

    padding = MAX_RESULT_BYTES - len(complete(0))
    assert len(complete(padding)) == MAX_RESULT_BYTES
    with pytest.raises(ImageTooLarge):
        complete(padding + 1)
