"""Tests of onnxcam.graph."""
