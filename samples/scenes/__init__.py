"""Draw synthetic scenes of plant nurseries from a seed, with their ground truth."""

from __future__ import annotations

from samples.scenes.renderer import TENANTS, render
from samples.scenes.scene import Scene, Segment, Tenant

__all__ = ["TENANTS", "Scene", "Segment", "Tenant", "render"]
