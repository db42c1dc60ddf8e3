"""One 720p image in a fresh process by the reference: `fresh.py MODEL IMAGE`, run by the Python of .venv-peers."""

from __future__ import annotations

import sys

from ultralytics import YOLO

YOLO(sys.argv[1], task="detect").predict(sys.argv[2], verbose=False, device="cpu")
