"""Steps: what part of the image is looked at, and where in the context the answer goes."""
