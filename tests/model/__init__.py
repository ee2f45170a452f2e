"""Tests of onnxcam.model."""
