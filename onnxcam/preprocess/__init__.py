"""Picture → tensor.

::

    tensor      the model's input, as a picture sees it
    transform   what a preprocessing is: data that turns a picture into a tensor
    spelling    how it is spelt: presets and key=value pairs
    sources     where it comes from: the user, metadata, files beside the model, …
    guess       … or the graph
"""

from onnxcam.preprocess.parser import PRESETS, parse
from onnxcam.preprocess.sources import Spec, resolve
from onnxcam.preprocess.tensor_spec import TensorSpec, layout_of
from onnxcam.preprocess.transform import CallablePreprocess, Preprocess, stack

__all__ = [
    "PRESETS",
    "CallablePreprocess",
    "Preprocess",
    "Spec",
    "TensorSpec",
    "layout_of",
    "parse",
    "resolve",
    "stack",
]
