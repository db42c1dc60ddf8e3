"""The tenants of the sample world and the one way to draw a scene of theirs."""

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
_USUAL_PX = (16.0, 44.0)  # how large plants usually are on a 640 px canvas


def render(
    tenant_id: str,
    *,
    seed: int,
    size_wh: tuple[int, int],
    plant_px: float | None = None,
    coverage: float | None = None,
) -> Scene:
    """Draw a scene; the same arguments give the same bytes.

    `plant_px` is the usual diameter of a plant in image px. Left out, it is chosen so that
    plants are 16 to 44 px wide once the image is letterboxed to 640 px. For a picture of
    thousands of plants, to be cut into tiles, ask for 24 to 60 px at 4000 x 3000.
    `coverage` is the share of spots in which something grows: 0.0 gives an empty nursery.
    Raises KeyError for a tenant that is not one of TENANTS, ValueError for a silly size.
    """
    tenant, draw = TENANTS[tenant_id], _WORLDS[tenant_id]
    if min(size_wh) < 32 or max(size_wh) > 8192:
        message = f"a scene is 32 to 8192 px a side, not {size_wh[0]} x {size_wh[1]}"
        raise ValueError(message)
    rng = np.random.Generator(np.random.PCG64([zlib.crc32(tenant_id.encode()), seed]))
    usual = rng.uniform(*_USUAL_PX) * max(size_wh) / CANVAS_PX
    grown = rng.uniform(0.72, 0.98)
    canvas = draw(
        rng,
        size_wh,
        usual if plant_px is None else plant_px,
        grown if coverage is None else coverage,
    )
    return canvas.scene(rng, tenant)
