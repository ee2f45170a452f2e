"""The range of a tensor's values, as far as the operators that make it show it."""

from __future__ import annotations

from math import inf
from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir

from onnxcam.graph.fold import constant
from onnxcam.graph.operators import Trait, operators

__all__ = ["code_range", "value_range"]

_Range = tuple[float, float]

_KEEPS = operators(Trait.RESHAPES | Trait.CUTS | Trait.REPEATS | Trait.INTERLEAVES | Trait.SELECTS)
_KEEPS |= {"Identity", "Transpose", "Split", "AveragePool", "GlobalAveragePool", "ReduceMean"}
"""Operators whose outputs lie in the range of their first input."""
_SQUASHES = {"Sigmoid": (0.0, 1.0), "HardSigmoid": (0.0, 1.0), "Softmax": (0.0, 1.0), "Tanh": (-1.0, 1.0)}


def value_range(x: ir.Value | None) -> _Range:
    """Return the least and the greatest value that *x* can have; infinite where nothing shows it."""
    node = None if x is None else x.producer()
    if node is None or node.domain != "":
        return -inf, inf
    if node.op_type in _KEEPS:
        return value_range(node.inputs[0])
    if node.op_type == "DequantizeLinear":
        return _dequantised(node)
    if node.op_type == "Concat":
        lows, highs = zip(*map(value_range, node.inputs), strict=True)
        return min(lows), max(highs)
    if node.op_type == "Relu":
        low, high = value_range(node.inputs[0])
        return max(low, 0.0), max(high, 0.0)
    if node.op_type == "Clip":
        return _clipped(node)
    least = 0.0 if node.op_type in operators(Trait.NONNEGATIVE) else -inf
    return _SQUASHES.get(node.op_type, (least, inf))


def code_range(dtype: ir.DataType) -> _Range:
    """Return the least and the greatest number of *dtype*."""
    info: Any = ml_dtypes.finfo if dtype.is_floating_point() else ml_dtypes.iinfo
    known = info(dtype.numpy())
    return float(known.min), float(known.max)


def _dequantised(node: ir.Node) -> _Range:
    x, step, shift = (*node.inputs, None)[:3]
    scale, zero = constant(step), np.zeros(1) if shift is None else constant(shift)
    if x is None or x.dtype is None or scale is None or zero is None or scale.size != 1 or zero.size != 1:
        return -inf, inf
    low, high = code_range(x.dtype)
    return (low - float(zero.item())) * float(scale.item()), (high - float(zero.item())) * float(scale.item())


def _clipped(node: ir.Node) -> _Range:
    bounds = [constant(x) for x in (*node.inputs, None, None)[1:3]]
    low, high = value_range(node.inputs[0])
    least = -inf if bounds[0] is None else float(bounds[0].item())
    most = inf if bounds[1] is None else float(bounds[1].item())
    return min(max(low, least), most), max(min(high, most), least)
