"""SizeStatisticsStep: how large the objects of each label are, and how many are unusually small or large."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, Literal, Self

import numpy as np

from shared.config import Config
from shared.errors import InvalidPipeline
from shared.ml.output_layout import ModelType
from shared.processing_context import ProcessingContext, SizeBands, SizeStatistics
from shared.vision.arrays import Float64Array, IndexArray, Int64Array

BANDS: Final[tuple[tuple[str, float | None], ...]] = (("small", -1.0), ("medium", 1.0), ("large", None))
_EQUAL: Final = 1e-4  # of the mean: boxes of one size differ by as much in single precision


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeStatisticsStep:
    """`bands`: names, each with the z-score below which an area is in it; the last takes the rest (None).

    A z-score is (area - mean) / standard deviation (of the population) among the objects of the same label.
    `of`: detections by the area of their box, or segments by that of their mask, in px of the image.
    """

    model_types: ClassVar[tuple[ModelType, ...]] = ()
    needs_full_resolution: ClassVar[bool] = False

    of: Literal["detections", "segments"] = "detections"
    bands: tuple[tuple[str, float | None], ...] = BANDS

    @classmethod
    def from_json(cls, options: Mapping[str, Any], config: Config) -> Self:  # noqa: ARG003 - as every step's
        """Raises: InvalidPipeline: limits that do not rise, or a band other than the last without one."""
        bands: tuple[tuple[str, float | None], ...] = BANDS
        if "bands" in options:
            bands = tuple((each["name"], _float(each.get("below"))) for each in options["bands"])
            limits = [limit for _, limit in bands[:-1] if limit is not None]
            if bands[-1][1] is not None or len(limits) != len(bands) - 1 or limits != sorted(set(limits)):
                raise InvalidPipeline("bands: `below` rises from band to band, and the last has none")
            if len({name for name, _ in bands}) != len(bands):
                raise InvalidPipeline("bands: two have the same name")
        return cls(of=options.get("of", "detections"), bands=bands)

    def execute(self, ctx: ProcessingContext) -> ProcessingContext:
        """Raises: InvalidPipeline: no step before has looked for what is to be measured."""
        if self.of == "detections" and ctx.detections is not None:
            model_type, found = "detect", ctx.detections
            sides = found.boxes_xyxy[:, 2:].astype(np.float64) - found.boxes_xyxy[:, :2]
            areas = sides.prod(axis=1)
        elif self.of == "segments" and ctx.segments is not None:
            model_type, found = "segment", ctx.segments.detections
            areas = ctx.segments.areas
        else:
            raise InvalidPipeline(f"size_statistics comes after a step that finds {self.of}")
        labels = ctx.labels(model_type, found.class_ids)
        of_objects = np.zeros(len(found), np.int64)
        sizes = []
        for class_id in np.unique(found.class_ids).tolist():
            same = found.class_ids == class_id
            of_objects[same] = self._bands(areas[same])
            sizes.append(self._sizes(labels[class_id], areas[same], of_objects[same]))
        names = tuple(name for name, _ in self.bands)
        return replace(ctx, sizes=tuple(sizes), bands=SizeBands(source=found, names=names, band_index=of_objects))

    def _bands(self, areas: Float64Array) -> IndexArray:
        """(n,) the band of each of these areas, which are of one label."""
        mean, deviation = areas.mean(), areas.std()
        differ = deviation > _EQUAL * mean
        scores = ((areas - mean) / deviation).round(9) if differ else np.zeros(len(areas))
        limits = [limit for _, limit in self.bands if limit is not None]
        return np.searchsorted(limits, scores, side="right")

    def _sizes(self, label: str, areas: Float64Array, bands: Int64Array) -> SizeStatistics:
        counts = np.bincount(bands, minlength=len(self.bands)).tolist()
        return SizeStatistics(
            label=label,
            count=len(areas),
            mean_area=float(areas.mean()),
            deviation=float(areas.std()),
            bands={name: counts[index] for index, (name, _) in enumerate(self.bands)},
        )


def _float(number: float | None) -> float | None:
    """1 and 1.0 are one limit, and one digest."""
    return None if number is None else float(number)
