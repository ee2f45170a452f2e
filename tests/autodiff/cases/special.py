"""Cases that the ONNX reference evaluator or shape inference cannot carry by themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import onnx

from onnxcam.autodiff import vjp
from onnxcam.testing import run
from tests.autodiff.cases import Case
from tests.optional import torch


@dataclass(frozen=True)
class Declared(Case):
    """The output's shape is declared, as the graph of a model must: onnx cannot infer it."""

    y: tuple[int | str, ...] = ()

    def model(self, shapes: Mapping[str, Any] | None = None) -> onnx.ModelProto:
        model = super().model(shapes)
        tensor = model.graph.output[0].type.tensor_type
        tensor.elem_type = onnx.TensorProto.FLOAT
        tensor.shape.ClearField("dim")
        for length in self.y:
            tensor.shape.dim.add(**({"dim_value": length} if isinstance(length, int) else {"dim_param": length}))
        return model


@dataclass(frozen=True)
class AgainstTorch(Declared):
    """The gradients, and their gradients, in float32 on ONNX Runtime are those of PyTorch."""

    function: Callable[..., torch.Tensor] = torch.clone

    def run(self, symbolic: bool = False) -> None:
        arrays = {name: x for name, x in self.inputs.items() if x is not None}
        names = [name for name in arrays if name not in self.constants]
        feeds = {name: arrays[name] for name in names}
        shapes = {name: [f"{name}{i}" for i in range(np.ndim(x))] for name, x in feeds.items()}
        tensors = {name: torch.from_numpy(x).requires_grad_(name in names) for name, x in arrays.items()}
        wanted = [tensors[name] for name in names]
        y = self.function(*tensors.values())
        dy = torch.linspace(-1, 1.5, y.numel()).reshape(y.shape)
        first = torch.autograd.grad(y, wanted, dy, create_graph=True)
        model = vjp(self.model(shapes if symbolic else None))
        feeds["y.cotangent"] = dy.numpy()
        _assert_close(model, feeds, first)
        if symbolic or self.order < 2:
            return
        u = torch.linspace(1, -0.7, wanted[0].numel()).reshape(wanted[0].shape)
        feeds[f"{names[0]}.gradient.cotangent"] = u.numpy()
        second = torch.autograd.grad(first[0], wanted, u, allow_unused=True)
        used = [name for name, gradient in zip(names, second, strict=True) if gradient is not None]
        twice = vjp(model, [f"{names[0]}.gradient"], used)
        _assert_close(twice, feeds, [gradient for gradient in second if gradient is not None])


def _assert_close(model: onnx.ModelProto, feeds: Mapping[str, Any], expected: Sequence[torch.Tensor]) -> None:
    """Assert that the last outputs of *model* are *expected*."""
    actual = list(run(model, feeds).values())[-len(expected) :]
    for got, gradient in zip(actual, expected, strict=True):
        reference = gradient.detach().numpy()
        np.testing.assert_allclose(got, reference, rtol=1e-4, atol=1e-5 * np.abs(reference).max())


def special(kind: type[Declared], like: Case, *y: int | str, **more: Any) -> Declared:
    """Return *like* as a case of *kind*, with an output of shape *y*."""
    return kind(**{field.name: getattr(like, field.name) for field in fields(Case)}, y=y, **more)
