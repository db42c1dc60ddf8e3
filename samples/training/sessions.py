"""Open and run an ONNX file for evaluation, with one thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort

if TYPE_CHECKING:
    from pathlib import Path

    from samples.scenes.scene import Floats, Pixels

CONFIDENCE = 0.25  # default of the deployed detector


def open_session(path: Path) -> ort.InferenceSession:
    """Open a model."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def run_model(model: ort.InferenceSession, canvas: Pixels) -> list[Floats]:
    """Return the outputs for one canvas (h, w, 3), without the batch axis."""
    pixels = canvas.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255)
    return [output[0] for output in model.run(None, {"images": pixels})]
