"""Operators that keep each cell of a grid at its place."""

from __future__ import annotations

import onnx_ir as ir

from onnxcam.graph.operators import Trait, operators
from onnxcam.structure.operands import rank_of
from onnxcam.structure.span import Tracked

__all__ = ["is_pointwise"]

_POINTWISE = operators(Trait.ACTIVATES | Trait.ARITHMETIC | Trait.COPIES | Trait.COMPARES | Trait.LOGIC | Trait.GATES)
_POINTWISE |= operators(Trait.QUANTISES | Trait.REORDERS | Trait.SELECTS | Trait.AVERAGES)
_POINTWISE |= {
    "CastLike",
    "Dropout",
    "Where",
    "Expand",
    "Max",
    "Min",
    "Mean",
    "Sum",
    "Pow",
    "Sqrt",
    "Exp",
    "Log",
    "Abs",
}
_POINTWISE |= {"Neg", "Reciprocal", "Floor", "Ceil", "Round", "Sign", "Sin", "Cos", "IsNaN", "IsInf", "Mod"}
_POINTWISE |= {"ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceProd", "ReduceSumSquare"}
_POINTWISE |= {"ArgMax", "ArgMin", "LRN", "LogSoftmax", "Hardmax", "DynamicQuantizeLinear", "RandomNormalLike"}
_POINTWISE |= {"QuickGelu", "FastGelu", "BiasGelu", "BiasAdd", "BiasSplitGelu"}

_PRODUCTS = frozenset(("MatMul", "Gemm", "QLinearMatMul", "QGemm", "MatMulInteger", "MatMulIntegerToFloat"))
_PRODUCTS |= {"DynamicQuantizeMatMul", "MatMulNBits"}


def is_pointwise(node: ir.Node, tracked: Tracked) -> bool:
    """Whether *node* computes each cell of a tensor from the same cell, or from statistics of all cells."""
    name = node.op_type
    if name in _PRODUCTS:
        last = (rank_of(node.outputs[0]) or 4) - 1
        return all(span.axis is None or span.axis < last for span in tracked.spans)
    return name in _POINTWISE or name.endswith("Normalization") or name.startswith("QLinear")
