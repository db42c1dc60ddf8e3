"""Slices: an image cut into tiles that overlap, looked at side by side. Knows no model; merging is elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, Self, TypeVar

import numpy as np

from shared.config import Config
from shared.errors import ImageTooLarge
from shared.runtime import deadline
from shared.runtime.event_record import stage
from shared.runtime.machine import available_cpus
from shared.vision.arrays import Int64Array, Pixels, SizeHW
from shared.vision.boxes.merge import MergeKind, OverlapMetric
from shared.vision.boxes.tiles import tile_count, tiles

T = TypeVar("T")

# Workers other than 0 run on one thread each: as many tiles at once as there are CPUs is what is fastest.
SLICE_WORKER: Final = 1
MAX_TILES: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceOptions:
    """How an image is cut, and what is one object in two tiles.

    `slice_hw` None: the model's own size. `full_image`: the whole image is looked at too, if there is more
    than one tile. Boxes of which `metric` is at least `threshold` are one object.
    """

    slice_hw: SizeHW | None = field(default=None, metadata={"option": "slice_size"})
    overlap: float = 0.2
    full_image: bool = True
    kind: MergeKind = field(default=MergeKind.GREEDYNMM, metadata={"option": "merge"})
    metric: OverlapMetric = field(default=OverlapMetric.IOS, metadata={"option": "merge_metric"})
    threshold: float = field(default=0.5, metadata={"option": "merge_threshold"})

    @classmethod
    def from_json(cls, options: Mapping[str, Any], config: Config) -> Self:
        """From options that the schema of pipelines has accepted; what they leave open, `config` says."""
        size = options.get("slice_size") or config.slice_size or None
        if isinstance(size, (int, float)):  # 640.0 is an integer in JSON
            size = [size, size]
        return cls(
            slice_hw=None if size is None else (int(size[0]), int(size[1])),
            overlap=float(options.get("overlap", config.slice_overlap)),
            full_image=options.get("full_image", True),
            kind=MergeKind(options.get("merge", MergeKind.GREEDYNMM)),
            metric=OverlapMetric(options.get("merge_metric", OverlapMetric.IOS)),
            threshold=float(options.get("merge_threshold", 0.5)),
        )

    def areas(self, image_hw: SizeHW, canvas_hw: SizeHW) -> Int64Array:
        """(n, 4) xyxy image px: the tiles, then the whole image.

        Raises:
            ImageTooLarge: there would be more than `MAX_TILES`.
        """
        slice_hw = self.slice_hw or canvas_hw
        count = tile_count(image_hw, slice_hw, self.overlap)
        if count > MAX_TILES:
            size = f"{slice_hw[1]} x {slice_hw[0]} px"
            raise ImageTooLarge(
                f"The image would be cut into {count} tiles of {size}; up to {MAX_TILES} are served"
            )
        grid = tiles(image_hw, slice_hw, self.overlap)
        if self.full_image and len(grid) > 1:
            return np.concatenate((grid, [[0, 0, image_hw[1], image_hw[0]]]))
        return grid


def min_runtime_s(areas: Int64Array, of: Callable[[SizeHW], float]) -> float:
    """Seconds that `areas` take at least, several at a time, if one of a size (h, w) takes `of` it."""
    sizes, counts = np.unique(areas[:, [3, 2]] - areas[:, [1, 0]], axis=0, return_counts=True)
    seconds = [
        count * of((height, width)) for (height, width), count in zip(sizes.tolist(), counts.tolist(), strict=True)
    ]
    return float(sum(seconds)) / available_cpus()


def each_slice(image: Pixels, areas: Int64Array, process: Callable[[Pixels], T]) -> list[T]:
    """What `process` says of each area (n, 4) xyxy of the image, in their order, several at a time."""
    ends_in_s, started = deadline.remaining_s(), time.monotonic()

    def one(area: list[int]) -> T:
        x1, y1, x2, y2 = area
        with deadline.fail_after(ends_in_s - (time.monotonic() - started)):  # as in the thread that asked
            return process(image[y1:y2, x1:x2])

    with stage("slices"), ThreadPoolExecutor(available_cpus(), thread_name_prefix="slice") as pool:
        return list(pool.map(one, areas.tolist()))
