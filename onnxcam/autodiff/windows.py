"""Cotangents that are zero outside a window, whose place is known when the graph runs: as that of one detection.

A window has one row for each of M targets. Along each axis of its tensor it has a `AxisSpan`: a size that is known, and
a start for each target; None is the whole axis. The span of the first axis is the image of each target. A window may
leave its tensor; its value is zero there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from math import prod
from typing import TypeAlias

import numpy as np
import onnx_ir as ir

from onnxcam.graph.emitter import Emitter
from onnxcam.graph.infer import gradient_dtype

__all__ = ["AxisSpan", "AxisSpans", "Window", "crop", "joined", "static_lengths"]


@dataclass(frozen=True)
class AxisSpan:
    """*size* positions of an axis from *scale* · base + *offset* on, for each target.

    Attributes:
        base: int64 [M].
        bounds: The least and the largest start, where they are known.
    """

    base: ir.Value
    size: int = 1
    scale: int = 1
    offset: int = 0
    bounds: tuple[int, int] | None = None

    def start(self, op: Emitter) -> ir.Value:
        """Return the first position, int64 [M]."""
        scaled = self.base if self.scale == 1 else op.Mul(self.base, self.scale)
        return op.Add(scaled, self.offset) if self.offset else scaled

    def positions(self, op: Emitter) -> ir.Value:
        """Return the positions, int64 [M, size]."""
        first = op.Unsqueeze(self.start(op), [1])
        return first if self.size == 1 else op.Add(first, np.arange(self.size)[None])

    def through(self, stride: int, extent: int, before: int) -> AxisSpan:
        """Return the positions of windows of *extent* at these positions, *stride* apart, *before* of them padding."""
        bounds = None if self.bounds is None else (self.bounds[0] * stride - before, self.bounds[1] * stride - before)
        size = (self.size - 1) * stride + extent
        return AxisSpan(self.base, size, self.scale * stride, self.offset * stride - before, bounds)

    def shifted(self, by: int) -> AxisSpan:
        """Return the same positions, counted from *by*."""
        bounds = None if self.bounds is None else (self.bounds[0] - by, self.bounds[1] - by)
        return replace(self, offset=self.offset - by, bounds=bounds)


AxisSpans: TypeAlias = "Sequence[AxisSpan | None]"


@dataclass(frozen=True)
class Window:
    """The *value* [M, *sizes] of a cotangent at *spans*, one for each axis of its tensor; zero elsewhere."""

    value: ir.Value
    spans: tuple[AxisSpan | None, ...]

    @classmethod
    def of(cls, value: ir.Value, spans: AxisSpans, y: ir.Value) -> Window:
        """Return the window of *y* at *spans*, and declare the shape of its *value*; an axis of length 1 is whole."""
        lengths = list(y.shape or ())[1:]
        spans = [spans[0], *(None if n == 1 else span for span, n in zip(spans[1:], lengths, strict=True))]
        sizes = [n if span is None else span.size for span, n in zip(spans[1:], lengths, strict=True)]
        value.shape, value.type = ir.Shape([_count(spans), *sizes]), ir.TensorType(gradient_dtype(y))
        return cls(value, tuple(spans))

    @property
    def axes(self) -> list[int]:
        """The axes with a span."""
        return [axis for axis, span in enumerate(self.spans) if span is not None]

    def widened(self, op: Emitter, y: ir.Value, axis: int) -> Window | None:
        """Return the window of *y* with the whole of *axis*, by a product; None for the axis of images."""
        span, lengths, own = self.spans[axis], static_lengths(y), static_lengths(self.value)
        if span is None or lengths is None or own is None or axis == 0:
            return None
        every = np.arange(lengths[axis - 1]).reshape(1, 1, -1, 1)
        hot = op.flag(op.Equal(op.Reshape(span.positions(op), [-1, 1, 1, span.size]), every), self.value)
        apart = op.Reshape(self.value, [-1, prod(own[: axis - 1]), span.size, prod(own[axis:])])
        sizes = [*own[: axis - 1], lengths[axis - 1], *own[axis:]]
        spans = [None if i == axis else other for i, other in enumerate(self.spans)]
        return Window.of(op.Reshape(op.MatMul(hot, apart), [-1, *sizes]), spans, y)

    def inside(self, op: Emitter, y: ir.Value, axes: Sequence[int]) -> Window:
        """Return the window of *y* with zeros where it leaves *y* along *axes*."""
        return Window.of(reduce(op.mask, self._flags(op, y, axes), self.value), self.spans, y)

    def dense(self, op: Emitter, y: ir.Value) -> ir.Value:
        """Return the cotangents of *y* for all targets, [M, …]."""
        lengths, own = static_lengths(y), static_lengths(self.value)
        assert lengths is not None
        assert own is not None
        places = _places(op, [1, *lengths], [None, *self.spans[1:]], len(lengths))
        whole = self.value
        if places is not None:
            size = prod(lengths)
            flags = self._flags(op, y, [axis for axis in self.axes if axis])
            places = op.Where(reduce(op.And, flags), places, size) if flags else places
            shape = op.Concat(op.Shape(self.value, start=0, end=1), [size + bool(flags)], axis=0)
            whole = op.ConstantOfShape(shape, value=ir.tensor(np.zeros(1, gradient_dtype(y).numpy())))
            whole = op.ScatterElements(
                whole, *(op.Reshape(one, [-1, prod(own)]) for one in (places, self.value)), axis=1
            )
            whole = op.Reshape(op.Slice(whole, [0], [size], [1]) if flags else whole, [-1, *lengths])
        whole.shape, whole.type = ir.Shape([_count(self.spans), *lengths]), ir.TensorType(gradient_dtype(y))
        return whole

    def _flags(self, op: Emitter, y: ir.Value, axes: Sequence[int]) -> list[ir.Value]:
        """Return for each of *axes* along which the window may leave *y* whether a position is inside, bool [M, …]."""
        found, lengths = list[ir.Value](), static_lengths(y) or []
        for axis in axes:
            span, length = self.spans[axis], lengths[axis - 1]
            assert span is not None
            if span.bounds is not None and span.bounds[0] >= 0 and span.bounds[1] + span.size <= length:
                continue
            shape = [-1, *(span.size if i == axis else 1 for i in range(1, len(self.spans)))]
            at = op.Reshape(span.positions(op), shape)
            found.append(op.And(op.GreaterOrEqual(at, 0), op.Less(at, length)))
        return found


def _count(spans: AxisSpans) -> ir.SymbolicDim:
    """Return the number M of targets; it has one name for all tensors that are selected for the same images."""
    return ir.SymbolicDim(None if spans[0] is None else f"onnxcam.targets.{spans[0].base.name}")


def static_lengths(y: ir.Value) -> list[int] | None:
    """Return the lengths of *y* without its first axis; None where one is not known."""
    lengths = None if y.shape is None else list(y.shape)[1:]
    return None if lengths is None or not all(isinstance(n, int) for n in lengths) else [int(str(n)) for n in lengths]


def crop(op: Emitter, x: ir.Value, spans: AxisSpans) -> ir.Value | None:
    """Return the part [M, *sizes] of *x* at *spans*; what is outside is arbitrary. None where it cannot be read.

    A tensor without images is given with a first axis of length 1.
    """
    lengths = static_lengths(x)
    if lengths is None or x.shape is None or (spans[0] is None and x.shape[0] != 1):
        return None
    last = max(axis for axis, span in enumerate(spans) if span is not None)
    if last == 0 and spans[0] is not None:
        part: ir.Value = op.Gather(x, spans[0].start(op), axis=0)
    else:
        first = 1 if x.shape[0] == 1 else None
        places = _places(op, [first, *lengths], spans, last)
        part = op.Gather(op.Reshape(x, [-1, *lengths[last:]]), places, axis=0)
    sizes = [n if span is None else span.size for span, n in zip(spans[1:], lengths, strict=True)]
    part.shape, part.type = ir.Shape([_count(spans), *sizes]), x.type
    return part


def _places(op: Emitter, lengths: Sequence[int | None], spans: AxisSpans, last: int) -> ir.Value | None:
    """Return indices [M, *sizes], up to the axis *last*, into these axes of a tensor, made flat; None: all of it."""
    constant, found = np.zeros([1] * (last + 1), np.int64), list[ir.Value]()
    for axis, span in enumerate(spans[: last + 1]):
        length, shape = lengths[axis], [1] * (last + 1)
        stride = prod(n for n in lengths[axis + 1 : last + 1] if n is not None)
        if length == 1 or span is None:
            shape[axis] = length or 1
            constant = constant + (np.arange(length or 1) * stride).reshape(shape)
            continue
        shape[axis], shape[0] = span.size, -1
        at = span.positions(op)
        at = at if length is None else op.Clip(at, np.int64(0), np.int64(length - 1))
        found.append(op.Reshape(op.Mul(at, stride) if stride > 1 else at, shape))
    if constant.any() and found:
        found.append(op.const(constant))
    return reduce(op.Add, found) if found else None


def joined(op: Emitter, windows: Sequence[Window], y: ir.Value) -> list[Window]:
    """Return *windows* of *y*, those at known distances from each other as one."""
    found: list[Window] = []
    for window in windows:
        place = next((i for i, other in enumerate(found) if _near(other, window)), None)
        if place is None:
            found.append(window)
        else:
            found[place] = _sum(op, found[place], window, y)
    return found


def _near(one: Window, other: Window) -> bool:
    pairs = zip(one.spans, other.spans, strict=True)
    return all(a is b or (a is not None and b is not None and (a.base, a.scale) == (b.base, b.scale)) for a, b in pairs)


def _sum(op: Emitter, one: Window, other: Window, y: ir.Value) -> Window:
    """Return the sum of two windows of *y*, at known distances from each other."""
    spans = list(one.spans)
    for axis, (a, b) in enumerate(zip(one.spans, other.spans, strict=True)):
        if a is not None and b is not None:
            first, end = min(a.offset, b.offset), max(a.offset + a.size, b.offset + b.size)
            bounds = a.bounds and (a.bounds[0] + first - a.offset, a.bounds[1] + first - a.offset)
            spans[axis] = replace(a, offset=first, size=end - first, bounds=bounds)
    return Window.of(op.Add(*(_padded(op, each, spans) for each in (one, other))), spans, y)


def _padded(op: Emitter, window: Window, spans: AxisSpans) -> ir.Value:
    """Return the value of *window* with zeros up to the larger *spans*."""
    pairs = [
        (axis, own, span) for axis, (own, span) in enumerate(zip(window.spans, spans, strict=True)) if own and span
    ]
    before = [own.offset - span.offset for _, own, span in pairs]
    after = [span.size - own.size - n for n, (_, own, span) in zip(before, pairs, strict=True)]
    if not any([*before, *after]):
        return window.value
    return op.pad(window.value, [*before, *after], [axis for axis, _, _ in pairs], len(spans))
