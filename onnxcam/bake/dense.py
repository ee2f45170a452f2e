"""A dense output in the graph: its values by channel and cell, weights over them, and where points and cells lie."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx_ir as ir

from onnxcam.errors import TargetError
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.io import all_tensors
from onnxcam.model.description import ModelDescription
from onnxcam.model.prepared import PreparedModel
from onnxcam.structure.layout import GridLayout, picture_layout
from onnxcam.targets.aim import Aimed
from onnxcam.targets.dense import DenseOutput

__all__ = ["DenseView", "channel", "image_lengths", "require_even_cover", "to_float"]

_FLOAT, _INT64 = int(ir.DataType.FLOAT), int(ir.DataType.INT64)


@dataclass(frozen=True)
class DenseView:
    """The tensor of *output* in the graph of *op*, as [N, channels, cells]."""

    op: Emitter
    subject: PreparedModel
    output: DenseOutput

    @cached_property
    def tensor(self) -> ir.Value:
        """The tensor itself."""
        return all_tensors(self.subject.model.graph)[self.output.tensor]

    @cached_property
    def moved(self) -> ir.Value:
        """The tensor with its axes in the order [N, channels, *space]; cells in one axis stay in one."""
        y, layout = self.tensor, self.output.layout
        return self.op.Unsqueeze(y, [1]) if layout is None else layout.maps(self.op, y)

    @cached_property
    def values(self) -> ir.Value:
        """The values, float32 [N, channels, cells]."""
        return to_float(self.op, self.op.Reshape(self.moved, [0, self.output.channels, -1]))

    @property
    def lengths(self) -> list[ir.Value]:
        """The lengths of the axes of space, int64 [1] each."""
        if self.output.grid:
            return [self.op.const(np.array([length])) for length in self.output.grid]
        op, y, layout = self.op, self.tensor, self.output.layout
        rank = len(y.shape or ())
        axes = layout.space if layout is not None else tuple(range(1, rank))
        return [op.dim(y, axis) for axis in axes]

    def weigh(self, weights: ir.Value) -> Aimed:
        """Return the sum of the values by *weights*, float32 [N, channels, cells]."""
        op, layout = self.op, self.output.layout
        moved = op.Reshape(weights, op.Shape(self.moved))
        if layout is None:
            return self.output.aim.weigh(op, op.Squeeze(moved, [1]))
        order = [0, layout.channel, *layout.space]
        back = [order.index(axis) for axis in range(len(order))]
        return self.output.aim.weigh(op, moved if back == sorted(back) else op.Transpose(moved, perm=back))

    def hot(self, index: ir.Value) -> ir.Value:
        """Return 1 at the channel *index* [N] of each image and 0 elsewhere, float32 [N, channels, 1]."""
        op = self.op
        channels = op.const(np.arange(self.output.channels)[None, :, None])
        return to_float(op, op.Equal(op.Unsqueeze(index, [1, 2]), channels))

    def channel(self, index: ir.Value) -> ir.Value:
        """Return the values of the channel *index* [N] of each image, [N, cells]; index −1 is channel 0."""
        return channel(self.op, self.values, index)

    def cell(self, point: ir.Value) -> ir.Value:
        """Return the cell of each *point* [N, axes], x first, in pixels of the input tensor, int64 [N]: the nearest."""
        op, cell = self.op, None
        lengths, pixels = self.lengths, image_lengths(op, self.subject.image)
        for axis, (count, length) in enumerate(zip(lengths, pixels, strict=True)):
            at = op.Gather(point, op.const(len(lengths) - 1 - axis), axis=1)
            place = op.Floor(op.Div(op.Mul(at, to_float(op, count)), to_float(op, length)))
            last = op.Sub(to_float(op, count), 1.0)
            place = op.Cast(op.Max(op.Min(place, last), op.const(0, ir.DataType.FLOAT)), to=_INT64)
            cell = place if cell is None else op.Add(op.Mul(cell, count), place)
        assert cell is not None
        return cell


def channel(op: Emitter, values: ir.Value, index: ir.Value) -> ir.Value:
    """Return the channel *index* [N] of *values* [N, channels, cells], [N, cells]; index −1 is channel 0."""
    return op.GatherND(values, op.Unsqueeze(op.Max(index, op.const(np.array([0]))), [1]), batch_dims=1)


def image_lengths(op: Emitter, image: ir.Value) -> list[ir.Value]:
    """Return the lengths of the spatial axes of *image*, int64 [1] each."""
    layout = picture_layout(image)
    assert layout is not None
    return [op.dim(image, axis) for axis in layout.space]


def to_float(op: Emitter, x: ir.Value) -> ir.Value:
    """Return *x* as float32."""
    return x if x.dtype == ir.DataType.FLOAT else op.Cast(x, to=_FLOAT)


def require_even_cover(network: ModelDescription, output: DenseOutput, words: str) -> None:
    """Raise TargetError where the cells of *output* do not cover the input evenly: *words* would mean other cells."""
    layout = picture_layout(network.image)
    size = () if layout is None else layout.size(network.image)
    placed = output.placed
    if not isinstance(placed, GridLayout) or not all(isinstance(length, int) for length in size):
        return
    prepared = network.open()
    tensor = all_tensors(prepared.model.graph)[output.tensor]
    if network.place(prepared, tensor, placed, tuple(size)) is not None:
        raise TargetError(
            f"{words} cannot be baked: {output.tensor!r} covers a part of the input; give another target, or use "
            "`onnxcam explain`"
        )
