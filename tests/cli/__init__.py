"""Tests of onnxcam.cli, as a user runs it."""
