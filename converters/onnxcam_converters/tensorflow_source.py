"""Models of TensorFlow as sources: which kind was given, and who reads it.

Keras models (`keras_model`), SavedModels and frozen graphs (`graph_model`), TFLite files (`tflite_model`). tf2onnx
converts all of them (`tf2onnx_bridge`); which tensor of the file is the output of which layer is found by running both
(`places`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from onnxcam import paths
from onnxcam.errors import ConversionError
from onnxcam_converters.framework_errors import import_framework
from onnxcam_converters.source import Source
from onnxcam_converters.tf2onnx_bridge import OPSETS, quiet

Names: TypeAlias = "Sequence[str] | Mapping[str, Sequence[int | None]]"

_SUFFIXES = {".keras": "keras", ".h5": "keras", ".hdf5": "keras", ".pb": "frozen", ".tflite": "tflite"}


def tensorflow_source(
    model: Any,
    *,
    inputs: Names | None = None,
    outputs: Sequence[str] | None = None,
    signature: str | None = None,
    opset: int | None = None,
    unsafe_pickle: bool = False,
) -> Source:
    """Return *model* as a source.

    Args:
        model: A Keras model; or the path of a ``.keras`` or ``.h5`` file, the folder of a SavedModel, a frozen graph
            (``.pb``) or a ``.tflite`` file.
        inputs: Of a frozen graph, the names of its inputs; of a Keras model that does not say what it takes (a
            subclassed one), the shapes of its inputs by name, such as ``{"image": (None, 224, 224, 3)}``.
        outputs: Of a frozen graph, the names of its outputs; of another model, those to keep.
        signature: Of a SavedModel with several, the one to convert.
        opset: The opset of the file; default: the newest that tf2onnx writes.
        unsafe_pickle: Whether a file may run code that it brings along (Lambda layers) and touch other files.

    Raises:
        ConversionError: nothing that TensorFlow or Keras reads, or TensorFlow is not installed.
    """
    with quiet():
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
        from onnxcam_converters.keras_file import load
        from onnxcam_converters.keras_source import KerasSource

        return KerasSource(load(path, unsafe_pickle), inputs, outputs, opset)
    if kind == "tflite":
        from onnxcam_converters.tflite_source import TFLiteSource

        return TFLiteSource(path, outputs, opset, unsafe_pickle)
    from onnxcam_converters.tensorflow_graph_source import frozen_graph, saved_model

    if kind == "saved":
        return saved_model(path, signature, outputs, opset, unsafe_pickle)
    if kind == "frozen":
        return frozen_graph(path, inputs, outputs, opset, unsafe_pickle)
    raise ConversionError(
        f"'{path}' is nothing that TensorFlow reads; give a .keras, .h5, .pb or .tflite file, or a SavedModel's folder"
    )


def _supported(opset: int | None) -> int:
    if opset is None:
        return max(OPSETS)
    if opset not in OPSETS:
        raise ConversionError(f"tf2onnx writes opsets {min(OPSETS)} to {max(OPSETS)}, not {opset}")
    return opset
