"""torch-cam's extractors and overlay for ``.onnx`` files."""
