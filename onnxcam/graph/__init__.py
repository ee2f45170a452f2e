"""ONNX files and nodes: read, write, check, emit and fold them. Nothing here differentiates."""

from typing import TYPE_CHECKING

from onnxcam._moved import renamed

if not TYPE_CHECKING:
    __getattr__ = renamed(__name__)
