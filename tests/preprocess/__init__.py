"""Tests of onnxcam.preprocess."""
