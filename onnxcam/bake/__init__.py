"""A map baked into a model: one more ONNX file, for any runtime."""
