"""Tests of onnxcam.metrics."""
