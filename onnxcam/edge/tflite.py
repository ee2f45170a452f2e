"""TFLite files: scores by their own interpreter, maps by the converted graph. The interpreter is an extra."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxcam.errors import ImageError, ModelError
from onnxcam.graph import first_line
from onnxcam.preprocess import TensorSpec, layout_of

_HEADS = {"SOFTMAX": "softmax", "LOG_SOFTMAX": "logsoftmax", "LOGISTIC": "sigmoid"}
_TRANSPARENT = ("QUANTIZE", "DEQUANTIZE", "RESHAPE", "SQUEEZE")


class Interpreter:
    """A TFLite classifier in TensorFlow Lite's interpreter.

    Args:
        path: The .tflite file: one picture in, one vector of scores out, floats or integers.

    Raises:
        ModelError: there is no interpreter, the file is no TFLite model, or no such classifier.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise ModelError(f"model file '{path}' does not exist")
        make, self.name = _interpreter()
        try:
            self._interpreter = make(model_path=str(path), num_threads=1)
            self._ops = self._interpreter._get_ops_details()  # of the file: a delegate replaces them
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"'{path}' is no TFLite model that runs: {first_line(error)}") from None
        self._input = self._only(self._interpreter.get_input_details(), 4, "takes", "one picture")
        self._output = self._only(self._interpreter.get_output_details(), 2, "gives", "one vector of class scores")
        self.classes = int(self._output["shape"][-1])

    @property
    def spec(self) -> TensorSpec:
        """The input as a picture sees it; the units of integers are those of the file."""
        signature = self._input["shape_signature"]
        lengths = signature if len(signature) else self._input["shape"]
        shape = tuple(int(length) if length > 0 else None for length in lengths)
        scale, zero = self._input["quantization"]
        units = (float(scale), int(zero)) if scale else None
        return TensorSpec(self._input["name"], np.dtype(self._input["dtype"]), shape, layout_of(shape), units)

    @property
    def units(self) -> tuple[float, int] | None:
        """Scale and zero point of the scores; None where they are floats, or integers of unknown meaning."""
        scale, zero = self._output["quantization"]
        return (float(scale), int(zero)) if scale else None

    @property
    def kind(self) -> str:
        """What the numbers inside are."""
        details = self._interpreter.get_tensor_details()
        quantised = any(len(one["quantization_parameters"]["scales"]) and one["dtype"] == np.int8 for one in details)
        return "tflite int8" if quantised else "tflite float32"

    @property
    def head(self) -> str | None:
        """What the scores come out of: softmax, logsoftmax, sigmoid, or None where they are plain."""
        makers = {int(y): op for op in self._ops for y in op["outputs"]}
        op = makers.get(self._output["index"])
        while op is not None and op["op_name"] in _TRANSPARENT:
            op = makers.get(int(op["inputs"][0]))
        return None if op is None else _HEADS.get(op["op_name"])

    def scores(self, tensor: NDArray[Any]) -> NDArray[np.float64]:
        """Return the scores [K] of one prepared picture [1, …], in real units where the file tells them."""
        index = self._input["index"]
        if tuple(self._input["shape"]) != tensor.shape:
            try:
                self._interpreter.resize_tensor_input(index, tensor.shape, strict=True)
                self._interpreter.allocate_tensors()
            except (ValueError, RuntimeError):
                wanted = [int(length) for length in self._input["shape"]]
                raise ImageError(
                    f"the picture became a tensor {list(tensor.shape)}, but '{self.path}' takes {wanted}; "
                    f"add crop={wanted[1]}x{wanted[2]} to the preprocessing"
                ) from None
        self._interpreter.set_tensor(index, np.ascontiguousarray(tensor))
        self._interpreter.invoke()
        found = self._interpreter.get_tensor(self._output["index"]).reshape(-1).astype(np.float64)
        scale, zero = self.units or (1.0, 0)
        real: NDArray[np.float64] = (found - zero) * scale
        return real

    def _only(self, details: Sequence[dict[str, Any]], rank: int, verb: str, wanted: str) -> dict[str, Any]:
        """Return the one tensor of *details* that is of *rank* but for axes of length 1."""
        if len(details) == 1:
            long = [length for length in details[0]["shape"][1:] if length != 1]
            if len(details[0]["shape"]) == 4 if rank == 4 else len(long) <= 1:
                return details[0]
        shapes = ", ".join(f"{one['name']!r} {list(map(int, one['shape']))}" for one in details)
        raise ModelError(f"'{self.path}' {verb} {shapes}; recordings are of classifiers, with {wanted}")


def _interpreter() -> tuple[Any, str]:
    """Return the interpreter, and its name: LiteRT's where it is there, else TensorFlow's."""
    if importlib.util.find_spec("ai_edge_litert") is not None:
        return importlib.import_module("ai_edge_litert.interpreter").Interpreter, "LiteRT"
    if importlib.util.find_spec("tensorflow") is not None:
        return importlib.import_module("tensorflow").lite.Interpreter, "TensorFlow Lite"
    raise ModelError("TFLite files need their interpreter; pip install 'onnxcam[tflite]'")
