"""Thin clients of Cloud Storage and Pub/Sub, which turn their errors into those of `shared.errors`."""
