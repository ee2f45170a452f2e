"""The plan of an image-to-image model: the edges in a patch of its output, fixed or at run time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxcam.bake.dense import DenseView, to_float
from onnxcam.bake.plan import INPUT, BakeRequest, Emitted, add_input, per_image, refuse_options
from onnxcam.bake.rectangle import covers, inside, rounded
from onnxcam.errors import TargetError
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.io import all_tensors
from onnxcam.metadata.reserved import PATCH
from onnxcam.model.prepared import PreparedModel
from onnxcam.targets import parse
from onnxcam.targets.aim import WeightsAim
from onnxcam.targets.image_to_image import ImageToImage
from onnxcam.targets.kinds import Patch, Top

__all__ = ["PatchPlan", "patch_plan"]


@dataclass(frozen=True)
class PatchPlan:
    """The edges Σ |∂y| in a patch of the output: *corners* (x1, y1, x2, y2) in its pixels, or the middle.

    With *at_run_time* a host gives the corners. They are cut to the output; those of an empty patch mean the middle,
    or all of the output where the middle has no edges.
    """

    task: ImageToImage
    corners: tuple[int, int, int, int] = (0, 0, 0, 0)
    at_run_time: bool = False

    @property
    def aim(self) -> WeightsAim:
        """Return weights over the output."""
        return self.task.aim

    def metadata(self) -> Mapping[str, Any]:
        """Return the input and the tensor of the image."""
        inputs = {"inputs": {PATCH: [0] * 4}} if self.at_run_time else {}
        return {**inputs, "tensor": self.task.output.tensor}

    def emit(self, op: Emitter, subject: PreparedModel) -> Emitted:
        """Emit the edges: D = Σ y · ∂D/∂y."""
        view = DenseView(op, subject, self.task.output)
        given = (
            add_input(op, PATCH, [subject.batch, 4], ir.DataType.FLOAT)
            if self.at_run_time
            else per_image(op, subject, np.asarray(self.corners, np.float32))
        )
        corners = rounded(op, given)
        height, width = view.lengths
        channels = op.const(np.array([self.task.output.channels]))
        pixels = op.Reshape(view.values, op.Concat([-1], channels, height, width, axis=0))
        middle = op.Expand(to_float(op, op.Concat(*_middle(op, height, width), axis=0)), op.Shape(corners))
        flat = op.Equal(op.ReduceMax(op.Abs(_edges(op, pixels, view, middle)), [1, 2, 3], keepdims=0), 0.0)
        whole = to_float(op, op.Concat([0, 0], width, height, axis=0))
        default = op.Where(op.Unsqueeze(flat, [1]), whole, middle)
        fits = op.And(covers(op, corners, 0, width), covers(op, corners, 1, height))
        slope = _edges(op, pixels, view, op.Where(op.Unsqueeze(fits, [1]), corners, default))
        return Emitted([view.weigh(op.Reshape(slope, op.Shape(view.values)))])


def _edges(op: Emitter, pixels: ir.Value, view: DenseView, corners: ir.Value) -> ir.Value:
    """Return ∂D/∂y [N, C, h, w], D the sum of the differences between neighbouring pixels of the patch *corners*."""
    height, width = view.lengths
    masks = [inside(op, corners, 1, height), inside(op, corners, 0, width)]
    return op.total(*(_slope(op, pixels, masks, axis) for axis in range(2)))


def _middle(op: Emitter, height: ir.Value, width: ir.Value) -> list[ir.Value]:
    """Return the corners of the middle quarter of the lengths, int64 [1] each."""
    low = [op.Div(op.Mul(length, [3]), [8]) for length in (width, height)]
    high = [op.Max(op.Div(op.Mul(length, [5]), [8]), op.const(np.array([1]))) for length in (width, height)]
    return [*low, *high]


def _slope(op: Emitter, pixels: ir.Value, masks: Sequence[ir.Value], axis: int) -> ir.Value:
    """Return ∂D/∂y [N, C, h, w] of the differences along one *axis* of space between pixels of the patch."""
    before, after = _shifted(op, pixels, 2 + axis)
    low, high = _shifted(op, op.Unsqueeze(masks[axis], [1, 3 - axis]), 2 + axis)
    other = op.Unsqueeze(masks[1 - axis], [1, 2 + axis])
    steps = op.Mul(op.Sign(op.Sub(after, before)), op.Mul(op.Mul(low, high), other))
    return op.Sub(op.pad(steps, _ends(axis, 0), [2, 3], 4), op.pad(steps, _ends(axis, 1), [2, 3], 4))


def _shifted(op: Emitter, x: ir.Value, axis: int) -> tuple[ir.Value, ir.Value]:
    """Return *x* without its last and without its first element along *axis*."""
    return op.Slice(x, [0], [-1], [axis]), op.Slice(x, [1], [np.iinfo(np.int64).max], [axis])


def _ends(axis: int, end: int) -> list[int]:
    """Return the widths of padding by one at the start or *end* of an *axis* of space."""
    pads = [0] * 4
    pads[2 * end + axis] = 1
    return pads


def patch_plan(task: ImageToImage, request: BakeRequest) -> PatchPlan:
    """Return the plan of an image-to-image model."""
    refuse_options(request)
    if request.target == INPUT:
        return PatchPlan(task, at_run_time=True)
    wish = parse(request.target)
    if isinstance(wish, Top):
        return PatchPlan(task)
    if not isinstance(wish, Patch):
        raise TargetError(f"target {request.target!r} cannot be baked; give top, input or patch=x1,y1,x2,y2")
    x1, y1, x2, y2 = map(round, wish.corners)
    tensor = all_tensors(request.network.open().model.graph)[task.output.tensor]
    height, width = (n if isinstance(n, int) else np.inf for n in task.output.size(tensor))
    if not (0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height):
        raise TargetError(
            f"the patch {x1},{y1},{x2},{y2} does not lie in what the model puts out, {width} × {height} pixels"
        )
    return PatchPlan(task, (x1, y1, x2, y2))
