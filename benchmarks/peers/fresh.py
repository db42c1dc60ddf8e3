"""Detect objects in one image with ultralytics, in a new process of .venv-peers: `fresh.py MODEL IMAGE`."""

from __future__ import annotations

import sys

from ultralytics import YOLO

YOLO(sys.argv[1], task="detect").predict(sys.argv[2], verbose=False, device="cpu")
