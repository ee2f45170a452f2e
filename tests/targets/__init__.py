"""Tests of onnxcam.targets."""
