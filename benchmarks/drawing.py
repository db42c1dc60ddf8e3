"""The annotated picture of a 1080p photograph over a bare run: segments, or boxes, drawn and named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from benchmarks.network import detect_model, segment_model
from benchmarks.photos import FULL_HD, image_hw, pixels
from benchmarks.table import Table
from benchmarks.tenants import bare_run, serving
from benchmarks.turns import Row, in_turn, table
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
    size = {"objects": OBJECTS, "image_hw": image_hw(FULL_HD)}
    models = {(TENANT, "detect"): detect_model(**size)[0], (TENANT, "segment"): segment_model(**size)[0]}
    with serving(models):
        bare = bare_run(TENANT, "segment")
        rows = [
            Row("segments: outlines, masks, names", drawn(segmented()), bare, LIMIT),
            Row("boxes and names", drawn(detected()), bare_run(TENANT, "detect"), LIMIT),
            Row("segments, and the JPEG file", written(segmented()), bare),
        ]
        return table(f"Drawing {OBJECTS} objects on 1080p, over a bare run", rows, in_turn(rows, rounds))


def segmented() -> Callable[[], ProcessingContext]:
    """A context each time anew: outlines are kept once they are found, and a picture is the first to ask."""
    image, processor = pixels(FULL_HD), SegmentationProcessor(tenant_id=TENANT)
    found = processor.process(image)
    return lambda: ProcessingContext(
        tenant_id=TENANT,
        image=image,
        segments=Segments(found.detections, found.masks, found.canvas),
        models={"segment": processor.model},
    )


def detected() -> Callable[[], ProcessingContext]:
    image, processor = pixels(FULL_HD), DetectorProcessor(tenant_id=TENANT)
    found = processor.process(image)
    return lambda: ProcessingContext(
        tenant_id=TENANT, image=image, detections=found, models={"detect": processor.model}
    )


def drawn(context: Callable[[], ProcessingContext]) -> Callable[[], object]:
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


def written(context: Callable[[], ProcessingContext]) -> Callable[[], object]:
    def work() -> object:
        with stage("draw"):
            picture = render(context())
        with stage("encode"):
            return codec.encode_jpeg(picture)

    return work


if __name__ == "__main__":
    print(run())
