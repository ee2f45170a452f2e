"""The plan of a segmentation: the mean score of a class over its region, the class fixed or named at run time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxcam.bake.dense import DenseView, channel, require_even_cover, to_float
from onnxcam.bake.plan import INPUT, BakeRequest, Emitted, add_input, per_image, refuse_options
from onnxcam.errors import TargetError
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.io import all_tensors
from onnxcam.metadata.reserved import CHOSEN, CLASS, POINT, SHARES
from onnxcam.model.prepared import PreparedModel
from onnxcam.targets import TOP, parse
from onnxcam.targets.aim import WeightsAim
from onnxcam.targets.classification import class_index
from onnxcam.targets.kinds import Class, ClassRegion, Top
from onnxcam.targets.query_masks import QueryMasks
from onnxcam.targets.segmentation import Segmentation

__all__ = ["SegmentationPlan", "segmentation_plan"]


@dataclass(frozen=True)
class SegmentationPlan:
    """The mean score of a class: *index*, `TOP` for the one that covers most, None for run-time inputs.

    These are the class, −1 for the class at a point, and the point; where that is negative too, the class that covers
    most is explained. A class that is nowhere has a blank map.
    """

    task: Segmentation
    index: int | None

    @property
    def aim(self) -> WeightsAim:
        """Return weights over the scores."""
        return self.task.aim

    def metadata(self) -> Mapping[str, Any]:
        """Return the class, the inputs and where the scores are."""
        axes = 2 if self.task.scores.layout is None else max(len(self.task.scores.layout.space), 2)
        inputs = {"inputs": {CLASS: TOP, POINT: [-1] * axes}} if self.index is None else {}
        return {"class": self.index, **inputs, "segments": self.task.scores.tensor}

    def emit(self, op: Emitter, subject: PreparedModel) -> Emitted:
        """Emit the mean score of the class over its region."""
        view = DenseView(op, subject, self.task.scores)
        regions = (_QueryRegions if isinstance(self.task, QueryMasks) else _Regions)(op, view, self.task)
        asked = self._asked(op, subject, regions)
        index, weights = regions.weights(asked, may_be_top=self.index in (None, TOP))
        index.shape = ir.Shape([subject.batch])
        shares = {SHARES: regions.shares(subject)} if self.index is None else {}
        return Emitted([view.weigh(weights)], {CHOSEN: index, **shares})

    def _asked(self, op: Emitter, subject: PreparedModel, regions: _Regions) -> ir.Value:
        """Return the class that is asked for, int64 [N]: `TOP`, or `_NOTHING` for a point where no class is."""
        if self.index is not None:
            return per_image(op, subject, np.asarray(self.index))
        space = len(regions.view.lengths)
        wanted = add_input(op, CLASS, [subject.batch], ir.DataType.INT64)
        point = add_input(op, POINT, [subject.batch, space], ir.DataType.FLOAT)
        placed = op.GreaterOrEqual(op.ReduceMin(point, [1], keepdims=0), 0.0)
        named = op.Min(wanted, op.const(np.array([self.task.classes - 1])))
        at_point = op.Where(placed, regions.at(point), op.const(np.array([TOP])))
        return op.Where(op.Less(wanted, op.const(np.array([0]))), at_point, named)


_NOTHING = -2
"""The class at a point where no class is."""


@dataclass(frozen=True)
class _Regions:
    """The regions of the classes in each image, as `Segmentation` sees them."""

    op: Emitter
    view: DenseView
    task: Segmentation

    @cached_property
    def scores(self) -> ir.Value:
        """The scores of each class, float32 [N, classes, cells]."""
        return self.view.values

    def _spread(self, index: ir.Value, cells: ir.Value) -> ir.Value:
        """Return the weights of the tensor that explain the class *index* over *cells*, [N, channels, cells]."""
        return self.op.Mul(self.view.hot(index), self.op.Unsqueeze(cells, [1]))

    def _of_class(self, index: ir.Value) -> ir.Value:
        """Return the scores of the class *index* [N], [N, cells]; index −1 is class 0."""
        return channel(self.op, self.scores, index)

    @property
    def _exclusive(self) -> bool:
        return self.task.classes > 1 and not self.task.independent

    @cached_property
    def _threshold(self) -> ir.Value:
        """The score above which a cell is of a class, [N, 1]: a half of probabilities, 0 of logits."""
        op, scores = self.op, self.scores
        low, high = (op.Squeeze(one(scores, [1, 2], keepdims=1), [2]) for one in (op.ReduceMin, op.ReduceMax))
        probable = op.And(op.GreaterOrEqual(low, 0.0), op.LessOrEqual(high, 1.0))
        return op.Mul(to_float(op, probable), 0.5)

    @cached_property
    def _likely(self) -> ir.Value:
        """Which cells are of a class, [N, cells]."""
        op = self.op
        return op.Greater(op.ReduceMax(self.scores, [1], keepdims=0), self._threshold)

    @cached_property
    def _seen(self) -> ir.Value:
        """The class of each cell, int64 [N, cells]; `_NOTHING` where there is none."""
        op = self.op
        best = op.ArgMax(self.scores, axis=1, keepdims=0)
        return best if self._exclusive else op.Where(self._likely, best, op.const(np.array([_NOTHING])))

    def at(self, point: ir.Value) -> ir.Value:
        """Return the class at each *point*, int64 [N]."""
        op = self.op
        return op.GatherND(self._seen, op.Unsqueeze(self.view.cell(point), [1]), batch_dims=1)

    def weights(self, asked: ir.Value, *, may_be_top: bool) -> tuple[ir.Value, ir.Value]:
        """Return the class of each image, −1 for none, and the weights of the cells, [N, classes, cells]."""
        op, one = self.op, _number(self.op, TOP)
        top = op.Equal(asked, one)
        index = op.Where(top, self._top(), asked) if may_be_top else asked
        cells = self._mean(index)
        if may_be_top and not self._exclusive:
            alone = op.And(top, op.Not(self._any_seen))
            cells = op.Where(op.Unsqueeze(alone, [1]), self._peak(index), cells)
        return op.Max(index, one), self._spread(index, cells)

    def _mean(self, index: ir.Value) -> ir.Value:
        """Return the weights of the mean over the region of the class *index*, [N, cells]; 0 where it is empty."""
        op = self.op
        own = (
            op.Greater(self._of_class(index), self._threshold)
            if self.task.independent
            else op.Equal(self._seen, op.Unsqueeze(index, [1]))
        )
        region = to_float(op, own)
        return op.Div(region, op.Max(op.ReduceSum(region, [1], keepdims=1), op.const(1, ir.DataType.FLOAT)))

    def _peak(self, index: ir.Value) -> ir.Value:
        """Return 1 at the highest score of the class *index*, [N, cells]."""
        return self.op.Hardmax(self._of_class(index), axis=1)

    @cached_property
    def _any_seen(self) -> ir.Value:
        """Whether a cell of the image is of a class, [N]."""
        op = self.op
        return op.Cast(op.ReduceMax(to_float(op, self._likely), [1], keepdims=0), to=int(ir.DataType.BOOL))

    def _top(self) -> ir.Value:
        """Return the class that covers most cells, int64 [N]; where there is none, that with the highest score."""
        op = self.op
        found = self._or_main(op.ArgMax(self._counts(), axis=1, keepdims=0))
        if self._exclusive:
            return found
        highest = op.ArgMax(op.ReduceMax(self.scores, [2], keepdims=0), axis=1, keepdims=0)
        return op.Where(self._any_seen, found, highest)

    def _or_main(self, largest: ir.Value) -> ir.Value:
        """Return the main class where it is anywhere, else the *largest*."""
        op, main = self.op, self.task.main
        if main is None:
            return largest
        score = op.ReduceMax(op.Gather(self.scores, op.const(main), axis=1), [1], keepdims=1)
        return op.Where(op.Squeeze(op.Greater(score, self._threshold), [1]), _number(op, main), largest)

    def shares(self, subject: PreparedModel) -> ir.Value:
        """Return which part of the cells is of each class, [N, classes]."""
        op, cells = self.op, to_float(self.op, self.op.Shape(self._seen, start=1, end=2))
        found = op.Div(self._all_counts, cells)
        found.shape = ir.Shape([subject.batch, self.task.classes])
        return found

    @cached_property
    def _all_counts(self) -> ir.Value:
        """The number of cells of each class, [N, classes]."""
        op = self.op
        classes = op.const(np.arange(self.task.classes)[None, :, None])
        hot = to_float(op, op.Equal(op.Unsqueeze(self._seen, [1]), classes))  # much faster than Hardmax
        return op.ReduceSum(hot, [2], keepdims=0)

    def _counts(self) -> ir.Value:
        """Return the number of cells of each class, [N, classes]; of a background 0 where there are others."""
        op, counts = self.op, self._all_counts
        if not self.task.has_background:
            return counts
        others = op.Mul(counts, op.const(np.asarray([0] + [1] * (self.task.classes - 1), np.float32)))
        return op.Where(op.Greater(op.ReduceMax(others, [1], keepdims=1), 0.0), others, counts)


class _QueryRegions(_Regions):
    """The regions of classes that queries have: the score of a class is Σ_q p(c | q) σ(mask_q)."""

    task: QueryMasks

    @cached_property
    def _probabilities(self) -> ir.Value:
        """p(c | q), float32 [N, queries, classes], without the class of no object."""
        op = self.op
        logits = to_float(op, all_tensors(op.graph)[self.task.logits])
        return op.Slice(op.Softmax(logits, axis=-1), [0], [self.task.classes], [2])

    @cached_property
    def scores(self) -> ir.Value:
        """The scores of each class, float32 [N, classes, cells]."""
        op = self.op
        return op.MatMul(op.Transpose(self._probabilities, perm=[0, 2, 1]), op.Sigmoid(self.view.values))

    def _spread(self, index: ir.Value, cells: ir.Value) -> ir.Value:
        """Return the weights of the masks, [N, queries, cells]: each query by its share of the class *index*."""
        op = self.op
        hot = to_float(op, op.Equal(op.Unsqueeze(index, [1, 2]), op.const(np.arange(self.task.classes)[None, None])))
        share = op.ReduceSum(op.Mul(self._probabilities, hot), [2], keepdims=1)
        whole = op.Max(op.ReduceSum(share, [1], keepdims=1), op.const(np.float32(1e-12)))
        return op.Mul(op.Div(share, whole), op.Unsqueeze(cells, [1]))


def _number(op: Emitter, index: int) -> ir.Value:
    return op.const(np.array([index]))


def segmentation_plan(task: Segmentation, request: BakeRequest) -> SegmentationPlan:
    """Return the plan of a segmentation."""
    refuse_options(request)
    if request.target == INPUT:
        require_even_cover(request.network, task.scores, "points of the image")
        return SegmentationPlan(task, None)
    wish = parse(request.target, task.labels)
    if isinstance(wish, Top):
        return SegmentationPlan(task, TOP)
    if isinstance(wish, Class | ClassRegion) and wish.label is not None and getattr(wish, "mask", None) is None:
        return SegmentationPlan(task, class_index(wish.label, task.classes, task.labels))
    raise TargetError(f"target {request.target!r} cannot be baked; give top, input, a class index or a label")
