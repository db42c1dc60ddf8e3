"""Compare drawing the annotated picture of a 1080p photograph with a bare run, for segments and for boxes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from benchmarks.network import detect_model, segment_model
from benchmarks.paired_timing import Row, measure_rows, timing_table
from benchmarks.photos import FULL_HD, image_hw, pixels
from benchmarks.table import Table
from benchmarks.tenants import bare_run, serving
from shared.ml.output_layout import ModelType
from shared.processing_context import ProcessingContext
from shared.processors.detector_processor import DetectorProcessor
from shared.processors.segmentation_processor import SegmentationProcessor
from shared.results.picture import render
from shared.runtime.event_record import stage
from shared.vision.images import codec
from shared.vision.masks.segments import Segments

TENANT: Final = "drawing"
ROUNDS: Final = 40
OBJECTS: Final = 34
LIMIT: Final = 0.6


def run(rounds: int = ROUNDS) -> Table:
    shape_hw = image_hw(FULL_HD)
    models: dict[tuple[str, ModelType], bytes] = {
        (TENANT, "detect"): detect_model(objects=OBJECTS, image_hw=shape_hw)[0],
        (TENANT, "segment"): segment_model(objects=OBJECTS, image_hw=shape_hw)[0],
    }
    with serving(models):
        bare = bare_run(TENANT, "segment")
        rows = [
            Row("segments: outlines, masks, names", draw_work(segments_context()), bare, LIMIT),
            Row("boxes and names", draw_work(boxes_context()), bare_run(TENANT, "detect"), LIMIT),
            Row("segments, and the JPEG file", encode_work(segments_context()), bare),
        ]
        return timing_table(
            f"Drawing {OBJECTS} objects on 1080p, over a bare run", rows, measure_rows(rows, rounds)
        )


def segments_context() -> Callable[[], ProcessingContext]:
    """Return a factory of contexts with segments.

    Each call makes new segments, because they cache their outlines.
    """
    image, processor = pixels(FULL_HD), SegmentationProcessor(tenant_id=TENANT)
    result = processor.process(image)
    return lambda: ProcessingContext(
        tenant_id=TENANT,
        image=image,
        segments=Segments(result.detections, result.masks, result.canvas),
        models={"segment": processor.model},
    )


def boxes_context() -> Callable[[], ProcessingContext]:
    image, processor = pixels(FULL_HD), DetectorProcessor(tenant_id=TENANT)
    detections = processor.process(image)
    return lambda: ProcessingContext(
        tenant_id=TENANT, image=image, detections=detections, models={"detect": processor.model}
    )


def draw_work(context: Callable[[], ProcessingContext]) -> Callable[[], object]:
    def work() -> object:
        ctx = context()
        if ctx.segments is not None:
            with stage("outlines"):
                ctx.segments.polygons()
            with stage("fill"):
                ctx.segments.in_image(ctx.image.shape[:2])
        with stage("draw"):
            return render(ctx)

    return work


def encode_work(context: Callable[[], ProcessingContext]) -> Callable[[], object]:
    def work() -> object:
        with stage("draw"):
            picture = render(context())
        with stage("encode"):
            return codec.encode_jpeg(picture)

    return work


if __name__ == "__main__":
    print(run())
