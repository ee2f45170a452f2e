"""A convolution on integers and the Add of its bias, read as one layer.

Dynamic quantisation writes y = k Cast(ConvInteger(q, w)) + b: the operator has no bias of its own. Relevance rules give
the bias of a convolution no share of its own, so they need the layer x ⋆ w + b / k, with y / k as its output.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from onnxcam.autodiff.core import Scope
from onnxcam.autodiff.rules.compose import WINDOW, copied
from onnxcam.autodiff.rules.quantized import shifted
from onnxcam.autodiff.table import V
from onnxcam.graph.emitter import Emitter

__all__ = ["IntegerLayer"]


@dataclass(frozen=True)
class IntegerLayer:
    """The layer of ConvInteger *node*, whose output *factors* scale before the bias *b* is added.

    Attributes:
        node: The ConvInteger.
        factors: Numbers and tensors, each one number or one for each channel.
        b: The bias, [1, C, 1, …].
    """

    node: ir.Node
    factors: list[V]
    b: V

    @classmethod
    def behind(cls, add: ir.Node, scope: Scope) -> IntegerLayer | None:
        """Return the layer that ends with *add*; None where it is another Add."""
        varying, others = _split(add, scope)
        if len(varying) != 1 or not _is_by_channel(others[0], add.outputs[0]):
            return None
        node, factors = varying[0].producer(), list[V]()
        while node is not None and node.op_type in ("Cast", "Mul"):
            varying, fixed = _split(node, scope)
            factors += fixed
            node = varying[0].producer() if len(varying) == 1 else None
        if node is None or node.op_type != "ConvInteger" or node.inputs[0] not in scope.active:
            return None
        return cls(node, factors, others[0])

    def emit(self, op: Emitter) -> tuple[ir.Node, V]:
        """Return the float Conv of the layer, and k."""
        q, w, zx, zw = (*self.node.inputs, None, None)[:4]
        assert q is not None
        assert w is not None
        k = self.factors[0] if self.factors else op.const(1.0, ir.DataType.FLOAT)
        for factor in self.factors[1:]:
            k = op.Mul(k, factor)
        b = op.Reshape(op.Div(self.b, k), [-1])
        y: V = op.Conv(shifted(op, q, zx, 0), shifted(op, w, zw, 0), b, **copied(self.node, *WINDOW))
        y.shape, y.type = self.node.outputs[0].shape, ir.TensorType(ir.DataType.FLOAT)
        made = y.producer()
        assert made is not None
        return made, k


def _split(node: ir.Node, scope: Scope) -> tuple[list[V], list[V]]:
    """Return the inputs of *node* that depend on the image, and the others."""
    inputs = [x for x in node.inputs if x is not None]
    return [x for x in inputs if x in scope.active], [x for x in inputs if x not in scope.active]


def _is_by_channel(b: V, y: V) -> bool:
    """Whether *b* is [1, C, 1, …] with the C channels of *y*."""
    if b.shape is None or y.shape is None or len(b.shape) != len(y.shape):
        return False
    return all(dim == (y.shape[1] if axis == 1 else 1) for axis, dim in enumerate(b.shape))
