"""A linear layer y = x ⋆ w + b, and the parts of its input and weights by sign."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxcam.autodiff import core
from onnxcam.autodiff.rules import STANDARD
from onnxcam.autodiff.rules.compose import copied
from onnxcam.autodiff.table import V
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.fold import constant
from onnxcam.graph.operators import Trait, operators

__all__ = ["LinearLayer", "negative_part", "nonnegative", "positive_part"]

_NONNEGATIVE = operators(Trait.NONNEGATIVE)
# Not Pad and Resize, which may give negative numbers, nor Where, which reads other inputs.
_KEEPS_SIGN = operators(Trait.MOVES | Trait.SELECTS | Trait.AVERAGES | Trait.QUANTISES) | {"Mean"}
_KEEPS_SIGN -= {"Pad", "Resize", "Where"}


@dataclass(frozen=True)
class LinearLayer:
    """A product y = x ⋆ w + b, and its parts by sign."""

    op: Emitter
    node: ir.Node
    at: int  # which input is x
    x: V
    w: V
    b: V | None

    @classmethod
    def of(cls, op: Emitter, node: ir.Node, xs: Sequence[V | None], at: int) -> LinearLayer:
        """Read *node*, whose inputs are *xs*, the activation at index *at*."""
        x, w, b = (xs[at], xs[1 - at], *xs[2:], None)[:3]
        assert x is not None
        assert w is not None
        return cls(op, node, at, x, w, b)

    @property
    def y(self) -> V:
        """The output; x ⋆ w if the bias of the node was left out."""
        whole = self.b is not None or not any(self.node.inputs[2:])
        return self.node.outputs[0] if whole else self.forward(self.x, self.w)

    def forward(self, x: V, w: V, b: V | None = None) -> V:
        """Return x ⋆ w + b."""
        operands = [x, w] if self.at == 0 else [w, x]
        attributes = copied(self.node, *self.node.attributes)
        y: V = self.op.emit(self.node.op_type, [*operands, *([] if b is None else [b])], attributes=attributes)
        y.shape, y.type = self.node.outputs[0].shape, self.node.outputs[0].type
        return y

    def back(self, c: V, w: V) -> V:
        """Return wᵀ ⋆ c."""
        operands = [self.x, w] if self.at == 0 else [w, self.x]
        gradients = STANDARD.find(self.node).function(self.op, self.node, c, *operands)
        g = gradients[self.at]
        return core.dense(self.op, g() if callable(g) else g, self.x)

    def signed_forward(self, up: V, down: V, b: V | None) -> V:
        """Return x⁺ ⋆ up + x⁻ ⋆ down + b."""
        y = self.forward(positive_part(self.op, self.x), up, b)
        return y if nonnegative(self.x) else self.op.Add(y, self.forward(negative_part(self.op, self.x), down))

    def signed_back(self, c: V, up: V, down: V) -> V:
        """Return x⁺ ⊙ upᵀ c + x⁻ ⊙ downᵀ c."""
        op = self.op
        r = op.Mul(positive_part(op, self.x), self.back(c, up))
        return r if nonnegative(self.x) else op.Add(r, op.Mul(negative_part(op, self.x), self.back(c, down)))


def positive_part(op: Emitter, x: V) -> V:
    """Return x⁺ = max(x, 0)."""
    return x if nonnegative(x) else op.Relu(x)


def negative_part(op: Emitter, x: V) -> V:
    """Return x⁻ = min(x, 0)."""
    return op.Sub(x, op.Relu(x))


def nonnegative(x: V | None) -> bool:
    """Whether *x* is known to be at least 0."""
    node = None if x is None else x.producer()
    if node is None:
        return False
    if node.op_type == "Clip":
        low = constant(node.inputs[1]) if len(node.inputs) > 1 else None
        return low is not None and bool((low >= 0).all())
    if node.op_type in _NONNEGATIVE:
        return True
    if node.op_type in ("Add", "Sum", "Concat"):
        return all(map(nonnegative, node.inputs))
    return node.op_type in _KEEPS_SIGN and nonnegative(node.inputs[0])
