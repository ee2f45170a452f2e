"""Any tensor: an element of it, the sum or mean of several."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxcam.errors import TargetError, nearest
from onnxcam.graph.infer import no_numbers
from onnxcam.targets.aim import WeightsAim
from onnxcam.targets.kinds import Element, Wish
from onnxcam.targets.task import Array, Goal, Look


@dataclass(frozen=True)
class Tensors:
    """A model as a function from a picture to tensors."""

    ranks: Mapping[str, int]  # of every tensor of numbers with a known rank
    outputs: tuple[str, ...]
    shown: str  # the outputs with their shapes
    name: str = "a model"
    wishes = (Element,)

    @classmethod
    def of(cls, graph: ir.Graph, tensors: Mapping[str, ir.Value]) -> Tensors:
        """Take in what *graph* holds."""
        ranks = {name: len(value.shape) for name, value in tensors.items() if value.shape is not None}
        shown = ", ".join(f"{value.name!r} {no_numbers(value) or value.shape}" for value in graph.outputs)
        return cls(ranks, tuple(value.name or "" for value in graph.outputs), shown)

    @property
    def examples(self) -> str:
        """Return an element of the first output."""
        first = self.outputs[0]
        return f"{first}[{', '.join('0' * max(1, self.ranks.get(first, 1)))}]"

    @property
    def aim(self) -> None:
        """Nothing is meant where nothing is said."""

    def goal(self, wish: Wish, look: Look) -> Goal:
        """Resolve *wish*: weights of one, or of one over their number."""
        assert isinstance(wish, Element)
        if wish.tensor not in self.ranks:
            raise TargetError(
                f"the model has no output called {wish.tensor!r}; there are {', '.join(self.outputs)}."
                f"{nearest(wish.tensor, self.ranks)}"
            )
        (y,) = look.tensors([wish.tensor])
        weights = np.zeros(y.shape, np.float32)
        words = f"{wish.tensor}[{', '.join(map(_spelt, wish.index))}]"
        if len(wish.index) > y.ndim:
            raise TargetError(f"{words}: {wish.tensor!r} has {y.ndim} axes, {list(y.shape)}, not {len(wish.index)}")
        try:
            weights[wish.index] = 1
        except IndexError:
            raise TargetError(f"{words} is out of range: {wish.tensor!r} has the shape {list(y.shape)}") from None
        count = int(weights.sum())
        if not count:
            raise TargetError(f"{words} holds nothing: {wish.tensor!r} has the shape {list(y.shape)}")
        single = count == 1 and all(isinstance(part, int) for part in wish.index)
        feed: Array = weights / count if wish.mean else weights
        aim = WeightsAim(wish.tensor, None)  # a tensor of one row for each object, say
        if y.ndim and len(y) == 1:
            aim, feed = WeightsAim(wish.tensor), feed[0]
        return Goal(aim, feed, words if single else f"{words}.{'mean' if wish.mean else 'sum'}()")


def _spelt(part: int | slice) -> str:
    if isinstance(part, int):
        return str(part)
    ends = ["" if end is None else str(end) for end in (part.start, part.stop, part.step)]
    return ":".join(ends if ends[2] else ends[:2])
