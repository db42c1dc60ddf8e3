"""Models: checks of ONNX files, their exports, sessions with bounded runs, and the cache that keeps them."""
