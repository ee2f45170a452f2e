"""The registry of methods, one function a method, by family.

`activation` holds the CAM family, `principal` its members along the principal component, `composite` those of several
classes or layers; `attention` the maps of attention probabilities, `fullgrad` the sum over all layers, `gradient` the
maps at the input, `relevance` what shares out the score; `sampling`, `perturbation` and `superpixels` those of several
passes.
"""

from __future__ import annotations

from onnxcam.methods import activation as _activation  # the families enter their methods into the registry
from onnxcam.methods import attention as _attention
from onnxcam.methods import composite as _composite
from onnxcam.methods import fullgrad as _fullgrad
from onnxcam.methods import gradient as _gradient
from onnxcam.methods import perturbation as _perturbation
from onnxcam.methods import principal as _principal
from onnxcam.methods import relevance as _relevance
from onnxcam.methods import sampling as _sampling
from onnxcam.methods import superpixels as _superpixels
from onnxcam.methods.base import METHODS, Method, Scene, find_method
from onnxcam.methods.explanation_graph import explanation_graph, head_graph
from onnxcam.methods.loop import Passes, Pictures, read_settings

__all__ = [
    "METHODS",
    "Method",
    "Passes",
    "Pictures",
    "Scene",
    "explanation_graph",
    "find_method",
    "head_graph",
    "read_settings",
]

del _activation, _attention, _composite, _fullgrad, _gradient, _perturbation, _principal, _relevance, _sampling
del _superpixels
