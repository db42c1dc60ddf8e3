"""Draws the plan's scenes as image files, in processes of its own. It uploads nothing."""

import io
import multiprocessing
import multiprocessing.connection
import multiprocessing.pool
import os
import signal
import threading
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker

import numpy as np
import numpy.typing as npt
from PIL import Image

from examples.scenes import render
from local.demo.plan import Picture

DRAWING_TIMEOUT_S = 90.0
QUALITY = 90


@dataclass(frozen=True, eq=False)
class Drawing:
    """A scene as a file, with its truth."""

    picture: Picture
    data: bytes
    classes: tuple[str, ...]  # the tenant's labels
    labels: tuple[str, ...]  # (n,) of each object
    boxes_xyxy: npt.NDArray[np.float32]  # (n, 4) image px


def draw(picture: Picture) -> Drawing:
    scene = render(picture.tenant_id, seed=picture.seed, size_wh=picture.size_wh, plant_px=picture.plant_px)
    file = io.BytesIO()
    Image.fromarray(scene.image).save(file, picture.format, quality=QUALITY)
    labels = tuple(scene.labels[class_id] for class_id in scene.class_ids.tolist())
    return Drawing(picture, file.getvalue(), scene.labels, labels, scene.boxes_xyxy)


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
