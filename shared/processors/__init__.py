"""Processors: what is in these pixels, by this tenant's model?"""
