"""A model file that is called like a module of PyTorch."""

from __future__ import annotations

from typing import Any

from onnxcam.compat.arrays import as_array, as_given
from onnxcam.engine import Session
from onnxcam.errors import ModelError
from onnxcam.graph.io import ModelLike, load

__all__ = ["CallableModel"]


class CallableModel:
    """A model that is called with preprocessed tensors and returns its output, or a tuple of its outputs.

    Tensors of PyTorch give tensors of PyTorch, arrays give arrays. `last` is the input of the last call, which the
    extractors of `onnxcam.compat.torchcam` explain. `eval`, `to` and their kin do nothing: a file is always in
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
        self.last: Any = None
        self._session = Session(load(source), provider)

    def __call__(self, *inputs: Any) -> Any:
        """Return the output, or the tuple of outputs, for the *inputs* in the order of the file."""
        names = self._session.inputs
        if len(inputs) != len(names):
            raise ModelError(f"the model is called with {len(inputs)} inputs and has {len(names)}: {', '.join(names)}")
        self.last = inputs[0]
        outputs = self._session.run(dict(zip(names, map(as_array, inputs), strict=True)))
        found = tuple(as_given(outputs[name], inputs[0]) for name in self._session.outputs)
        return found[0] if len(found) == 1 else found

    def eval(self) -> CallableModel:
        """Return the model."""
        return self

    def to(self, *_: Any, **__: Any) -> CallableModel:
        """Return the model."""
        return self

    cpu = cuda = eval
