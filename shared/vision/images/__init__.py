"""Decodes, encodes and resamples images, and fits them into the canvas of a model."""
