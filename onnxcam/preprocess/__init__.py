"""Preprocessing: from an image to the model's input tensor.

::

    tensor_spec  the input tensor: type, layout, channels, size
    transform    a preprocessing as data, and its application to an image
    parser       presets and key=value pairs
    sources      the search for a preprocessing: user, metadata, files beside the model, graph
    baked, image_metadata, hugging_face, third_party, paddle, guess   one reader for each of these sources
"""

from onnxcam.preprocess.parser import PRESETS, parse
from onnxcam.preprocess.sources import ResolvedPreprocess, Spec, resolve
from onnxcam.preprocess.tensor_spec import TensorSpec, layout_of
from onnxcam.preprocess.transform import CallablePreprocess, Preprocess, stack

__all__ = [
    "PRESETS",
    "CallablePreprocess",
    "Preprocess",
    "ResolvedPreprocess",
    "Spec",
    "TensorSpec",
    "layout_of",
    "parse",
    "resolve",
    "stack",
]
