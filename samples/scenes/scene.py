"""Define a scene: an image with its ground truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Segment:
    """A segment of the ground truth: one bed, tray or bench."""

    label: str
    class_id: int
    polygon: Floats  # (k, 2) xy, image px, clipped to the image; one outer ring, not closed


@dataclass(frozen=True)
class Tenant:
    """The classes of one tenant; class ids are indices into the tuples."""

    tenant_id: str
    labels: tuple[str, ...]
    segment_labels: tuple[str, ...]
    states: tuple[str, ...]


@dataclass(frozen=True)
class Scene:
    """An image with its ground truth; boxes are clipped to the image."""

    tenant_id: str
    image: Pixels  # (h, w, 3) RGB
    boxes_xyxy: Floats  # (n, 4) image px
    class_ids: Ints  # (n,) indices into labels
    labels: tuple[str, ...]  # the tenant's class names, by class id
    states: tuple[str, ...]  # (n,) the health of each object: one of the tenant's states, or ""
    segments: tuple[Segment, ...]

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height of the image in pixels."""
        return self.image.shape[1], self.image.shape[0]

    @property
    def counts(self) -> dict[str, int]:
        """The number of objects of each label; labels without objects have zero."""
        ids = self.class_ids.tolist()
        return {label: ids.count(class_id) for class_id, label in enumerate(self.labels)}
