"""Decodes boxes from model outputs, suppresses and merges them, and cuts images into tiles."""
