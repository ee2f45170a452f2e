"""Selecting and placing elements: slices, gathers, scatters, pads."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from onnxcam.autodiff.emit import Emitter, constant, rank
from onnxcam.autodiff.rules import Gradients, V, rule

TO_THE_FRONT = np.iinfo(np.int64).min  # the end of a Slice that runs backwards through a whole axis


@rule("Slice")
def slice_(
    op: Emitter, node: ir.Node, dy: V, x: V, starts: V, ends: V, axes: V | None = None, steps: V | None = None
) -> Gradients:
    """y = x[start : end : step]: dx is dy at these places, else 0."""
    stride = np.ones(1, np.int64) if steps is None else constant(steps)
    if stride is None or (x.shape is None and (stride != 1).any()):
        return _scatter_back(op, dy, x, lambda places: op.Slice(places, starts, ends, axes, steps)), *[None] * 4
    starts = _int64(op, starts)
    axes = op.Range(0, op.Squeeze(op.Shape(starts), [0]), 1) if axes is None else _int64(op, axes)
    lengths, taken = _lengths(op, x, axes), _lengths(op, node.outputs[0], axes)
    begins = _first(op, starts, lengths)
    if (stride != 1).any():
        dy, begins, taken = _spread(op, dy, node.outputs[0], axes, stride, begins, lengths, taken)
    return _pad(op, dy, op.Concat(begins, op.Sub(lengths, op.Add(begins, taken)), axis=0), axes), *[None] * 4


def _int64(op: Emitter, x: V) -> V:
    return x if x.dtype == ir.DataType.INT64 else op.Cast(x, to=int(ir.DataType.INT64))


def _lengths(op: Emitter, x: V, axes: V) -> V:
    """Return the lengths of *x* along *axes*: constant if these are static, though others may not be."""
    known = constant(axes)
    if known is None:
        return op.Gather(op.Shape(x), axes)
    return op.Concat(*[op.dim(x, axis) for axis in known.tolist()], axis=0)


def _first(op: Emitter, starts: V, lengths: V) -> V:
    """Return where slices that begin at *starts* really begin: counted from the front, and inside."""
    known = constant(starts)
    if known is not None and not known.any():
        return starts
    return op.Max(op.Min(op.Where(op.Less(starts, 0), op.Add(starts, lengths), starts), lengths), 0)


def _spread(
    op: Emitter, dy: V, y: V, axes: V, stride: np.ndarray, begins: V, lengths: V, taken: V
) -> tuple[V, V, V]:
    """Put zeros between the elements of *dy* so that they are as far apart as in x; say where it begins, how long it is.

    Backward slices are turned round first. Each element is then padded to a block of |stride| elements, at that place
    in it where it stands in x if this is cut into such blocks.
    """
    backward, step = np.flatnonzero(stride < 0), np.abs(stride)
    if len(backward):
        back = np.full(len(backward), -1)
        dy = op.Slice(dy, back, np.full(len(backward), TO_THE_FRONT), op.Gather(axes, backward), back)
        last = op.Add(op.Min(begins, op.Sub(lengths, 1)), op.Mul(op.Sub(taken, 1), stride))
        begins = op.Where(stride < 0, last, begins)
    offset = op.Mod(begins, step)
    ...
