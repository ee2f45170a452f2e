"""ONNX files and nodes: read, write, check, emit and fold them. Nothing here differentiates."""
