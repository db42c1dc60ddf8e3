"""SizeStatisticsStep: object sizes of each label, and how many objects are in each size band."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Final, Literal

import numpy as np

from shared.errors import InvalidPipeline
from shared.ml.output_layout import ModelType
from shared.processing_context import ProcessingContext, SizeBands, SizeStatistics
from shared.processors.options import JsonOptions
from shared.vision.arrays import Float64Array, IndexArray, Int64Array

Bands = tuple[tuple[str, float | None], ...]

DEFAULT_BANDS: Final[Bands] = (("small", -1.0), ("medium", 1.0), ("large", None))
# Areas of equal boxes differ by rounding in single precision; a smaller deviation counts as none.
MIN_RELATIVE_DEVIATION: Final = 1e-4


def _parse_bands(bands: Sequence[Mapping[str, Any]]) -> Bands:
    """Parse bands, with 1 and 1.0 as one limit: they have one digest.

    Raises:
        InvalidPipeline: Limits do not increase, only the last band has none, or a name occurs twice.
    """
    parsed = tuple((band["name"], None if band.get("below") is None else float(band["below"])) for band in bands)
    limits = [limit for _, limit in parsed[:-1] if limit is not None]
    if parsed[-1][1] is not None or len(limits) != len(parsed) - 1 or limits != sorted(set(limits)):
        raise InvalidPipeline("bands: `below` must increase from band to band, and be absent in the last")
    if len({name for name, _ in parsed}) != len(parsed):
        raise InvalidPipeline("bands: names must be unique")
    return parsed


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeStatisticsStep(JsonOptions):
    """Sorts objects into size bands by the z-score of their area.

    A z-score is (area - mean) / standard deviation (of the population) among the objects of the same label.
    `of`: Detections by the area of their boxes, or segments by that of their masks, in image px. `bands`: Names,
    each with the z-score below which an object is in the band; the last has None and takes the rest.
    """

    model_types: ClassVar[tuple[ModelType, ...]] = ()
    needs_full_resolution: ClassVar[bool] = False

    of: Literal["detections", "segments"] = "detections"
    bands: Bands = field(default=DEFAULT_BANDS, metadata={"parse": _parse_bands})

    def execute(self, ctx: ProcessingContext) -> ProcessingContext:
        """Set `sizes` and `bands`.

        Raises:
            InvalidPipeline: There are no such objects yet.
        """
        if self.of == "detections" and ctx.detections is not None:
            model_type, objects = "detect", ctx.detections
            sides = objects.boxes_xyxy[:, 2:].astype(np.float64) - objects.boxes_xyxy[:, :2]
            areas = sides.prod(axis=1)
        elif self.of == "segments" and ctx.segments is not None:
            model_type, objects = "segment", ctx.segments.detections
            areas = ctx.segments.areas
        else:
            raise InvalidPipeline(f"size_statistics needs a step before it that makes {self.of}")
        labels = ctx.labels(model_type, objects.class_ids)
        band_index = np.zeros(len(objects), np.int64)
        sizes = []
        for class_id in np.unique(objects.class_ids).tolist():
            same = objects.class_ids == class_id
            band_index[same] = self._band_index(areas[same])
            sizes.append(self._statistics(labels[class_id], areas[same], band_index[same]))
        names = tuple(name for name, _ in self.bands)
        return replace(
            ctx, sizes=tuple(sizes), bands=SizeBands(source=objects, names=names, band_index=band_index)
        )

    def _band_index(self, areas: Float64Array) -> IndexArray:
        """Return the band (n,) of each area (n,), all of one label."""
        mean, deviation = areas.mean(), areas.std()
        differ = deviation > MIN_RELATIVE_DEVIATION * mean
        scores = ((areas - mean) / deviation).round(9) if differ else np.zeros(len(areas))
        limits = [limit for _, limit in self.bands if limit is not None]
        return np.searchsorted(limits, scores, side="right")

    def _statistics(self, label: str, areas: Float64Array, bands: Int64Array) -> SizeStatistics:
        counts = np.bincount(bands, minlength=len(self.bands)).tolist()
        return SizeStatistics(
            label=label,
            count=len(areas),
            mean_area=float(areas.mean()),
            deviation=float(areas.std()),
            bands={name: counts[index] for index, (name, _) in enumerate(self.bands)},
        )
