"""Serve bare runs of the models in a folder: `python -m benchmarks.peers.bare FOLDER`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime

from benchmarks.peers.rows import ROWS, Row
from benchmarks.peers.worker import serve
from shared.runtime.machine import available_cpus


def bare(folder: Path, row: Row) -> Callable[[], object]:
    """Return a function that runs the row's model with ONNX Runtime and nothing else."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = available_cpus()
    path = folder / row.size / f"{row.model}.onnx"
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    model_input = session.get_inputs()[0]
    batch = np.random.default_rng(5).random(model_input.shape, np.float32)

    def work() -> None:
        for _ in range(row.passes):
            session.run(None, {model_input.name: batch})

    return work


if __name__ == "__main__":
    serve({row.name: partial(bare, Path(sys.argv[1]), row) for row in ROWS if row.model})
