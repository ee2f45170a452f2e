"""Tests of onnxcam.compare."""
