"""Computes on arrays, with NumPy and Pillow, and knows no models, no tenants and no cloud services."""
