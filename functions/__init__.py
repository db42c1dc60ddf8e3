"""Knows the platform: who woke us, and what becomes of a failure."""
