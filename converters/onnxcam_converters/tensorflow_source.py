"""Choose the source for a model of TensorFlow, by its type or file suffix.

Keras models: `keras_source`. SavedModels and frozen graphs: `tensorflow_graph_source`. TFLite files: `tflite_source`.
tf2onnx converts all of them (`tf2onnx_bridge`); `layer_tensors` matches their layers to tensors of the file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from onnxcam import paths
from onnxcam.errors import ConversionError
from onnxcam_converters.framework_errors import import_framework
from onnxcam_converters.quiet import quiet_tensorflow
from onnxcam_converters.source import Source
from onnxcam_converters.tf2onnx_bridge import OPSETS

__all__ = ["tensorflow_source"]

_Names: TypeAlias = "Sequence[str] | Mapping[str, Sequence[int | None]]"

_SUFFIXES = {".keras": "keras", ".h5": "keras", ".hdf5": "keras", ".pb": "frozen", ".tflite": "tflite"}


def tensorflow_source(
    model: Any,
    *,
    inputs: _Names | None = None,
    outputs: Sequence[str] | None = None,
    signature: str | None = None,
    opset: int | None = None,
    unsafe_pickle: bool = False,
) -> Source:
    """Return *model* as a source.

    Args:
        model: A Keras model; or the path of a ``.keras`` or ``.h5`` file, the folder of a SavedModel, a frozen graph
            (``.pb``) or a ``.tflite`` file.
        inputs: _Names of the inputs of a frozen graph; or shapes by name for a Keras model without defined inputs (a
            subclassed model), such as ``{"image": (None, 224, 224, 3)}``.
        outputs: _Names of the outputs of a frozen graph; for other models, the outputs to keep.
        signature: Name of the signature, for a SavedModel with several.
        opset: The opset of the file; default: the newest that tf2onnx writes.
        unsafe_pickle: Whether the file may run its own code (Lambda layers) and access other files.

    Raises:
        ConversionError: The file is no model of TensorFlow or Keras, or TensorFlow is not installed.
    """
    with quiet_tensorflow():
        import_framework("tensorflow", "TensorFlow")
        import_framework("tf2onnx", "tf2onnx", "tensorflow")
    opset = _supported(opset)
    if not isinstance(model, str | os.PathLike):
        from onnxcam_converters.keras_source import KerasSource

        return KerasSource(model, inputs, outputs, opset)
    path = Path(model)
    folder = paths.kind(path) == "folder"
    if not folder:
        paths.check_file(path, ConversionError, "model")
    kind = "saved" if folder else _SUFFIXES.get(path.suffix.lower())
    if kind == "keras":
        from onnxcam_converters.keras_file import load_keras
        from onnxcam_converters.keras_source import KerasSource

        return KerasSource(load_keras(path, unsafe_pickle), inputs, outputs, opset)
    if kind == "tflite":
        from onnxcam_converters.tflite_source import TFLiteSource

        return TFLiteSource(path, outputs, opset, unsafe_pickle)
    from onnxcam_converters.tensorflow_graph_source import frozen_graph, saved_model

    if kind == "saved":
        return saved_model(path, signature, outputs, opset, unsafe_pickle)
    if kind == "frozen":
        return frozen_graph(path, inputs, outputs, opset, unsafe_pickle)
    raise ConversionError(
        f"'{path}' is no model file of TensorFlow; give a .keras, .h5, .pb or .tflite file, or a SavedModel's folder"
    )


def _supported(opset: int | None) -> int:
    if opset is None:
        return max(OPSETS)
    if opset not in OPSETS:
        raise ConversionError(f"tf2onnx writes opsets {min(OPSETS)} to {max(OPSETS)}, not {opset}")
    return opset
