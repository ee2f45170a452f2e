"""Tests of onnxcam.web."""
