"""Tests of onnxcam.bake."""
