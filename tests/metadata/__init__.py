"""Tests of onnxcam.metadata."""
