"""Tests of onnxcam.batching."""
