"""The registry of explanation methods, and the methods by family, one function each.

- `activation`: class activation maps; `principal`: those along the principal component; `composite`: those of several
  classes or layers.
- `attention`: maps of attention probabilities. `fullgrad`: the sum over all layers.
- `gradient`: maps at the input. `relevance`: relevance propagation and DeepLIFT.
- `sampling`, `paths`, `perturbation`, `superpixels`, `concepts`: methods of many passes.
"""

from __future__ import annotations

from onnxcam.methods import activation as _activation  # registers its methods, as the other families do
from onnxcam.methods import attention as _attention
from onnxcam.methods import composite as _composite
from onnxcam.methods import concepts as _concepts
from onnxcam.methods import fullgrad as _fullgrad
from onnxcam.methods import gradient as _gradient
from onnxcam.methods import paths as _paths
from onnxcam.methods import perturbation as _perturbation
from onnxcam.methods import principal as _principal
from onnxcam.methods import relevance as _relevance
from onnxcam.methods import sampling as _sampling
from onnxcam.methods import superpixels as _superpixels
from onnxcam.methods import words as _words
from onnxcam.methods.base import METHODS, GraphMethod, Method, ProcedureMethod, find_method, method, procedure
from onnxcam.methods.context import MapContext
from onnxcam.methods.explanation_graph import explanation_graph, graph_map, head_graph
from onnxcam.methods.queries import ModelQueries
from onnxcam.methods.settings import ImageSet, read_settings

__all__ = [
    "METHODS",
    "GraphMethod",
    "ImageSet",
    "MapContext",
    "Method",
    "ModelQueries",
    "ProcedureMethod",
    "explanation_graph",
    "find_method",
    "graph_map",
    "head_graph",
    "method",
    "procedure",
    "read_settings",
]

del _activation, _attention, _composite, _concepts, _fullgrad, _gradient, _paths
del _perturbation, _principal, _relevance, _sampling, _superpixels, _words
