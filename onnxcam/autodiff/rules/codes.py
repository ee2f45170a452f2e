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

__all__ = ["clipped", "inside", "rounding"]

_STEEP = 4.0  # steps of the mask's slope to a code: from 0 to 1 between a code and the next


def rounding(y: V) -> ir.Node | None:
    """Return the QuantizeLinear that alone reads *y*, to integers with one known scale; None where there is none."""
    users = [node for node, _ in y.uses() if node.graph is not None]
    if len(users) != 1 or users[0].op_type != "QuantizeLinear" or y.is_graph_output():
        return None
    node = users[0]
    return node if node.inputs[0] is y and _units(node) is not None else None


def inside(op: Emitter, node: ir.Node, dy: V) -> V | None:
    """Return *dy* where QuantizeLinear *node* clips nothing, by its codes; None where its input tells it as well.

    A code at an end counts as clipped on a side on which the input may lie outside.
    """
    x, known = node.inputs[0], _units(node)
    if x is None or known is None or x.producer() is None or x.producer().op_type == "DequantizeLinear":  # type: ignore[union-attr]
        return None
    scale, zero, low, high = known
    least, most = value_range(x)
    below = low if least / scale + zero < low - 0.5 else None
    above = high if most / scale + zero > high + 0.5 else None
    return _between(op, node, dy, below, above)


def clipped(op: Emitter, node: ir.Node, dy: V, least: float | None, most: float | None) -> V:
    """Return *dy* where the input of QuantizeLinear *node* is between *least* and *most*, by its codes.

    The mask of QuantizeLinear itself covers a bound beyond the codes.
    """
    known = _units(node)
    assert known is not None
    scale, zero, low, high = known
    below = None if least is None else float(np.rint(least / scale)) + zero
    above = None if most is None else float(np.rint(most / scale)) + zero
    return _between(
        op,
        node,
        dy,
        None if below is None or below < low else below,
        None if above is None or above > high else above,
    )


def _between(op: Emitter, node: ir.Node, dy: V, below: float | None, above: float | None) -> V:
    """Return *dy* where the code is more than *below* and less than *above*."""
    if below is None and above is None:
        return dy
    scale, zero, _, _ = _units(node) or (1.0, 0.0, 0.0, 0.0)
    real = op.DequantizeLinear(*[node.outputs[0], *node.inputs[1:]])
    slope = _STEEP / scale
    if below is not None:
        dy = op.Mul(dy, op.HardSigmoid(real, alpha=slope, beta=-_STEEP * (below - zero) - _STEEP / 2))
    if above is not None:
        dy = op.Mul(dy, op.HardSigmoid(real, alpha=-slope, beta=_STEEP * (above - zero) - _STEEP / 2))
    return dy


def _units(node: ir.Node) -> tuple[float, float, float, float] | None:
    """Return scale, zero point and ends of the codes of QuantizeLinear *node*, each one known number; else None."""
    y, scale = node.outputs[0], constant(node.inputs[1])
    shift = node.inputs[2] if len(node.inputs) > 2 else None
    zero = np.zeros(1) if shift is None else constant(shift)
    dtype = y.dtype or (shift.dtype if shift is not None else None) or ir.DataType.UINT8
    if scale is None or zero is None or scale.size != 1 or zero.size != 1 or dtype.is_floating_point():
        return None
    if scale.dtype != np.float32:
        return None
    return float(scale.item()), float(zero.item()), *code_range(dtype)
