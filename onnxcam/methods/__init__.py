"""The registry of methods. One function a method.

`activation` holds the CAM family, `gradient` the gradients at the input, `relevance` what shares out the score.
"""

from __future__ import annotations

from onnxcam.methods import activation as _activation  # the families enter their methods into the registry
from onnxcam.methods import gradient as _gradient
from onnxcam.methods import relevance as _relevance
from onnxcam.methods.base import METHODS, Method, Scene, explanation_graph, find_method

__all__ = ["METHODS", "Method", "Scene", "explanation_graph", "find_method"]

del _activation, _gradient, _relevance
