"""The picture of what a pipeline found: which of it is shown, in which colours, under which names and counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from shared.processing_context import ProcessingContext
from shared.vision.arrays import IndexArray, Pixels
from shared.vision.boxes.detections import Detections
from shared.vision.classification import Classification
from shared.vision.drawing.annotate import Annotations, annotate
from shared.vision.drawing.colours import Colour, class_colour, diverging_palette, segment_colour
from shared.vision.drawing.legend import LegendRow
from shared.vision.images import codec
from shared.vision.images.letterbox import downscale_factor
from shared.vision.images.resample import thumbnail
from shared.vision.masks.segments import Segments

_FEW: Final = 8  # labels, of which the card shows those not found too


def render_pictures(ctx: ProcessingContext, thumbnail_sizes: Sequence[int]) -> dict[str, bytes]:
    """Return JPEG files by object name: the annotated picture, and a thumbnail of it for each size."""
    picture = render(ctx)
    thumbnails = {f"thumbnail-{size}.jpg": codec.encode_jpeg(thumbnail(picture, size)) for size in thumbnail_sizes}
    return {"annotated.jpg": codec.encode_jpeg(picture), **thumbnails}


def render(ctx: ProcessingContext) -> Pixels:
    """(h, w, 3), of the size of the context's `image`; that itself where no step has looked for anything."""
    if ctx.detections is None and ctx.segments is None and ctx.classification is None:
        return ctx.image
    return annotate(
        ctx.image,
        objects=_objects(ctx, ctx.detections),
        segments=_segments(ctx, ctx.segments),
        tiles=ctx.tiles,  # only of an image in its own size: who looks closely needs all pixels
        rows=_rows(ctx),
    )


def _objects(ctx: ProcessingContext, found: Detections | None) -> Annotations:
    if found is None:
        return Annotations.empty()
    order = found.order()
    found = found[order]
    labels = ctx.labels("detect", found.class_ids)
    class_ids = found.class_ids.tolist()
    return Annotations(
        boxes_xyxy=found.boxes_xyxy / np.float32(downscale_factor(ctx.image_hw, ctx.image)),
        colours=_band_colours(ctx, ctx.detections, order) or [class_colour(each) for each in class_ids],
        names=[
            (f"{labels[class_id]} {confidence:.0%}", labels[class_id])
            for class_id, confidence in zip(class_ids, found.confidences.tolist(), strict=True)
        ],
    )


def _segments(ctx: ProcessingContext, found: Segments | None) -> Annotations:
    """Named with the number of detections in each, where those are known to be in one."""
    if found is None:
        return Annotations.empty()
    order = found.detections.order()
    detections = found.detections[order]
    labels = ctx.labels("segment", detections.class_ids)
    class_ids = detections.class_ids.tolist()
    if ctx.segment_index is None:
        values = [f"{confidence:.0%}" for confidence in detections.confidences.tolist()]
    else:
        values = [str(np.count_nonzero(ctx.segment_index == index)) for index in order.tolist()]
    times = downscale_factor(ctx.image_hw, ctx.image)
    height, width = ctx.image.shape[:2]
    masks = found.in_image(ctx.image_hw) if times == 1 else found.downscaled(times, (height, width))
    return Annotations(
        boxes_xyxy=detections.boxes_xyxy / np.float32(times),
        colours=_band_colours(ctx, found.detections, order) or [segment_colour(each) for each in class_ids],
        names=[
            (f"{labels[class_id]} {value}", value if ctx.segment_index is not None else labels[class_id])
            for class_id, value in zip(class_ids, values, strict=True)
        ],
        masks=[masks[index] for index in order.tolist()],
    )


def _band_colours(ctx: ProcessingContext, found: Detections | None, order: IndexArray) -> list[Colour] | None:
    """Of objects that were measured: those of their size bands."""
    if ctx.bands is None or ctx.bands.source is not found:
        return None
    colours = diverging_palette(len(ctx.bands.names))
    return [colours[band] for band in ctx.bands.band_index[order].tolist()]


def _rows(ctx: ProcessingContext) -> list[LegendRow]:
    rows = _classes(ctx, ctx.classification) if ctx.classification is not None else []
    for model_type, found, of_label in (
        ("segment", None if ctx.segments is None else ctx.segments.detections, segment_colour),
        ("detect", ctx.detections, class_colour),
    ):
        if found is None:
            continue
        if ctx.bands is not None and ctx.bands.source is found:
            rows += _bands(ctx)
            continue
        labels = ctx.labels(model_type, found.class_ids)
        counts = np.bincount(found.class_ids, minlength=len(labels)).tolist()
        shown = [each for each in range(len(labels)) if counts[each] or len(labels) <= _FEW]
        rows += [
            LegendRow(labels[each], str(counts[each]), of_label(each))
            for each in sorted(shown, key=lambda each: -counts[each])
        ]
    return rows


def _bands(ctx: ProcessingContext) -> list[LegendRow]:
    """For each label that was measured: how many, and how many of them in each band."""
    rows: list[LegendRow] = []
    for sizes in ctx.sizes or ():
        rows.append(LegendRow(sizes.label, str(sizes.count)))
        rows += [
            LegendRow(name, str(count), ink)
            for (name, count), ink in zip(sizes.bands.items(), diverging_palette(len(sizes.bands)), strict=True)
        ]
    return rows


def _classes(ctx: ProcessingContext, found: Classification) -> list[LegendRow]:
    labels = ctx.labels("classify", found.class_ids)
    return [
        LegendRow(labels[class_id], f"{confidence:.0%}", share=confidence)
        for class_id, confidence in zip(found.class_ids.tolist(), found.confidences.tolist(), strict=True)
    ]
