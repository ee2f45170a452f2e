"""Explanations in a notebook: `viewer`, in which opacity, class, layer and method change by a click."""

from onnxcam.notebook.viewer import viewer

__all__ = ["viewer"]
