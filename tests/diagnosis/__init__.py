"""Tests of onnxcam.diagnosis."""
