"""Tests of onnxcam.methods."""
