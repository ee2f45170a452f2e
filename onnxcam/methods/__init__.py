"""The registry of methods. One function a method, by family.

`activation` holds the CAM family, `gradient` those at the input, `sampling` and `perturbation` those of several passes.
"""

from __future__ import annotations

from onnxcam.methods import activation as _activation  # the families enter their methods into the registry
from onnxcam.methods import gradient as _gradient
from onnxcam.methods import perturbation as _perturbation
from onnxcam.methods import sampling as _sampling
from onnxcam.methods.base import METHODS, Method, Scene, explanation_graph, find_method, head_graph
from onnxcam.methods.passes import Passes, read_settings

__all__ = [
    "METHODS",
    "Method",
    "Passes",
    "Scene",
    "explanation_graph",
    "find_method",
    "head_graph",
    "read_settings",
]

del _activation, _gradient, _perturbation, _sampling
