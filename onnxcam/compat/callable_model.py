"""A model file that is called like a module of PyTorch."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from onnxcam.compat.arrays import as_array, as_given, in_units, units_of
from onnxcam.engine import Session
from onnxcam.errors import ModelError
from onnxcam.graph.io import ModelLike, load

__all__ = ["CallListener", "CallableModel", "ModelCall"]


@dataclass(frozen=True)
class ModelCall:
    """What a model was called with.

    Attributes:
        given: The first input, as it was given.
        feeds: Every input as an array, by its name.
    """

    given: Any
    feeds: Mapping[str, NDArray[Any]]


class CallListener(Protocol):
    """What is told of each call of a model, as a forward hook of PyTorch is."""

    def hear(self, call: ModelCall) -> None:
        """Take note of *call*."""


class CallableModel:
    """A model that is called with preprocessed tensors and returns its output, or a tuple of its outputs.

    Tensors of PyTorch give tensors of PyTorch, arrays give arrays. `call_of` finds the inputs of an output; the
    extractors of `onnxcam.compat.torchcam` are `listeners`. `eval`, `to` and their kin do nothing: a file is always in
    inference, and *provider* says where it runs.

    Args:
        source: A path, the file's bytes, an `onnx.ModelProto` or an `onnx_ir.Model`.
        provider: ``"auto"``, ``"cpu"``, ``"cuda"`` or another name of `onnxcam.engine.SHORT`.

    Raises:
        ModelError: no valid model; of a call, another number of inputs.
        EngineError: ONNX Runtime refuses the model or the inputs.

    Example:
        >>> model = CallableModel("model.onnx").eval()
        >>> model(x).argmax()
    """

    def __init__(self, source: ModelLike, provider: str = "auto") -> None:
        self.source = source
        self.listeners: weakref.WeakSet[CallListener] = weakref.WeakSet()
        self._calls: dict[int, tuple[weakref.ref[Any], ModelCall]] = {}  # of the outputs that are still held
        model = load(source)
        self._units = {value.name: units_of(value) for value in model.graph.inputs}
        self._session = Session(model, provider)

    def __call__(self, *inputs: Any) -> Any:
        """Return the output, or the tuple of outputs, for the *inputs* in the order of the file."""
        names = self._session.inputs
        if len(inputs) != len(names):
            raise ModelError(f"the model is called with {len(inputs)} inputs and has {len(names)}: {', '.join(names)}")
        given = zip(names, map(as_array, inputs), strict=True)
        call = ModelCall(inputs[0], {name: in_units(one, self._units.get(name)) for name, one in given})
        outputs = self._session.run(call.feeds)
        found = tuple(as_given(outputs[name], inputs[0]) for name in self._session.outputs)
        for one in found:
            self._remember(one, call)
        for listener in self.listeners:
            listener.hear(call)
        return found[0] if len(found) == 1 else found

    def call_of(self, output: Any) -> ModelCall | None:
        """Return the call that returned *output*, or the tuple *output*; None where it is no output of this model."""
        one = output[0] if isinstance(output, tuple) and output else output
        reference, call = self._calls.get(id(one), (None, None))
        return call if reference is not None and reference() is one else None

    def _remember(self, output: Any, call: ModelCall) -> None:
        """Keep *call* as long as *output* is held."""
        if not isinstance(output, np.ndarray) and not hasattr(output, "__weakref__"):
            return  # a sequence
        key = id(output)
        self._calls[key] = weakref.ref(output, lambda _: self._calls.pop(key, None)), call

    def eval(self) -> CallableModel:
        """Return the model."""
        return self

    def to(self, *_: Any, **__: Any) -> CallableModel:
        """Return the model."""
        return self

    cpu = cuda = eval
