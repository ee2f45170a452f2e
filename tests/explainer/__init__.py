"""Tests of onnxcam.explainer."""
