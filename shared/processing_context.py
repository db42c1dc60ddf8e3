"""ProcessingContext: what steps pass on. It is frozen; a step returns a copy with its answer added."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from shared.vision.arrays import Int64Array, Pixels, SizeHW
from shared.vision.boxes.detections import Detections
from shared.vision.classification import Classification
from shared.vision.images.letterbox import Resampling
from shared.vision.masks.segments import Segments

if TYPE_CHECKING:
    from shared.ml.onnx_model import OnnxModel


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SizeStatistics:
    """Sizes of one label's objects: mean and standard deviation of areas in px, and the count in each band."""

    label: str
    count: int
    mean_area: float
    deviation: float
    bands: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SizeBands:
    """The size band of each object: `band_index` (n,) into `names`, in the order of `source`."""

    source: Detections
    names: tuple[str, ...]
    band_index: Int64Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProcessingContext:
    """One image of one tenant, and the answers of the steps so far.

    `image`: (h, w, 3) uint8 RGB, upright. With fast resampling it may be decoded at a reduced size; all other
    fields are in px of the full resolution, `image_hw`. An answer is None if no step has looked for it, and empty
    if a step has found nothing. `models`: Those that answered, by model type. `tiles`: (n, 4) xyxy, the areas of
    sliced detection. `segment_index`: (n,), for each detection the segment that contains it, -1 for none.
    `bands` is valid only while `bands.source` is the current detections. `run_lengths` and
    `include_segment_counts`: Write these of each segment into the result.
    """

    tenant_id: str
    image: Pixels
    original_hw: SizeHW | None = None  # full resolution, if `image` is decoded at a reduced size
    resampling: Resampling = "exact"
    detections: Detections | None = None
    segments: Segments | None = None
    classification: Classification | None = None
    tiles: Int64Array | None = None
    segment_index: Int64Array | None = None
    sizes: tuple[SizeStatistics, ...] | None = None
    bands: SizeBands | None = None
    run_lengths: bool = False
    include_segment_counts: bool = False
    models: Mapping[str, OnnxModel] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def image_hw(self) -> SizeHW:
        """The image's full resolution."""
        height, width = self.original_hw or self.image.shape[:2]
        return height, width

    def labels(self, model_type: str, class_ids: Int64Array) -> tuple[str, ...]:
        """Return the labels of a model, at least as many as the class ids need."""
        return self.models[model_type].export.labels_for(class_ids)
