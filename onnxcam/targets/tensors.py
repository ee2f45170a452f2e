"""Any model: an element of a tensor, or the sum or mean of several."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxcam.errors import TargetError, nearest
from onnxcam.graph.infer import no_numbers
from onnxcam.targets.aim import WeightsAim
from onnxcam.targets.goal import Array, Goal, Look
from onnxcam.targets.graph_outputs import decided
from onnxcam.targets.heads import before_copies
from onnxcam.targets.kinds import TensorElement
from onnxcam.targets.registry import TargetKind, Task, resolves

__all__ = ["Tensors"]


@dataclass(frozen=True)
class Tensors(Task):
    """Any model, as a function from an image to tensors. It has no default target."""

    ranks: Mapping[str, int]  # of every tensor of numbers with a known rank
    outputs: tuple[str, ...]
    shown: str  # the outputs with their shapes
    example: str  # a tensor with a gradient, if the outputs tell
    name: str = "a model"
    sees_centre = True

    @classmethod
    def of(cls, graph: ir.Graph, tensors: Mapping[str, ir.Value]) -> Tensors:
        """Return the task for *graph* and all its *tensors* by name."""
        ranks = {name: len(value.shape) for name, value in tensors.items() if value.shape is not None}
        shown = ", ".join(f"{value.name!r} {no_numbers(value) or value.shape}" for value in graph.outputs)
        outputs = list(graph.outputs)
        example = next((name for value in outputs if (name := _differentiable(value)) in ranks), outputs[0].name or "")
        return cls(ranks, tuple(value.name or "" for value in outputs), shown, example)

    def _examples(self, kind: type[TargetKind]) -> tuple[str, ...]:
        if kind is not TensorElement:
            return super()._examples(kind)
        return (f"{self.example}[{', '.join('0' * max(1, self.ranks.get(self.example, 1)))}]",)

    @resolves(TensorElement)
    def element(self, target: TensorElement, look: Look) -> Goal:
        """The sum or mean of elements: weights 1, or 1 / n."""
        if target.tensor not in self.ranks:
            raise TargetError(
                f"the model has no output called {target.tensor!r}; there are {', '.join(self.outputs)}."
                f"{nearest(target.tensor, self.ranks)}"
            )
        (y,) = look.tensors([target.tensor])
        if not isinstance(y, np.ndarray):
            raise TargetError(f"{target.tensor!r} is a sequence, no tensor; name another one")
        weights = np.zeros(y.shape, np.float32)
        words = target.place
        if len(target.index) > y.ndim:
            raise TargetError(f"{words}: {target.tensor!r} has {y.ndim} axes, {list(y.shape)}, not {len(target.index)}")
        try:
            weights[target.index] = 1
        except IndexError:
            raise TargetError(f"{words} is out of range: {target.tensor!r} has the shape {list(y.shape)}") from None
        count = int(weights.sum())
        if not count:
            raise TargetError(f"{words} holds nothing: {target.tensor!r} has the shape {list(y.shape)}")
        single = count == 1 and all(isinstance(part, int) for part in target.index)
        feed: Array = weights / count if target.mean else weights
        aim = WeightsAim(target.tensor, None)  # a tensor of one row for each object, say
        if y.ndim and len(y) == 1:
            aim, feed = WeightsAim(target.tensor), feed[0]
        return Goal(aim, feed, words if single else f"{words}.{'mean' if target.mean else 'sum'}()")


def _differentiable(output: ir.Value) -> str | None:
    """Return the name of *output*, or of the scores that it decides about; None where it has no gradient."""
    found = decided(output)
    if found is not None:
        return found[0].name
    node = before_copies(output).producer()
    if node is not None and node.op_type == "ArgMin" and node.inputs[0] is not None:
        return node.inputs[0].name
    return output.name if output.dtype is None or output.dtype.is_floating_point() else None
