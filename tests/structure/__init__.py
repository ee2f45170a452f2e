"""Tests of onnxcam.structure."""
