"""SlicedProcessor: slicing aided inference (SAHI): overlapping tiles, processed in parallel, answers merged.

Akyon et al., "Slicing Aided Hyper Inference and Fine-tuning for Small Object Detection", 2022,
https://arxiv.org/abs/2202.06934.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import numpy as np

from shared.errors import ImageTooLarge
from shared.processors.base_processor import ensure_enough_time
from shared.processors.box_processor import BoxProcessor
from shared.processors.options import JsonOptions
from shared.runtime import deadline
from shared.runtime.event_record import stage
from shared.runtime.machine import available_cpus
from shared.vision.arrays import Int64Array, Pixels, SizeHW
from shared.vision.boxes.detections import Detections
from shared.vision.boxes.matching import OverlapMetric
from shared.vision.boxes.merge import Merged, MergeKind, merge
from shared.vision.boxes.tiles import tile_count, tiles

if TYPE_CHECKING:
    from shared.ml.onnx_model import OnnxModel

Answer = TypeVar("Answer")
Processor = TypeVar("Processor", bound=BoxProcessor)

# A run by a worker other than 0 takes one thread. As many tiles at once as there are CPUs is the fastest then.
SLICE_WORKER: Final = 1
MAX_TILES: Final = 4096


def _slice_hw(value: Any) -> SizeHW | None:
    """Parse a side or [height, width] in px; 0 stands for the model's canvas."""
    if not value:
        return None
    height, width = (value, value) if isinstance(value, (int, float)) else value
    return int(height), int(width)


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceOptions(JsonOptions):
    """How an image is cut into tiles, and which boxes of different tiles are one object.

    `slice_hw`: Tile size (height, width) px, or None for the model's canvas. `full_image`: Process the whole image
    too if there is more than one tile. `threshold`: Boxes whose `metric` is at least this are one object.
    """

    slice_hw: SizeHW | None = field(
        default=None, metadata={"option": "slice_size", "parse": _slice_hw, "setting": "slice_size"}
    )
    overlap: float = field(default=0.2, metadata={"parse": float, "setting": "slice_overlap"})
    full_image: bool = True
    kind: MergeKind = field(default=MergeKind.GREEDYNMM, metadata={"option": "merge", "parse": MergeKind})
    metric: OverlapMetric = field(
        default=OverlapMetric.IOS, metadata={"option": "merge_metric", "parse": OverlapMetric}
    )
    threshold: float = field(default=0.5, metadata={"option": "merge_threshold", "parse": float})

    def areas(self, image_hw: SizeHW, canvas_hw: SizeHW) -> Int64Array:
        """Return the tiles, then perhaps the whole image: (n, 4) xyxy image px.

        Raises:
            ImageTooLarge: There are more than `MAX_TILES` tiles.
        """
        slice_hw = self.slice_hw or canvas_hw
        count = tile_count(image_hw, slice_hw, self.overlap)
        if count > MAX_TILES:
            raise ImageTooLarge(
                f"The image needs {count} tiles of {slice_hw[1]} x {slice_hw[0]} px; the limit is {MAX_TILES}"
            )
        grid = tiles(image_hw, slice_hw, self.overlap)
        if self.full_image and len(grid) > 1:
            return np.concatenate((grid, [[0, 0, image_hw[1], image_hw[0]]]))
        return grid


class SlicedProcessor(Generic[Processor]):
    """Base of processors that run another processor on tiles; keeps nothing of an image.

    All tiles are processed by one generation of the model, which that other processor pins.
    """

    def __init__(self, processor: Processor, *, slices: SliceOptions | None, class_agnostic: bool) -> None:
        """Wrap the processor of tiles; `class_agnostic`: merge boxes of tiles whatever their classes."""
        self._processor = processor
        self._slices = slices or SliceOptions()
        self._class_agnostic = class_agnostic

    @property
    def model(self) -> OnnxModel:
        """The model that processes the tiles."""
        return self._processor.model

    @property
    def warnings(self) -> tuple[str, ...]:
        """Options that the model cannot honour."""
        return self._processor.warnings

    def areas(self, image_hw: SizeHW) -> Int64Array:
        """Return the areas of an image that are processed: (n, 4) xyxy image px.

        Raises:
            ImageTooLarge: There are too many tiles.
        """
        return self._slices.areas(image_hw, self.model.export.canvas_hw)

    def min_runtime(self, image_hw: SizeHW) -> tuple[int, float]:
        """Return how many runs of the model an image takes, and the least seconds for all of them.

        Raises:
            ImageTooLarge: There are too many tiles.
        """
        areas = self.areas(image_hw)
        return len(areas), min_runtime_s(areas, lambda area_hw: self._processor.min_runtime(area_hw)[1])

    def _process_tiles(
        self, image: Pixels, process: Callable[[Pixels], Answer]
    ) -> list[tuple[Answer, tuple[int, int]]]:
        """Return the answer for each area of (h, w, 3) uint8 RGB, with the area's left and top in image px.

        Raises:
            ImageTooLarge: There are too many tiles, or an event has not the time for them.
            DeadlineExceeded: This event has not the time for them.
        """
        image_hw = image.shape[:2]
        areas = self.areas(image_hw)
        ensure_enough_time(*self.min_runtime(image_hw))
        answers = process_areas(image, areas, process)
        return [(answer, (left, top)) for answer, (left, top, _, _) in zip(answers, areas.tolist(), strict=True)]

    def _merge(self, detections: Detections) -> Merged:
        """Make one detection of those that different tiles have of one object; all in image px."""
        return merge(
            detections,
            kind=self._slices.kind,
            metric=self._slices.metric,
            threshold=self._slices.threshold,
            class_agnostic=self._class_agnostic,
        )


def min_runtime_s(areas: Int64Array, run_s: Callable[[SizeHW], float]) -> float:
    """Return the least seconds for areas (n, 4) xyxy that are processed in parallel, one run each.

    Args:
        areas: The areas.
        run_s: The least seconds for one area of a size (height, width).
    """
    sizes, counts = np.unique(areas[:, [3, 2]] - areas[:, [1, 0]], axis=0, return_counts=True)
    seconds = [
        count * run_s((height, width))
        for (height, width), count in zip(sizes.tolist(), counts.tolist(), strict=True)
    ]
    return float(sum(seconds)) / available_cpus()


def process_areas(image: Pixels, areas: Int64Array, process: Callable[[Pixels], Answer]) -> list[Answer]:
    """Process areas (n, 4) xyxy of an image in a thread pool, and return the answers in the areas' order."""
    remaining_s, started = deadline.remaining_s(), time.monotonic()

    def process_area(area: list[int]) -> Answer:
        x1, y1, x2, y2 = area
        # The deadline is in a context variable, which a pool's thread does not inherit.
        with deadline.fail_after(remaining_s - (time.monotonic() - started)):
            return process(image[y1:y2, x1:x2])

    with stage("slices"), ThreadPoolExecutor(available_cpus(), thread_name_prefix="slice") as pool:
        return list(pool.map(process_area, areas.tolist()))
