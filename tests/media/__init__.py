"""Tests of onnxcam.media."""
