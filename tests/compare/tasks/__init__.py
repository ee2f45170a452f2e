"""Tests of onnxcam.compare.tasks."""
