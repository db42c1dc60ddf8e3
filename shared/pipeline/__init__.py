"""Pipelines: their definitions by name, and the runner that takes one request through one of them."""
