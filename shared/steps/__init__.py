"""Steps: which part of an image a processor gets, and which field of the context its answer goes to."""
