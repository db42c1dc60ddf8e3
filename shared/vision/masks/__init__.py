"""Masks of segments: decoded from prototypes, traced to polygons, encoded as run lengths."""
