"""ProcessingContext: what travels from step to step. Frozen; a step gives a new one with its answer added."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from shared.ml.onnx_model import OnnxModel
from shared.vision.arrays import Int64Array, Pixels, SizeHW
from shared.vision.boxes.detections import Detections
from shared.vision.classification import Classification
from shared.vision.images.letterbox import Resampling
from shared.vision.masks.segments import Segments


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeStatistics:
    """The sizes of one label's objects: mean and deviation of their areas in px, and how many are in each band."""

    label: str
    count: int
    mean_area: float
    deviation: float
    bands: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SizeBands:
    """Which size band each object is in: `of_objects` (n,) places in `names`, in the order of `measured`."""

    source: Detections
    names: tuple[str, ...]
    band_index: Int64Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProcessingContext:
    """One image of one tenant on its way through the steps.

    `image`: (h, w, 3) uint8 RGB, upright; in a `fast` reading perhaps at a half, a quarter or an eighth of its
    size. All else is in px of the image itself, which is `image_hw` (height, width). What no step has looked for
    is None; an empty answer means that a step looked and found nothing. `models` are those that answered, by model
    type. `tiles` (n, 4) xyxy image px are where sliced detection looked; `homes` (n,) the segment that each
    detection is in, -1: none. `bands` are those of the objects that `sizes` sums up, as long as it is those that
    are in the context. `run_lengths` and `aggregated`: the result is to have segments' masks as run lengths, and
    counts of each.
    """

    tenant_id: str
    image: Pixels
    original_hw: SizeHW | None = None  # of the image, where `image` is smaller
    resampling: Resampling = "exact"
    worker_id: int = 0
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
        height, width = self.original_hw or self.image.shape[:2]
        return height, width

    def labels(self, model_type: str, class_ids: Int64Array) -> tuple[str, ...]:
        """The labels of that model, enough for these ids."""
        return self.models[model_type].export.labels_for(class_ids)
