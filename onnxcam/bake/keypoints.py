"""The plans of keypoints: heat maps with a peak for each, or a table with a row for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxcam.bake.dense import DenseView, to_float
from onnxcam.bake.fixed import fixed_goal, fixed_plan
from onnxcam.bake.indexed import ALL, BEST, IndexPlan, index_plan
from onnxcam.bake.plan import INPUT, BakePlan, BakeRequest
from onnxcam.errors import TargetError
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.io import all_tensors
from onnxcam.model.prepared import PreparedModel
from onnxcam.targets import parse
from onnxcam.targets.aim import Aimed, WeightsAim
from onnxcam.targets.dense import DenseOutput
from onnxcam.targets.keypoint_layouts import KeypointTable
from onnxcam.targets.keypoints import HeatMaps, Keypoints
from onnxcam.targets.kinds import Keypoint, Top

__all__ = ["heat_map_plan", "table_plan"]

_NOUN = "keypoint"


@dataclass(frozen=True)
class _PeakKeypoints:
    """Heat maps; the default is the keypoint with the highest peak."""

    maps: DenseOutput
    noun: str = _NOUN

    @property
    def aim(self) -> WeightsAim:
        """Return weights over the heat maps."""
        return self.maps.aim

    @property
    def count(self) -> int:
        """The number of keypoints."""
        return self.maps.channels

    @property
    def usual(self) -> int:
        """The number of maps of the target ``all``."""
        return self.count

    def metadata(self) -> Mapping[str, Any]:
        """Return the tensor of the keypoints."""
        return {"tensor": self.maps.tensor, "count": self.count}

    def target(self, op: Emitter, subject: PreparedModel, index: ir.Value) -> Aimed:
        """Emit the score of a keypoint at the peak of its heat map."""
        view = DenseView(op, subject, self.maps)
        best = op.ArgMax(op.ReduceMax(view.values, [2], keepdims=0), axis=1, keepdims=0)
        chosen = _or_best(op, index, best)
        peak = op.Hardmax(view.channel(chosen), axis=1)
        return view.weigh(op.Mul(view.hot(chosen), op.Unsqueeze(peak, [1])))

    def outputs(self, op: Emitter, subject: PreparedModel) -> Mapping[str, ir.Value]:
        """The heat maps are an output of the model."""
        return {}


@dataclass(frozen=True)
class _TableKeypoints:
    """Rows of a table; the default is the keypoint with the best score, or the first."""

    table: KeypointTable
    aim: WeightsAim
    noun: str = _NOUN

    @property
    def count(self) -> int:
        """The number of keypoints."""
        return self.table.count

    @property
    def usual(self) -> int:
        """The number of maps of the target ``all``."""
        return self.count

    def metadata(self) -> Mapping[str, Any]:
        """Return the tensor of the keypoints."""
        return {"tensor": self.table.tensor, "count": self.count}

    def target(self, op: Emitter, subject: PreparedModel, index: ir.Value) -> Aimed:
        """Emit the score of a keypoint, or its first coordinate."""
        y, column = all_tensors(op.graph)[self.table.tensor], self.table.score
        best = op.const(np.array([0])) if column is None else op.ArgMax(self._column(op, y, column), axis=1, keepdims=0)
        chosen = _or_best(op, index, best)
        rows = op.Equal(op.Unsqueeze(chosen, [1]), op.const(np.arange(self.count)[None]))
        columns = np.zeros(len(self.table.columns), np.float32)
        columns[column or 0] = 1
        hot = to_float(op, rows)
        weights = (
            op.Mul(op.Unsqueeze(hot, [1]), op.const(columns[:, None]))
            if self.table.split
            else op.Mul(op.Unsqueeze(hot, [2]), op.const(columns))
        )
        return self.aim.weigh(op, op.Reshape(weights, op.Shape(y)))

    def _column(self, op: Emitter, y: ir.Value, column: int) -> ir.Value:
        """Return one column, [N, keypoints]."""
        width = len(self.table.columns)
        table = op.Reshape(y, [-1, width, self.count] if self.table.split else [-1, self.count, width])
        return to_float(op, op.Gather(table, op.const(column), axis=1 if self.table.split else 2))

    def outputs(self, op: Emitter, subject: PreparedModel) -> Mapping[str, ir.Value]:
        """The table is an output of the model."""
        return {}


def _or_best(op: Emitter, index: ir.Value, best: ir.Value) -> ir.Value:
    return op.Where(op.Equal(index, op.const(np.array([BEST]))), best, index)


def heat_map_plan(task: HeatMaps, request: BakeRequest) -> IndexPlan:
    """Return the plan of heat maps."""
    wish = _wish(request, task.labels)
    index = BEST if wish is None else fixed_goal(request).index
    return index_plan(_PeakKeypoints(task.maps), request, BEST if index is None else index)


def table_plan(task: Keypoints, request: BakeRequest) -> BakePlan:
    """Return the plan of a table of keypoints."""
    wish = _wish(request, task.labels)
    return index_plan(_TableKeypoints(task.table, task.aim), request) if wish is None else fixed_plan(request)


def _wish(request: BakeRequest, labels: Sequence[str] | None) -> Keypoint | None:
    """Return the keypoint that the target names; None for ``top``, ``input`` and ``all``; TargetError for others."""
    wish = None if request.target in (INPUT, ALL) else parse(request.target, labels)
    if isinstance(wish, Keypoint):
        return wish
    if wish is not None and not isinstance(wish, Top):
        raise TargetError(f"target {request.target!r} cannot be baked; give top, input, all or keypoint=NAME")
    return None
