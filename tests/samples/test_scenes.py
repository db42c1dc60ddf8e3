from __future__ import annotations

import hashlib

import numpy as np
import pytest

from samples.scenes import TENANTS, Scene, render

tenants = pytest.mark.parametrize("tenant_id", list(TENANTS))
sizes = pytest.mark.parametrize("size_wh", [(640, 480), (480, 640), (64, 64), (333, 77)])


def digest(scene: Scene) -> str:
    content = hashlib.sha256(scene.image.tobytes() + scene.boxes_xyxy.tobytes())
    for segment in scene.segments:
        content.update(segment.polygon.tobytes())
    return content.hexdigest()


@tenants
def test_scene_without_coverage_has_segments_but_no_plants(tenant_id: str) -> None:
    scene = render(tenant_id, seed=3, size_wh=(320, 240), coverage=0.0)
    plants = [state for state in scene.states if state]
    assert plants == []
    assert scene.boxes_xyxy.shape == (len(scene.class_ids), 4)
    assert scene.segments
    assert scene.image.std() > 5


@tenants
def test_same_seed_draws_the_same_bytes(tenant_id: str) -> None:
    one, other, third = (render(tenant_id, seed=s, size_wh=(320, 240)) for s in (7, 7, 8))
    assert digest(one) == digest(other)
    assert digest(one) != digest(third)


@tenants
@sizes
def test_ground_truth_lies_inside_the_image(tenant_id: str, size_wh: tuple[int, int]) -> None:
    scene = render(tenant_id, seed=11, size_wh=size_wh, plant_px=24)
    width, height = size_wh
    boxes = scene.boxes_xyxy
    assert scene.image.shape == (height, width, 3)
    assert scene.image.dtype == np.uint8
    assert scene.size_wh == size_wh
    assert len(boxes) == len(scene.class_ids) == len(scene.states)
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= size_wh).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    for segment in scene.segments:
        assert len(segment.polygon) >= 3
        assert (segment.polygon >= -0.01).all()
        assert (segment.polygon <= np.array(size_wh) + 0.01).all()


@tenants
def test_labels_states_and_segments_are_those_of_the_tenant(tenant_id: str) -> None:
    tenant, scene = TENANTS[tenant_id], render(tenant_id, seed=5, size_wh=(640, 480))
    assert scene.tenant_id == tenant_id
    assert scene.labels == tenant.labels
    assert set(scene.class_ids.tolist()) <= set(range(len(tenant.labels)))
    assert set(scene.states) <= {"", *tenant.states}
    assert {segment.label for segment in scene.segments} == set(tenant.segment_labels)
    assert sum(scene.counts.values()) == len(scene.boxes_xyxy)


@tenants
@pytest.mark.parametrize("plant_px", [12, 40])
def test_plants_have_the_requested_size(tenant_id: str, plant_px: int) -> None:
    scene = render(tenant_id, seed=2, size_wh=(640, 480), plant_px=plant_px)
    sides = (scene.boxes_xyxy[:, 2:] - scene.boxes_xyxy[:, :2]).max(axis=1)
    assert 0.6 * plant_px < np.median(sides) < 1.3 * plant_px


def test_large_field_has_more_than_a_thousand_plants() -> None:
    scene = render("tenant-001", seed=1, size_wh=(2000, 1500), plant_px=20)
    assert scene.counts["plant"] > 1000


@pytest.mark.parametrize("size_wh", [(31, 640), (640, 8193)])
def test_size_out_of_range_is_rejected(size_wh: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=rf"size_wh=\({size_wh[0]}, {size_wh[1]}\) is invalid"):
        render("tenant-001", seed=1, size_wh=size_wh)


def test_unknown_tenant_is_rejected() -> None:
    with pytest.raises(KeyError):
        render("tenant-999", seed=1, size_wh=(640, 480))
