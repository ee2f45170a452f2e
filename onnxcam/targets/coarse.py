"""Coarse scores: a quantised file that rounds boxes and scores by one scale leaves the scores a few values."""

from __future__ import annotations

import onnx_ir as ir

from onnxcam.graph.fold import constant
from onnxcam.graph.operators import Trait, operators
from onnxcam.graph.quantisation import units

__all__ = ["COARSE", "UNREADABLE", "coarse_scores", "rounded"]

COARSE = 0.1
"""Probabilities that are multiples of this have at most eleven values: a warning."""
UNREADABLE = 0.25
"""Probabilities that are multiples of more have at most four values, and no order: an error."""
_PASSES = operators(Trait.MOVES | Trait.QUANTISES) - {"Concat"}
_SCALE_AT = {"QuantizeLinear": 1, "DequantizeLinear": 1, "QLinearConcat": 0}


def coarse_scores(y: ir.Value) -> str | None:
    """Return a warning if *y* joins boxes and scores, quantised by one scale that suits the boxes only; else None."""
    known = found.known if (found := units(y)) is not None else None
    scale, value = None if known is None else known[0], y
    while (node := value.producer()) is not None:
        if node.op_type in _SCALE_AT:
            scale = _number(node.inputs[_SCALE_AT[node.op_type]]) or scale
        if node.op_type in ("Concat", "QLinearConcat"):
            return rounded("the file", scale) if scale is not None and scale >= COARSE else None
        if node.op_type not in _PASSES or node.inputs[0] is None:
            return None
        value = node.inputs[0]
    return None


def rounded(what: str, scale: float) -> str:
    """Return in words that *what* rounds boxes and scores by one *scale*."""
    return (
        f"{what} rounds boxes and scores, joined in one tensor, by one scale of {scale:.4g}: a score is a multiple "
        "of it, and no probability; quantise the model again, with boxes and scores in tensors of their own"
    )


def _number(x: ir.Value | None) -> float | None:
    known = None if x is None else constant(x)
    return float(known.item()) if known is not None and known.size == 1 else None
