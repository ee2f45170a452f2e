"""The plan of lanes: the mean score of a lane's best places, one for each row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxcam.bake.dense import to_float
from onnxcam.bake.indexed import ALL, BEST, IndexPlan, index_plan
from onnxcam.bake.plan import INPUT, BakeRequest
from onnxcam.errors import TargetError
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.io import all_tensors
from onnxcam.model.prepared import PreparedModel
from onnxcam.targets import parse
from onnxcam.targets.aim import Aimed, WeightsAim
from onnxcam.targets.classification import class_index
from onnxcam.targets.kinds import Class, Top
from onnxcam.targets.lanes import Lanes

__all__ = ["lane_plan"]


@dataclass(frozen=True)
class _LaneScores:
    """The lanes of *task*; the default is the one with the highest mean score."""

    task: Lanes
    noun: str = "lane"

    @property
    def aim(self) -> WeightsAim:
        """Return weights over the scores."""
        return self.task.aim

    @property
    def count(self) -> int:
        """The number of lanes."""
        return self.task.lanes

    @property
    def usual(self) -> int:
        """The number of maps of the target ``all``."""
        return self.count

    def metadata(self) -> Mapping[str, Any]:
        """Return the tensor of the lanes."""
        return {"tensor": self.task.output, "count": self.count}

    def target(self, op: Emitter, subject: PreparedModel, index: ir.Value) -> Aimed:
        """Emit the mean, over the rows, of the score of the lane's best place."""
        y = to_float(op, all_tensors(op.graph)[self.task.output])  # [N, places, rows, lanes]
        means = op.ReduceMean(op.ReduceMax(y, [1], keepdims=0), [1], keepdims=0)
        best = op.ArgMax(means, axis=1, keepdims=0)
        chosen = op.Where(op.Equal(index, op.const(np.array([BEST]))), best, index)
        own = op.Equal(op.Unsqueeze(chosen, [1, 2, 3]), op.const(np.arange(self.count)[None, None, None]))
        rows = to_float(op, op.dim(y, 2))
        return self.aim.weigh(op, op.Mul(op.Hardmax(y, axis=1), op.Div(to_float(op, own), rows)))

    def outputs(self, op: Emitter, subject: PreparedModel) -> Mapping[str, ir.Value]:
        """The scores are an output of the model."""
        return {}


def lane_plan(task: Lanes, request: BakeRequest) -> IndexPlan:
    """Return the plan of a lane detector."""
    plan = partial(index_plan, _LaneScores(task), request)
    wish = None if request.target in (INPUT, ALL) else parse(request.target, None)
    if wish is None or isinstance(wish, Top):
        return plan()
    if isinstance(wish, Class):
        return plan(class_index(wish.label, task.lanes, None))
    raise TargetError(f"target {request.target!r} cannot be baked; give top, input, all or the number of a lane")
