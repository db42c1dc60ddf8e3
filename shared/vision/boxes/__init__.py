"""Boxes: decoded from model outputs, suppressed, tiled and merged."""
