"""The aim at several classes at once: the log-sum-exp of their scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from onnxcam.graph.emitter import Emitter
from onnxcam.metadata.reserved import WEIGHTS
from onnxcam.targets.aim import AimAtScores, Aimed, add_input, put_out
from onnxcam.targets.scores import ScoresAt, find_scores

__all__ = ["GroupAim"]


@dataclass(frozen=True)
class GroupAim(AimAtScores):
    """log Σ_{c ∈ A} exp(y_c) − log Σ_{c ∈ B} exp(y_c), with groups A and B of classes; a term of no class is left out.

    Its gradient is Σ_c (p_c − q_c) ∂y_c, where p is the softmax of the scores within A and q that within B. Behind a
    softmax the first term is log P(A), up to a number that all classes share, and the difference is
    log P(A) / P(B). The input is [N, classes]: 1 for the classes of A, −1 for those of B, 0 for others.
    """

    input: str = WEIGHTS
    at: ScoresAt | None = None

    def emit(self, op: Emitter, batch: Any) -> Aimed:
        """Emit the terms of both groups."""
        scores = put_out(op.graph, find_scores(op.graph, op, self.at))
        signs = add_input(op.graph, self.input, [batch, scores.classes], ir.DataType.FLOAT)
        y = op.Cast(scores.real(op), to=int(ir.DataType.FLOAT))
        (plus, p), (minus, q) = (_log_sum_exp(op, y, _members(op, one)) for one in (signs, op.Neg(signs)))
        return Aimed(scores.value, scores.weighed(op, op.Sub(p, q)), op.Sub(plus, minus), {}, scores)


def _members(op: Emitter, signs: ir.Value) -> ir.Value:
    return op.Greater(signs, op.const(0.0, ir.DataType.FLOAT))


def _log_sum_exp(op: Emitter, y: ir.Value, members: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Return log Σ exp(y) over the *members*, [N], 0 for none, and the softmax of *y* among them, [N, classes]."""
    zero, low = op.const(0.0, ir.DataType.FLOAT), op.const(_LOWEST, ir.DataType.FLOAT)
    highest = op.ReduceMax(op.Where(members, y, low), [1], keepdims=1)
    powers = op.Where(members, op.Exp(op.Sub(op.Where(members, y, highest), highest)), zero)
    total = op.ReduceSum(powers, [1], keepdims=1)
    some = op.Greater(total, zero)
    sure = op.Where(some, total, op.const(1.0, ir.DataType.FLOAT))
    summed = op.Where(some, op.Add(highest, op.Log(sure)), zero)
    return op.Squeeze(summed, [1]), op.Div(powers, sure)


_LOWEST = -3.0e38
"""Below every score."""
