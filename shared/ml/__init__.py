"""Models: what a file says of itself, a session made of it, and the cache that keeps it between events."""
