"""Draw the plan's scenes as image files, in a pool of processes."""

import io
import multiprocessing
import multiprocessing.connection
import multiprocessing.pool
import os
import signal
import threading
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker

import numpy as np
from PIL import Image

from local.demo.plan import SceneSpec
from samples.scenes import TENANTS, Scene, render
from samples.scenes.scene import Pixels
from shared.vision.arrays import Float32Array

DRAWING_TIMEOUT_S = 90.0
IMAGE_QUALITY = 90
CLOSE_UP_SCALE = 1.3  # side of a close-up, in diameters of the plant


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """The objects that a perfect model of one type would report."""

    classes: tuple[str, ...]  # all labels that the model knows
    labels: tuple[str, ...]  # (n,) of each object
    boxes_xyxy: Float32Array  # (n, 4) image px


@dataclass(frozen=True, eq=False)
class SceneFile:
    """A scene as an image file, with its ground truth by model type."""

    spec: SceneSpec
    data: bytes
    truths: Mapping[str, GroundTruth]
    polygons: tuple[Float32Array, ...] = ()  # of each segment, (k, 2) image px


def draw_scene(spec: SceneSpec) -> SceneFile:
    """Draw one scene and encode it."""
    scene = render(spec.tenant_id, seed=spec.seed, size_wh=spec.size_wh, plant_px=spec.plant_px)
    if spec.close_up:
        return _close_up(spec, scene)
    labels = tuple(scene.labels[class_id] for class_id in scene.class_ids.tolist())
    polygons = tuple(segment.polygon for segment in scene.segments)
    boxes = np.array([(*polygon.min(0), *polygon.max(0)) for polygon in polygons], np.float32).reshape(-1, 4)
    truths = {
        "detect": GroundTruth(scene.labels, labels, scene.boxes_xyxy),
        "segment": GroundTruth(
            TENANTS[scene.tenant_id].segment_labels, tuple(segment.label for segment in scene.segments), boxes
        ),
    }
    return SceneFile(spec, _encode(spec, scene.image), truths, polygons)


def _close_up(spec: SceneSpec, scene: Scene) -> SceneFile:
    """Cut out the first plant in the wanted state whose surrounding square lies inside the scene."""
    width, height = scene.size_wh
    for (x1, y1, x2, y2), state in zip(scene.boxes_xyxy.tolist(), scene.states, strict=True):
        side = round(CLOSE_UP_SCALE * max(x2 - x1, y2 - y1))
        left, top = round((x1 + x2 - side) / 2), round((y1 + y2 - side) / 2)
        if state == spec.close_up and 0 <= left <= width - side and 0 <= top <= height - side:
            image = np.ascontiguousarray(scene.image[top : top + side, left : left + side])
            whole = np.array([[0, 0, side, side]], np.float32)
            truth = GroundTruth(TENANTS[scene.tenant_id].states, (state,), whole)
            return SceneFile(spec, _encode(spec, image), {"classify": truth})
    raise ValueError(f"{spec.path}: no plant with state {spec.close_up!r} is far enough from the scene's border")


def _encode(spec: SceneSpec, image: Pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, spec.format, quality=IMAGE_QUALITY)
    return file.getvalue()


@contextmanager
def draw_scenes(specs: Iterable[SceneSpec]) -> Generator[Iterable[SceneFile]]:
    """Draw scenes in parallel, the largest first, and give them as they are done.

    When the context ends, the processes are stopped, whether they have finished or not.
    """
    queue = sorted(specs, key=lambda spec: -spec.size_wh[0] * spec.size_wh[1])
    processes = min(len(queue), os.cpu_count() or 1, 8)
    with _pool(processes) as pool:
        files = pool.imap_unordered(draw_scene, queue)
        yield (files.next(DRAWING_TIMEOUT_S) for _ in queue)  # without a timeout, a killed process blocks for ever


def _pool(processes: int) -> multiprocessing.pool.Pool:
    """Start the pool with SIGINT blocked, so that Ctrl-C does not interrupt the imports of a new process."""
    resource_tracker.ensure_running()  # starting it later would unblock the signal
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        return multiprocessing.get_context("spawn").Pool(processes, _initialise_process)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _initialise_process() -> None:
    """Ignore Ctrl-C, on which the demo stops the pool, and exit if the demo itself dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
