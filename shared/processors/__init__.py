"""Processors: what a tenant's model finds in an image. Arrays in, arrays out."""
