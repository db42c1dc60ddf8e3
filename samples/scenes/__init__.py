"""A sample world: pictures of nurseries, drawn from a seed, with their ground truth."""

from __future__ import annotations

from samples.scenes.scene import Scene, Segment, Tenant
from samples.scenes.worlds import TENANTS, render

__all__ = ["TENANTS", "Scene", "Segment", "Tenant", "render"]
