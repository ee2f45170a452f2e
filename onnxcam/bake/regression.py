"""The plans of numbers that are no classes: one of them, or an angle that scores of ranges say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxcam.bake.dense import to_float
from onnxcam.bake.indexed import ALL, IndexPlan, index_plan
from onnxcam.bake.plan import INPUT, BakeRequest, Emitted, refuse_options
from onnxcam.errors import TargetError
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.io import all_tensors
from onnxcam.model.prepared import PreparedModel
from onnxcam.targets import parse
from onnxcam.targets.aim import Aimed, WeightsAim
from onnxcam.targets.bins import Bins
from onnxcam.targets.kinds import Top
from onnxcam.targets.regression import Regression

__all__ = ["BinsPlan", "bins_plan", "regression_plan"]


@dataclass(frozen=True)
class _OutputNumbers:
    """The numbers of an output; the default is the first one."""

    aim: WeightsAim
    count: int
    noun: str = "number"

    @property
    def usual(self) -> int:
        """The number of maps of the target ``all``."""
        return self.count

    def metadata(self) -> Mapping[str, Any]:
        """Return the tensor of the numbers."""
        return {"tensor": self.aim.tensor, "count": self.count}

    def target(self, op: Emitter, subject: PreparedModel, index: ir.Value) -> Aimed:
        """Emit one number."""
        first = op.Max(index, op.const(np.array([0])))
        hot = op.Equal(op.Unsqueeze(first, [1]), op.const(np.arange(self.count)[None]))
        y = all_tensors(op.graph)[self.aim.tensor]
        return self.aim.weigh(op, op.Reshape(to_float(op, hot), op.Shape(y)))

    def outputs(self, op: Emitter, subject: PreparedModel) -> Mapping[str, ir.Value]:
        """The numbers are an output of the model."""
        return {}


def regression_plan(task: Regression, request: BakeRequest) -> IndexPlan:
    """Return the plan of a regression."""
    if request.target not in (INPUT, ALL) and not isinstance(parse(request.target), Top):
        raise TargetError(f"target {request.target!r} cannot be baked; give top, input, all or {task.output}[0, 0]")
    return index_plan(_OutputNumbers(task.aim, task.count), request)


@dataclass(frozen=True)
class BinsPlan:
    """An angle, Σ p_k v_k over ranges: its derivatives by the scores are p_k (v_k − angle)."""

    task: Bins

    @property
    def aim(self) -> WeightsAim:
        """Return weights over the scores."""
        return self.task.aim

    def metadata(self) -> Mapping[str, Any]:
        """Return the tensor of the scores."""
        return {"tensor": self.task.output}

    def emit(self, op: Emitter, subject: PreparedModel) -> Emitted:
        """Emit the angle's derivatives."""
        y = all_tensors(op.graph)[self.task.output]
        scores = to_float(op, op.Reshape(y, [0, -1]))
        known = op.And(
            op.GreaterOrEqual(op.ReduceMin(scores, [1], keepdims=1), 0.0),
            op.Less(op.Abs(op.Sub(op.ReduceSum(scores, [1], keepdims=1), 1.0)), 1e-3),
        )
        p, values = op.Where(known, scores, op.Softmax(scores, axis=1)), op.const(self.task.values.astype(np.float32))
        angle = op.ReduceSum(op.Mul(p, values), [1], keepdims=1)
        weights = op.Reshape(op.Mul(p, op.Sub(values, angle)), op.Shape(y))
        angle.shape = ir.Shape([subject.batch, 1])
        return Emitted([self.aim.weigh(op, weights)], {"onnxcam.angle": angle})


def bins_plan(task: Bins, request: BakeRequest) -> BinsPlan:
    """Return the plan of an angle."""
    refuse_options(request)
    if request.target == INPUT or not isinstance(parse(request.target), Top):
        raise TargetError(f"target {request.target!r} cannot be baked; give top or {task.output}[0, 0]")
    return BinsPlan(task)
