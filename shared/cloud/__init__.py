"""Thin clients of Cloud Storage and Pub/Sub: Google's errors in our words, at this seam only."""
