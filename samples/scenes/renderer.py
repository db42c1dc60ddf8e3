"""Define the tenants, and draw their scenes."""

from __future__ import annotations

import zlib
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from samples.scenes import field, greenhouse, terrace
from samples.scenes.plants import STATES
from samples.scenes.scene import Scene, Tenant

if TYPE_CHECKING:
    from collections.abc import Mapping

TENANTS: Mapping[str, Tenant] = MappingProxyType(
    {
        tenant.tenant_id: tenant
        for tenant in (
            Tenant("tenant-001", ("plant",), ("bed",), STATES),
            Tenant("tenant-002", ("seedling", "empty_cell"), ("tray",), STATES),
            Tenant("tenant-003", ("in_bloom", "in_bud"), ("bench",), STATES),
        )
    }
)

_WORLDS = {"tenant-001": field.draw, "tenant-002": greenhouse.draw, "tenant-003": terrace.draw}

CANVAS_PX = 640
_PLANT_ON_CANVAS_PX = (16.0, 44.0)  # range of diameters on a 640 px canvas


def render(
    tenant_id: str,
    *,
    seed: int,
    size_wh: tuple[int, int],
    plant_px: float | None = None,
    coverage: float | None = None,
) -> Scene:
    """Draw a scene; the same arguments give the same bytes.

    Args:
        tenant_id: One of TENANTS.
        seed: The seed of everything random.
        size_wh: Width and height, each from 32 to 8192 px.
        plant_px: The usual diameter of a plant, image px. By default plants are 16 to 44 px wide once the image is
            letterboxed to 640 px. For a picture of thousands of plants use 24 to 60 px at 4000 x 3000.
        coverage: The share of spots in which something grows; 0.0 gives an empty nursery.

    Raises:
        KeyError: The tenant is unknown.
        ValueError: The size is out of range.
    """
    tenant, draw = TENANTS[tenant_id], _WORLDS[tenant_id]
    if min(size_wh) < 32 or max(size_wh) > 8192:
        message = f"size_wh={size_wh} is invalid: each side must be from 32 to 8192 px"
        raise ValueError(message)
    rng = np.random.Generator(np.random.PCG64([zlib.crc32(tenant_id.encode()), seed]))
    random_plant_px = rng.uniform(*_PLANT_ON_CANVAS_PX) * max(size_wh) / CANVAS_PX
    random_coverage = rng.uniform(0.72, 0.98)
    builder = draw(
        rng,
        size_wh,
        random_plant_px if plant_px is None else plant_px,
        random_coverage if coverage is None else coverage,
    )
    return builder.scene(rng, tenant)
