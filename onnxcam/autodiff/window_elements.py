"""Windows of elements in row-major order: single elements by flat indices, and what a reshape makes of a window."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import zip_longest
from math import prod

import onnx_ir as ir

from onnxcam.autodiff.windows import AxisSpan, AxisSpans, Window, static_lengths
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.infer import gradient_dtype

__all__ = ["KnownPlace", "elements", "reshaped"]


@dataclass(frozen=True)
class KnownPlace:
    """What is known of the place of an element before the run.

    Attributes:
        bounds: Its least and its largest coordinate along each axis but that of images.
        as_first: For each of these axes, whether its coordinate is always that of the first of several elements.
    """

    bounds: Sequence[tuple[int, int]]
    as_first: Sequence[bool]

    @classmethod
    def either(cls, places: Sequence[KnownPlace]) -> KnownPlace:
        """Return what is known of an element that may be at any of *places*."""
        axes = zip(*(place.bounds for place in places), strict=True)
        bounds = [(min(low for low, _ in axis), max(high for _, high in axis)) for axis in axes]
        return cls(bounds, [all(same) for same in zip(*(place.as_first for place in places), strict=True)])


def elements(
    op: Emitter,
    y: ir.Value,
    images: ir.Value,
    pairs: Iterable[tuple[ir.Value, ir.Value]],
    places: Sequence[KnownPlace] = (),
) -> list[Window]:
    """Return a cotangent of *y*, [N, …], for each of *pairs*: flat indices into one image, int64 [M], and weights [M].

    *images* are the images of the M targets, *places* what is known of each element.
    """
    lengths, found, first = static_lengths(y), list[Window](), list[ir.Value]()
    assert lengths is not None
    for (flat, weight), known in zip_longest(pairs, places):
        at = [_coordinate(op, flat, lengths, axis) for axis in range(len(lengths))]
        if known is not None and first:
            at = [a if same else b for a, b, same in zip(first, at, known.as_first, strict=True)]
        first = first or at
        bounds = [None] * len(lengths) if known is None else known.bounds
        spans = [AxisSpan(place, bounds=limits) for place, limits in zip(at, bounds, strict=True)]
        value = op.Reshape(op.Cast(weight, to=int(gradient_dtype(y))), [-1] + [1] * len(lengths))
        found.append(Window.of(value, [AxisSpan(images), *spans], y))
    return found


def _coordinate(op: Emitter, flat: ir.Value, lengths: Sequence[int], axis: int) -> ir.Value:
    """Return the coordinates along *axis* of the *flat* indices into a tensor of *lengths*."""
    stride = prod(lengths[axis + 1 :])
    at = op.Div(flat, stride) if stride > 1 else flat
    return op.Mod(at, lengths[axis]) if prod(lengths[:axis]) > 1 else at


def reshaped(op: Emitter, window: Window, x: ir.Value, y: ir.Value) -> Window | None:
    """Return the window of *x* whose elements in order are those of *y* = Reshape(x); None where it is no window."""
    before, after = static_lengths(x), static_lengths(y)
    if before is None or after is None or prod(before) != prod(after) or not prod(before):
        return None
    spans: list[AxisSpan | None] = [window.spans[0]]
    i = j = 0
    while i < len(before) or j < len(after):
        i0, j0, i, j = i, j, i + 1, j + 1
        while prod(before[i0:i]) != prod(after[j0:j]):
            i, j = (i + 1, j) if j > len(after) or prod(before[i0:i]) < prod(after[j0:j]) else (i, j + 1)
        found = _regrouped(op, window.spans[1 + j0 : 1 + j], after[j0:j], before[i0:i])
        if found is None:
            return None
        spans += found
    sizes = [n if span is None else span.size for span, n in zip(spans[1:], before, strict=True)]
    return Window.of(op.Reshape(window.value, [-1, *sizes]), spans, x)


def _regrouped(
    op: Emitter, spans: AxisSpans, after: Sequence[int], before: Sequence[int]
) -> list[AxisSpan | None] | None:
    """Return spans of axes of lengths *before* that hold the same elements as *spans* of axes of lengths *after*.

    These are single positions of the first axes, and all of the others: consecutive elements.
    """
    kept = [(span, length) for span, length in zip(spans, after, strict=True) if length > 1]
    if len(kept) == sum(length > 1 for length in before) == 1:
        return [kept[0][0] if length > 1 else None for length in before]
    single = [(span, length) for span, length in kept if span is not None and span.size == 1]
    if kept[: len(single)] != single or any(span is not None for span, _ in kept[len(single) :]):
        return None
    if not single:
        return [None] * len(before)
    rests = [prod(length for _, length in kept[place + 1 :]) for place in range(len(kept))]
    starts = [
        op.Mul(span.start(op), rest) if rest > 1 else span.start(op)
        for (span, _), rest in zip(single, rests, strict=False)
    ]
    size = rests[len(single) - 1]
    return [_own(op, reduce(op.Add, starts), size, before, axis) for axis in range(len(before))]


def _own(op: Emitter, flat: ir.Value, size: int, lengths: Sequence[int], axis: int) -> AxisSpan | None:
    """Return the span along *axis* of *size* elements from *flat* on, a multiple of *size*."""
    rest = prod(lengths[axis + 1 :])
    if size >= rest * lengths[axis]:
        return None
    return AxisSpan(_coordinate(op, flat, lengths, axis), max(1, size // rest))
