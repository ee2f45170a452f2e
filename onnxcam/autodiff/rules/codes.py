"""Masks from the codes of quantised tensors: where a value lies strictly inside a range of codes.

Rules read codes rather than the values before rounding: ONNX Runtime fuses an operator with the QuantizeLinear behind
it only while nothing else reads its output.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxcam.autodiff.table import V
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.fold import constant
from onnxcam.graph.ranges import code_range, value_range

__all__ = ["rectified", "rounding", "unclipped"]


def rounding(y: V) -> ir.Node | None:
    """Return the QuantizeLinear that alone reads *y*, to integers with one known scale; None where there is none."""
    maker = y.producer()
    home = None if maker is None else maker.graph
    users = [node for node, _ in y.uses() if node.graph is home and (home is not None or _rounds(node))]
    if len(users) != 1 or not _rounds(users[0]) or y.is_graph_output():
        return None
    node = users[0]
    return node if node.inputs[0] is y and _units(node) is not None else None


def _rounds(node: ir.Node) -> bool:
    return node.op_type == "QuantizeLinear"


def unclipped(op: Emitter, node: ir.Node, dy: V) -> V | None:
    """Return *dy* where QuantizeLinear *node* clips nothing, by its codes; None where its input tells it as well.

    A code at an end counts as clipped on a side on which the input may lie outside.
    """
    x, known = node.inputs[0], _units(node)
    maker = None if x is None else x.producer()
    if known is None or maker is None or maker.op_type == "DequantizeLinear":
        return None
    below, above = _ends(node, known)
    masked = _between(op, node, dy, below, above)
    return op.once(("unmasked", node, masked), lambda: dy) and masked


def rectified(op: Emitter, node: ir.Node, dy: V, least: float | None, most: float | None) -> V:
    """Return *dy* where a rectifier's output is between *least* and *most*, by the codes of QuantizeLinear *node*.

    One mask stands for that and for the mask of *node*.
    """
    known = _units(node)
    assert known is not None
    scale, zero, low, high = known
    below, above = _ends(node, known)
    if least is not None:
        below = max(float(np.rint(least / scale)) + zero, low)
    if most is not None:
        above = min(float(np.rint(most / scale)) + zero, high)
    return _between(op, node, op.once(("unmasked", node, dy), lambda: dy), below, above)


def _ends(node: ir.Node, known: tuple[float, float, float, float]) -> tuple[float | None, float | None]:
    """Return the codes at which QuantizeLinear *node* may clip."""
    scale, zero, low, high = known
    least, most = value_range(node.inputs[0])
    return low if least / scale + zero < low - 0.5 else None, high if most / scale + zero > high + 0.5 else None


def _between(op: Emitter, node: ir.Node, dy: V, below: float | None, above: float | None) -> V:
    """Return *dy* where the code is more than *below* and less than *above*."""
    if below is None and above is None:
        return dy
    code = node.outputs[0]
    kind = code.dtype or ir.DataType.UINT8
    if kind not in (ir.DataType.INT8, ir.DataType.UINT8):
        code, kind = op.Cast(code, to=int(ir.DataType.FLOAT)), ir.DataType.FLOAT
    if above is None:
        return op.mask(dy, op.Greater(code, op.const(below, kind)))
    if below is None:
        return op.mask(dy, op.Less(code, op.const(above, kind)))
    return op.mask(dy, op.Equal(code, op.Clip(code, op.const(below + 1, kind), op.const(above - 1, kind))))


def _units(node: ir.Node) -> tuple[float, float, float, float] | None:
    """Return scale, zero point and ends of the codes of QuantizeLinear *node*, each one known number; else None."""
    y, scale = node.outputs[0], constant(node.inputs[1])
    shift = node.inputs[2] if len(node.inputs) > 2 else None
    zero = np.zeros(1) if shift is None else constant(shift)
    dtype = y.dtype or (shift.dtype if shift is not None else None) or ir.DataType.UINT8
    if scale is None or zero is None or scale.size != 1 or zero.size != 1 or dtype.is_floating_point():
        return None
    return float(scale.item()), float(zero.item()), *code_range(dtype)
