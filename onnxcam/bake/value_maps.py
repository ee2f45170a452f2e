"""The plan of a map of values, such as depth: the mean over a rectangle of the image, fixed or at run time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxcam.bake.dense import DenseView, image_lengths, require_even_cover, to_float
from onnxcam.bake.fixed import FixedPlan
from onnxcam.bake.plan import INPUT, BakePlan, BakeRequest, Emitted, add_input, per_image, refuse_options
from onnxcam.bake.rectangle import centres, covers, nearest_inside
from onnxcam.errors import TargetError
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.io import all_tensors
from onnxcam.metadata.reserved import REGION, SCORE
from onnxcam.model.prepared import PreparedModel
from onnxcam.structure.layout import picture_layout
from onnxcam.targets import parse
from onnxcam.targets.aim import WeightsAim
from onnxcam.targets.dense import DenseOutput
from onnxcam.targets.kinds import MeanRegion, Top
from onnxcam.targets.notation import Corners, rectangle
from onnxcam.targets.value_maps import Anomaly, Depth

__all__ = ["RegionPlan", "anomaly_plan", "region_plan"]


@dataclass(frozen=True)
class RegionPlan:
    """The mean of *values* over a rectangle, in pixels of the input tensor; of vectors the length of the mean.

    Without a rectangle, or with one at run time that lies outside, it is the default: the middle of the image, or with
    *peak* the highest value alone.
    """

    values: DenseOutput
    corners: Corners | None = None
    at_run_time: bool = False
    peak: bool = False

    @property
    def aim(self) -> WeightsAim:
        """Return weights over the map."""
        return self.values.aim

    def metadata(self) -> Mapping[str, Any]:
        """Return the input and the tensor of the map."""
        inputs = {"inputs": {REGION: [0] * 4}} if self.at_run_time else {}
        return {**inputs, "tensor": self.values.tensor}

    def emit(self, op: Emitter, subject: PreparedModel) -> Emitted:
        """Emit the mean."""
        grid = _Grid(op, DenseView(op, subject, self.values))
        target = grid.view.weigh(self._weights(op, subject, grid))
        target.score.shape = ir.Shape([subject.batch])
        return Emitted([target], {SCORE: target.score})

    def _weights(self, op: Emitter, subject: PreparedModel, grid: _Grid) -> ir.Value:
        if self.corners is not None:
            return grid.mean(per_image(op, subject, np.asarray(self.corners, np.float32)))
        if not self.at_run_time:
            return grid.top() if self.peak else grid.mean(grid.default())
        given = add_input(op, REGION, [subject.batch, 4], ir.DataType.FLOAT)
        height, width = image_lengths(op, subject.image)
        fits = op.And(covers(op, given, 0, width), covers(op, given, 1, height))
        if self.peak:
            return op.Where(op.Unsqueeze(fits, [1, 2]), grid.mean(given), grid.top())
        return grid.mean(op.Where(op.Unsqueeze(fits, [1]), given, grid.default()))


@dataclass(frozen=True)
class _Grid:
    """The cells of a map over the image."""

    op: Emitter
    view: DenseView

    @property
    def _middles(self) -> list[ir.Value]:
        """Where the centres of rows and of columns lie, in pixels."""
        pairs = zip(self.view.lengths, image_lengths(self.op, self.view.subject.image), strict=True)
        return [centres(self.op, count, length) for count, length in pairs]

    def _cells(self, corners: ir.Value) -> ir.Value:
        """Return 1 for the cells in the rectangle, [N, cells]."""
        op = self.op
        rows, columns = (nearest_inside(op, corners, 1 - axis, at) for axis, at in enumerate(self._middles))
        return op.Reshape(op.Mul(op.Unsqueeze(rows, [2]), op.Unsqueeze(columns, [1])), [0, -1])

    def mean(self, corners: ir.Value) -> ir.Value:
        """Return the weights of the mean over the rectangle, [N, channels, cells]."""
        op, cells = self.op, self._cells(corners)
        share = op.Unsqueeze(op.Div(cells, op.ReduceSum(cells, [1], keepdims=1)), [1])
        if self.view.output.channels == 1:
            return share
        mean = op.ReduceSum(op.Mul(self.view.values, share), [2], keepdims=1)
        length = op.Max(op.ReduceL2(mean, [1], keepdims=1), op.const(1e-12, ir.DataType.FLOAT))
        return op.Mul(op.Div(mean, length), share)

    @property
    def _sizes(self) -> ir.Value:
        """The values, of vectors their lengths, [N, cells]."""
        op, values = self.op, self.view.values
        return op.Squeeze(values, [1]) if self.view.output.channels == 1 else op.ReduceL2(values, [1], keepdims=0)

    def top(self) -> ir.Value:
        """Return 1 at the highest value, [N, 1, cells]."""
        return self.op.Unsqueeze(self.op.Hardmax(self._sizes, axis=1), [1])

    def default(self) -> ir.Value:
        """Return the rectangle around the middle of the image; where all is equal there, around the highest value."""
        op, sizes = self.op, self._sizes
        height, width = (to_float(op, length) for length in image_lengths(op, self.view.subject.image))
        middle = _around(
            op, op.Mul(op.Unsqueeze(height, [1]), 0.5), op.Mul(op.Unsqueeze(width, [1]), 0.5), height, width
        )
        here = op.Greater(self._cells(middle), 0.0)
        low = op.ReduceMin(op.Where(here, sizes, float("inf")), [1], keepdims=1)
        high = op.ReduceMax(op.Where(here, sizes, float("-inf")), [1], keepdims=1)
        place = op.ArgMax(sizes, axis=1, keepdims=1)
        columns = self.view.lengths[1]
        rows_at, columns_at = self._middles
        y, x = op.Gather(rows_at, op.Div(place, columns), axis=0), op.Gather(columns_at, op.Mod(place, columns), axis=0)
        return op.Where(op.Equal(low, high), _around(op, y, x, height, width), middle)


def _around(op: Emitter, y: ir.Value, x: ir.Value, height: ir.Value, width: ir.Value) -> ir.Value:
    """Return the rectangle of a quarter of the image's lengths around (*y*, *x*), [N, 4]."""
    half_x, half_y = op.Mul(width, 0.125), op.Mul(height, 0.125)
    return op.Concat(op.Sub(x, half_x), op.Sub(y, half_y), op.Add(x, half_x), op.Add(y, half_y), axis=1)


def region_plan(task: Depth, request: BakeRequest) -> RegionPlan:
    """Return the plan of a map of values."""
    return _region(task.values, request)


def anomaly_plan(task: Anomaly, request: BakeRequest) -> BakePlan:
    """Return the plan of an anomaly detector: its score, or a part of its map."""
    is_top = request.target != INPUT and isinstance(parse(request.target), Top)
    if is_top and task.score is not None:
        refuse_options(request)
        y = all_tensors(request.network.open().model.graph)[task.score]
        shape = [n if isinstance(n, int) else 1 for n in list(y.shape or ())[1 if task.batched else 0 :]]
        return FixedPlan(task.aim, np.ones(shape, np.float32))
    if task.values is None:
        raise TargetError("the model gives an anomaly score and no map; bake it with --target top")
    return _region(task.values, request, peak=True)


def _region(values: DenseOutput, request: BakeRequest, *, peak: bool = False) -> RegionPlan:
    refuse_options(request)
    if type(values) is not DenseOutput:
        raise TargetError(
            f"the scores in {values.tensor!r} cannot be baked: each cell holds several; `onnxcam explain` explains them"
        )
    require_even_cover(request.network, values, "a region of the image")
    if request.target == INPUT:
        return RegionPlan(values, at_run_time=True, peak=peak)
    wish = parse(request.target)
    if isinstance(wish, Top):
        return RegionPlan(values, peak=peak)
    if not isinstance(wish, MeanRegion):
        raise TargetError(f"target {request.target!r} cannot be baked; give top, input or region=x1,y1,x2,y2")
    _require_inside(request, wish.corners)
    return RegionPlan(values, wish.corners)


def _require_inside(request: BakeRequest, corners: Corners) -> None:
    layout = picture_layout(request.network.image)
    lengths = () if layout is None else layout.size(request.network.image)
    height, width = (n if isinstance(n, int) else np.inf for n in lengths)
    x1, y1, x2, y2 = corners
    if x2 <= max(x1, 0) or y2 <= max(y1, 0) or x1 >= width or y1 >= height:
        raise TargetError(f"the region {rectangle(corners)} does not lie in the image, {width} × {height} pixels")
