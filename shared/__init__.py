"""Knows the problem: tenants, models, images and results."""
