"""Units of quantised tensors: real value = (integer − zero point) · scale.

A tensor does not hold its units. The operators that write or read it do, also through operators that only move
elements.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam.graph.emitter import Emitter
from onnxcam.graph.fold import constant
from onnxcam.graph.operators import Trait, operators

__all__ = ["Units", "dequantised", "quantised", "units"]

_MOVES = operators(Trait.KEEPS_UNITS | Trait.INTERLEAVES) | {"Pad"}
_WRITES = {
    "QuantizeLinear": 1,
    **dict.fromkeys(("QLinearConv", "QLinearMatMul", "QLinearAdd", "QLinearMul"), 6),
    **dict.fromkeys(("QLinearSigmoid", "QLinearLeakyRelu", "QLinearSoftmax", "QLinearReduceMean"), 3),
    **dict.fromkeys(("QLinearAveragePool", "QLinearGlobalAveragePool"), 3),
    "QLinearConcat": 0,
    "QLinearWhere": 7,
    "QGemm": 7,
}
"""For operators that write a quantised tensor: the input with its scale; the zero point is the next input."""
_READS = {"DequantizeLinear": (0,), "QLinearConv": (0,), "QLinearMatMul": (0, 3), "QGemm": (0,)}
_READS |= dict.fromkeys(("QLinearAdd", "QLinearMul"), (0, 3))
_READS |= {name: (0,) for name, at in _WRITES.items() if at == 3}
"""For operators that read quantised tensors: these inputs; scale and zero point are the next two."""


@dataclass(frozen=True)
class Units:
    """Scale and zero point of a tensor, one number each."""

    scale: ir.Value
    zero: ir.Value | None

    @classmethod
    def of(cls, scale: float) -> Units:
        """Return the units of a constant *scale* without a zero point."""
        number = ir.tensor(np.array(scale, np.float64))
        return cls(ir.Value(name="scale", shape=ir.Shape([]), const_value=number), None)

    @property
    def known(self) -> tuple[float, int] | None:
        """Return scale and zero point if they are constants and valid, else None."""
        scale = constant(self.scale)
        zero = np.zeros(1, np.int64) if self.zero is None else constant(self.zero)
        if scale is None or zero is None or scale.size != 1 or zero.size != 1:
            return None
        real = float(scale.item())
        return (real, int(zero.item())) if math.isfinite(real) and real > 0 else None


def units(x: ir.Value) -> Units | None:
    """Return the units of the integers *x*, None if no operator holds them."""
    return _written(x) or _read(x)


def quantised(values: NDArray[Any], dtype: np.dtype[Any], known: tuple[float, int]) -> NDArray[Any]:
    """Return real *values* as integers *dtype* of the scale and zero point *known*, rounded and saturated."""
    (scale, zero), info = known, np.iinfo(dtype)
    return np.clip(np.rint(values / scale) + zero, info.min, info.max).astype(dtype)


def dequantised(op: Emitter, x: ir.Value, like: ir.Value) -> ir.Value:
    """Return *x* dequantised by the units of *like*; without known units, cast to float32."""
    if like.dtype is None or like.dtype.is_floating_point():
        return x
    known = units(like)
    if known is None:
        y = op.Cast(x, to=int(ir.DataType.FLOAT))
    else:
        zero = [] if known.zero is None else [op.Reshape(known.zero, [])]
        y = op.DequantizeLinear(x, op.Reshape(known.scale, []), *zero)
    y.shape = x.shape
    return y


def _written(x: ir.Value) -> Units | None:
    node = x.producer()
    while node is not None and node.op_type in _MOVES and node.inputs[0] is not None:
        node = node.inputs[0].producer()
    return None if node is None or node.op_type not in _WRITES else _pair(node, _WRITES[node.op_type])


def _read(x: ir.Value) -> Units | None:
    for node, at in x.uses():
        if at in _READS.get(node.op_type, ()):
            found = _pair(node, at + 1)
        else:
            found = _read(node.outputs[0]) if at == 0 and node.op_type in _MOVES else None
        if found is not None:
            return found
    return None


def _pair(node: ir.Node, at: int) -> Units | None:
    scale = node.inputs[at] if at < len(node.inputs) else None
    if scale is None or scale.shape is None or any(length != 1 for length in scale.shape):
        return None
    return Units(scale, node.inputs[at + 1] if at + 1 < len(node.inputs) else None)
