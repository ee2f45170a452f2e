"""Tests of onnxcam.passes."""
