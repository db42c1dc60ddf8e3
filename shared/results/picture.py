"""Renders the picture of a result: chooses what is shown, in which colours, names and counts."""

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

# A model with more labels than that shows only those in the image in the legend.
MAX_LABELS_WITH_ZEROS: Final = 8


def render_pictures(ctx: ProcessingContext, thumbnail_sizes: Sequence[int]) -> dict[str, bytes]:
    """Return JPEG files by object name: the annotated picture, and a thumbnail of it for each size."""
    picture = render(ctx)
    thumbnails = {f"thumbnail-{size}.jpg": codec.encode_jpeg(thumbnail(picture, size)) for size in thumbnail_sizes}
    return {"annotated.jpg": codec.encode_jpeg(picture), **thumbnails}


def render(ctx: ProcessingContext) -> Pixels:
    """Draw the context's answers on a copy of its image (h, w, 3).

    If no step has looked for anything, the image itself is returned.
    """
    if ctx.detections is None and ctx.segments is None and ctx.classification is None:
        return ctx.image
    return annotate(
        ctx.image,
        objects=_object_annotations(ctx, ctx.detections),
        segments=_segment_annotations(ctx, ctx.segments),
        tiles=ctx.tiles,  # in px of the image, which is never downscaled for sliced detection
        rows=_legend_rows(ctx),
    )


def _object_annotations(ctx: ProcessingContext, detections: Detections | None) -> Annotations:
    """Return the detections as boxes, strongest first."""
    if detections is None:
        return Annotations.empty()
    order = detections.order()
    ordered = detections[order]
    labels = ctx.labels("detect", ordered.class_ids)
    class_ids = ordered.class_ids.tolist()
    return Annotations(
        boxes_xyxy=ordered.boxes_xyxy / np.float32(downscale_factor(ctx.image_hw, ctx.image)),
        colours=_band_colours(ctx, detections, order) or [class_colour(class_id) for class_id in class_ids],
        names=[
            (f"{labels[class_id]} {confidence:.0%}", labels[class_id])
            for class_id, confidence in zip(class_ids, ordered.confidences.tolist(), strict=True)
        ],
    )


def _segment_annotations(ctx: ProcessingContext, segments: Segments | None) -> Annotations:
    """Return the segments as masks, strongest first, named with the number of detections in each if known."""
    if segments is None:
        return Annotations.empty()
    order = segments.detections.order()
    detections = segments.detections[order]
    labels = ctx.labels("segment", detections.class_ids)
    class_ids = detections.class_ids.tolist()
    if ctx.segment_index is None:
        values = [f"{confidence:.0%}" for confidence in detections.confidences.tolist()]
    else:
        values = [str(np.count_nonzero(ctx.segment_index == index)) for index in order.tolist()]
    factor = downscale_factor(ctx.image_hw, ctx.image)
    height, width = ctx.image.shape[:2]
    masks = segments.in_image(ctx.image_hw) if factor == 1 else segments.downscaled(factor, (height, width))
    return Annotations(
        boxes_xyxy=detections.boxes_xyxy / np.float32(factor),
        colours=_band_colours(ctx, segments.detections, order) or [segment_colour(each) for each in class_ids],
        names=[
            (f"{labels[class_id]} {value}", value if ctx.segment_index is not None else labels[class_id])
            for class_id, value in zip(class_ids, values, strict=True)
        ],
        masks=[masks[index] for index in order.tolist()],
    )


def _band_colours(ctx: ProcessingContext, detections: Detections, order: IndexArray) -> list[Colour] | None:
    """Return the colours of size bands, if the bands are those of these detections."""
    if ctx.bands is None or ctx.bands.source is not detections:
        return None
    colours = diverging_palette(len(ctx.bands.names))
    return [colours[band] for band in ctx.bands.band_index[order].tolist()]


def _legend_rows(ctx: ProcessingContext) -> list[LegendRow]:
    """Return the rows of classes with their confidences, and of labels or size bands with their counts."""
    rows = _class_rows(ctx, ctx.classification) if ctx.classification is not None else []
    for model_type, detections, label_colour in (
        ("segment", None if ctx.segments is None else ctx.segments.detections, segment_colour),
        ("detect", ctx.detections, class_colour),
    ):
        if detections is None:
            continue
        if ctx.bands is not None and ctx.bands.source is detections:
            rows += _band_rows(ctx)
            continue
        labels = ctx.labels(model_type, detections.class_ids)
        counts = np.bincount(detections.class_ids, minlength=len(labels)).tolist()
        with_zeros = len(labels) <= MAX_LABELS_WITH_ZEROS
        shown = [class_id for class_id in range(len(labels)) if counts[class_id] or with_zeros]
        rows += [
            LegendRow(labels[class_id], str(counts[class_id]), label_colour(class_id))
            for class_id in sorted(shown, key=lambda class_id: -counts[class_id])
        ]
    return rows


def _band_rows(ctx: ProcessingContext) -> list[LegendRow]:
    """Return for each measured label a row with its count, and a row for each of its size bands."""
    rows: list[LegendRow] = []
    for sizes in ctx.sizes or ():
        rows.append(LegendRow(sizes.label, str(sizes.count)))
        rows += [
            LegendRow(name, str(count), colour)
            for (name, count), colour in zip(sizes.bands.items(), diverging_palette(len(sizes.bands)), strict=True)
        ]
    return rows


def _class_rows(ctx: ProcessingContext, classification: Classification) -> list[LegendRow]:
    """Return a row for each class, with a bar for its confidence."""
    labels = ctx.labels("classify", classification.class_ids)
    return [
        LegendRow(labels[class_id], f"{confidence:.0%}", share=confidence)
        for class_id, confidence in zip(
            classification.class_ids.tolist(), classification.confidences.tolist(), strict=True
        )
    ]
