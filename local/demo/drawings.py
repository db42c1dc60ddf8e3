"""Draws the plan's scenes as image files, in processes of its own. It uploads nothing."""

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

from local.demo.plan import Picture
from samples.scenes import TENANTS, Scene, render
from samples.scenes.scene import Pixels
from shared.vision.arrays import Float32Array

DRAWING_TIMEOUT_S = 90.0
QUALITY = 90
CLOSE_UP_ROOM = 1.3  # times the plant


@dataclass(frozen=True, eq=False)
class Truth:
    """What a model of one type could find at best."""

    classes: tuple[str, ...]  # all labels that it knows
    labels: tuple[str, ...]  # (n,) of each object
    boxes_xyxy: Float32Array  # (n, 4) image px


@dataclass(frozen=True, eq=False)
class Drawing:
    """A scene as a file, with its truth by the type of the model that looks for it."""

    picture: Picture
    data: bytes
    truths: Mapping[str, Truth]
    polygons: tuple[Float32Array, ...] = ()  # of each segment, (k, 2) image px


def draw(picture: Picture) -> Drawing:
    scene = render(picture.tenant_id, seed=picture.seed, size_wh=picture.size_wh, plant_px=picture.plant_px)
    if picture.close_up:
        return _close_up(picture, scene)
    labels = tuple(scene.labels[class_id] for class_id in scene.class_ids.tolist())
    polygons = tuple(segment.polygon for segment in scene.segments)
    boxes = np.array([(*polygon.min(0), *polygon.max(0)) for polygon in polygons], np.float32).reshape(-1, 4)
    truths = {
        "detect": Truth(scene.labels, labels, scene.boxes_xyxy),
        "segment": Truth(
            TENANTS[scene.tenant_id].segment_labels, tuple(segment.label for segment in scene.segments), boxes
        ),
    }
    return Drawing(picture, _file(picture, scene.image), truths, polygons)


def _close_up(picture: Picture, scene: Scene) -> Drawing:
    """The first plant in that state around which there is room for a square."""
    width, height = scene.size_wh
    for (x1, y1, x2, y2), state in zip(scene.boxes_xyxy.tolist(), scene.states, strict=True):
        side = round(CLOSE_UP_ROOM * max(x2 - x1, y2 - y1))
        left, top = round((x1 + x2 - side) / 2), round((y1 + y2 - side) / 2)
        if state == picture.close_up and 0 <= left <= width - side and 0 <= top <= height - side:
            image = np.ascontiguousarray(scene.image[top : top + side, left : left + side])
            whole = np.array([[0, 0, side, side]], np.float32)
            truth = Truth(TENANTS[scene.tenant_id].states, (state,), whole)
            return Drawing(picture, _file(picture, image), {"classify": truth})
    raise ValueError(f"{picture.path}: no plant of the scene that is {picture.close_up} has room around it")


def _file(picture: Picture, image: Pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, picture.format, quality=QUALITY)
    return file.getvalue()


@contextmanager
def drawn(pictures: Iterable[Picture]) -> Generator[Iterable[Drawing]]:
    """The drawings as they get ready, the largest begun first. At the end no process is left, finished or not."""
    queue = sorted(pictures, key=lambda picture: -picture.size_wh[0] * picture.size_wh[1])
    processes = min(len(queue), os.cpu_count() or 1, 8)
    with _pool(processes) as pool:
        coming = pool.imap_unordered(draw, queue)
        yield (coming.next(DRAWING_TIMEOUT_S) for _ in queue)  # a process that was killed would never answer


def _pool(processes: int) -> multiprocessing.pool.Pool:
    """Started with Ctrl-C held back, for us and for them: they are not to die half imported, and loudly."""
    resource_tracker.ensure_running()  # which would unblock it
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        return multiprocessing.get_context("spawn").Pool(processes, _begin)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _begin() -> None:
    """A Ctrl-C in the terminal is for the demo, which then ends us; without the demo we end ourselves."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    threading.Thread(target=_end_with_the_demo, daemon=True).start()


def _end_with_the_demo() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
