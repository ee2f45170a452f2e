"""The source of a TFLite file, float or quantised; the TFLite interpreter is the reference, without gradients."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from onnxcam.errors import ConversionError
from onnxcam.text import first_line
from onnxcam.tflite_runtime import find_runtime
from onnxcam_converters import tf2onnx_bridge as bridge
from onnxcam_converters.code_scan import refuse_code
from onnxcam_converters.code_scan_tensorflow import code_in_tflite
from onnxcam_converters.inputs_outputs import random_feed, select_outputs
from onnxcam_converters.layer_names import layers_by_scope
from onnxcam_converters.layer_tensors import LayerTensor, layers_by_tensor, match_layers
from onnxcam_converters.quiet import quiet_tensorflow
from onnxcam_converters.source import Arrays, Exported

__all__ = ["TFLiteSource"]

_TOLERANCE = 1e-4
_QUANTISED_TOLERANCE = 0.2
"""Largest relative difference of a layer: TFLite rounds in integers, ONNX Runtime in floats."""


_HYBRID = frozenset(
    "CONV_2D DEPTHWISE_CONV_2D FULLY_CONNECTED BATCH_MATMUL SVDF LSTM RNN "
    "UNIDIRECTIONAL_SEQUENCE_LSTM UNIDIRECTIONAL_SEQUENCE_RNN BIDIRECTIONAL_SEQUENCE_LSTM".split()
)
"""Operators whose kernels for integer weights round float activations to 8 bits."""

_DYNAMIC_RANGE = (
    "the file has dynamic range quantisation ({}): TFLite rounds activations to 8 bits inside these kernels, and the "
    "ONNX file does not; scores differ by that rounding, which the table gives"
)


class TFLiteSource:
    """A TFLite file as a `Source`. Activations of quantised models are dequantised to float32."""

    def __init__(self, path: Path, outputs: Sequence[str] | None, opset: int, unsafe: bool = False) -> None:
        import tensorflow as tf

        self.framework = f"tensorflow lite {tf.__version__}"
        self._path, self._opset = path, opset
        refuse_code(path, code_in_tflite(path), unsafe)
        self._interpreter = _interpreter(path)
        self._inputs, self._outputs = _ends(self._interpreter)
        if len(select_outputs(self._outputs, outputs)) < len(self._outputs):
            raise ConversionError(f"'{path}' is converted with all its outputs, {', '.join(self._outputs)}")
        self._scopes, self._layers = _layers(self._interpreter.get_tensor_details())
        self._quantised = any(detail["quantization"][0] for detail in self._layers.values())
        self._hybrid = _rounds_inside(self._interpreter)
        self._layer_tensors: dict[str, LayerTensor] = {}

    def export(self, path: Path) -> Exported:
        """Convert the file, and match its layers to tensors of the ONNX file."""
        model = bridge.convert_tflite(self._path, self._opset)
        ends = self._inputs | self._outputs
        bridge.rename_scopes(model, self._scopes)
        bridge.rename_ends(model, {detail["name"]: name for name, detail in ends.items()})
        bridge.write(model, path)
        feeds = self.example(np.random.default_rng(0))
        activations = self.run(feeds, list(self._layers))
        wanted = {layer: activations[layer] for layer in self._layers if layer not in self._outputs}
        if self._quantised:
            self._layer_tensors = match_layers(path, feeds, wanted, _QUANTISED_TOLERANCE, among="DequantizeLinear")
        else:
            tolerance = _QUANTISED_TOLERANCE if self._hybrid else _TOLERANCE
            self._layer_tensors = match_layers(path, feeds, wanted, tolerance)
        precision = "int8" if self._quantised else "dynamic range" if self._hybrid else "float32"
        words = [_DYNAMIC_RANGE.format(self._hybrid)] if precision == "dynamic range" else []
        return Exported(bridge.exporter(), layers_by_tensor(self._layer_tensors), words, precision)

    def example(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Return a random array for each input."""
        return {name: random_feed(rng, _shape(detail), detail["dtype"]) for name, detail in self._inputs.items()}

    def run(self, feeds: Arrays, layers: Sequence[str]) -> dict[str, np.ndarray]:
        """Return outputs and activations computed by the interpreter."""
        with quiet_tensorflow():
            return self._run(feeds, layers)

    def _run(self, feeds: Arrays, layers: Sequence[str]) -> dict[str, np.ndarray]:
        for name, detail in self._inputs.items():
            self._interpreter.resize_tensor_input(detail["index"], feeds[name].shape)
        self._interpreter.allocate_tensors()
        for name, detail in self._inputs.items():
            self._interpreter.set_tensor(detail["index"], feeds[name])
        self._interpreter.invoke()
        known = [layer for layer in layers if layer in self._layers]
        activations = {layer: self._in_file_layout(layer, self._real(self._layers[layer])) for layer in known}
        return activations | {
            name: self._interpreter.get_tensor(detail["index"]) for name, detail in self._outputs.items()
        }

    def gradients(self, feeds: Arrays, cotangents: Arrays, layers: Sequence[str]) -> dict[str, np.ndarray]:
        """Return an empty dict: the interpreter has no gradients."""
        return {}

    def _real(self, detail: dict[str, Any]) -> np.ndarray:
        array = self._interpreter.get_tensor(detail["index"])
        scale, zero = detail["quantization"]
        return ((array.astype(np.float32) - zero) * scale).astype(np.float32) if scale else array

    def _in_file_layout(self, layer: str, array: np.ndarray) -> np.ndarray:
        place = self._layer_tensors.get(layer)
        return array if place is None else array.transpose(place.axes)


def _interpreter(path: Path) -> Any:
    """Return an interpreter that keeps all activations: LiteRT's if installed, else TensorFlow's (deprecated)."""
    runtime = find_runtime()
    if runtime is None:
        raise ConversionError("TFLite files need their interpreter; pip install 'onnxcam[tflite]'")
    plain = runtime.op_resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES  # delegates fuse operators
    with quiet_tensorflow():
        try:
            return runtime.interpreter(
                str(path), experimental_op_resolver_type=plain, experimental_preserve_all_tensors=True, num_threads=1
            )
        except (ValueError, RuntimeError) as error:
            raise ConversionError(f"'{path}' is no TFLite model: {first_line(error)}") from error


def _rounds_inside(interpreter: Any) -> str:
    """Return the operators that have float activations and integer weights, as text; empty for none."""
    types = {detail["index"]: np.dtype(detail["dtype"]) for detail in interpreter.get_tensor_details()}
    found = {
        operator["op_name"]
        for operator in interpreter._get_ops_details()
        if operator["op_name"] in _HYBRID
        and [types[index].kind for index in operator["inputs"][:2] if index in types] == ["f", "i"]
    }
    return ", ".join(sorted(found))


def _ends(interpreter: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the details of inputs and outputs by name: names of the only signature, else of the tensors."""
    signatures = list(interpreter.get_signature_list())
    if len(signatures) == 1:
        runner = interpreter.get_signature_runner(signatures[0])
        return dict(runner.get_input_details()), dict(runner.get_output_details())
    return (
        {_plain(detail["name"]): detail for detail in interpreter.get_input_details()},
        {_plain(detail["name"]): detail for detail in interpreter.get_output_details()},
    )


def _plain(name: str) -> str:
    return name.removeprefix("serving_default_").removesuffix(":0")


def _shape(detail: dict[str, Any]) -> list[int | None]:
    signature = detail.get("shape_signature", ())
    lengths = signature if len(signature) else detail["shape"]
    return [None if length < 0 else int(length) for length in lengths]


def _layers(details: Sequence[dict[str, Any]]) -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
    """Return the layer of each scope, and the last tensor of each layer.

    A fused tensor has the names of all its operations, the last first: ``model/relu/Relu;model/conv/Conv2D``.
    """
    first = {detail["index"]: detail["name"].split(";")[0] for detail in details}
    real = [
        detail
        for detail in details
        if "/" in first[detail["index"]]
        and (detail["dtype"] == np.float32 or detail["quantization"][0])
        and len(detail["shape"]) > 1
    ]
    scopes = layers_by_scope(first[detail["index"]] for detail in real)
    return scopes, {scopes[scope]: detail for detail in real if (scope := _scope(first[detail["index"]])) in scopes}


def _scope(name: str) -> str:
    return name.rpartition("/")[0]
