"""Bake an explanation into a model: an ONNX file with a heat map as output, for any runtime."""
