"""How each operator changes the place of a tensor in the image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from math import ceil, floor
from typing import Any, TypeAlias

import onnx_ir as ir

from onnxcam.graph.operators import Trait, operators
from onnxcam.structure.operands import has, length_of, measured, named, numbers, rank_of
from onnxcam.structure.pointwise import is_pointwise
from onnxcam.structure.span import Span, Tracked
from onnxcam.structure.windows import windows

__all__ = ["FOLLOW", "Follow", "Found", "join", "same"]

Found: TypeAlias = Mapping[ir.Value, Tracked]
Follow: TypeAlias = Callable[[ir.Node, int, Tracked, Found], Tracked]


def join(node: ir.Node, found: Found) -> Tracked:
    """Return the place of the inputs of *node*: that of the finest one; a warning where they lie at several places."""
    inputs = [(x, found[x]) for x in node.inputs if x is not None and x in found]
    value, finest = max(inputs, key=lambda pair: min((span.length for span in pair[1].spans), default=0))
    finest = measured(value, finest)
    lost = next((each.lost for _, each in inputs if each.lost), "")
    warped = [each.warped for _, each in inputs]
    varies = any(each.varies for _, each in inputs) or (any(warped) and not all(warped))
    if not lost and node.op_type != "Concat" and not all(_agree(finest, each) for _, each in inputs):
        lost, varies = _several(node), True
    return replace(finest, lost=lost, varies=varies, warped=any(warped))


def _agree(one: Tracked, other: Tracked) -> bool:
    others = {span.source: span for span in other.spans}
    return all(span.source not in others or span.agrees(others[span.source]) for span in one.spans)


def same(node: ir.Node, position: int, tracked: Tracked, found: Found) -> Tracked:
    """Pointwise operators. Others keep the part of the image, but perhaps not the order of a grid's cells."""
    ranks = {rank_of(x) for x in node.inputs if x in found}
    kept = tracked if not ranks or rank_of(node.outputs[position]) in {None, *ranks} else tracked.loose()
    if is_pointwise(node, tracked) or all(span.axis is None or span.length == 1 for span in tracked.spans):
        return kept
    return kept.but(f"it may move parts of the image by an operator that is not followed ({named(node)})")


def _sliced(node: ir.Node, position: int, tracked: Tracked, found: Found) -> Tracked:
    starts, ends = numbers(node, 1, found), numbers(node, 2, found)
    axes = numbers(node, 3, found) if has(node, 3) else list(range(len(starts or ())))
    steps = numbers(node, 4, found) if has(node, 4) else None
    y = node.outputs[position]
    for span in tracked.spans:
        if span.axis is None or (axes is not None and not _names(axes, span.axis, rank_of(y))):
            continue
        declared = length_of(node.inputs[0], span.axis), length_of(y, span.axis)
        if None not in declared and declared[0] == declared[1] and steps is None:
            continue
        if starts is None or ends is None or axes is None or (steps is None and has(node, 4)):
            tracked = tracked.but(f"it crops or mirrors the image by numbers that it computes ({named(node)})")
            continue
        at = [int(axis) % (rank_of(y) or 4) for axis in axes].index(span.axis)
        step = int(steps[at]) if steps else 1
        chosen = range(*slice(int(starts[at]), int(ends[at]), step).indices(span.length))
        if len(chosen):
            tracked = tracked.on(span.axis, span.part(chosen.start + 0.5 - step / 2, step, len(chosen)))
    return tracked


def _names(axes: Sequence[float], axis: int, rank: int | None) -> bool:
    return axis in axes or (rank is not None and axis - rank in axes)


def _split(node: ir.Node, position: int, tracked: Tracked, found: Found) -> Tracked:
    axis = node.attributes.get_int("axis", 0) % (rank_of(node.inputs[0]) or 4)
    span = _span_on(axis, tracked)
    if span is None:
        return tracked
    count = len(node.outputs)
    sizes = numbers(node, 1, found) or [ceil(span.length / count)] * count
    first = int(sum(sizes[:position]))
    return tracked.on(axis, span.part(first, 1, min(int(sizes[position]), max(1, span.length - first))))


def _gathered(node: ir.Node, position: int, tracked: Tracked, found: Found) -> Tracked:
    indices, x = node.inputs[1], node.inputs[0]
    axis = node.attributes.get_int("axis", 0) % (rank_of(x) or 4)
    span = _span_on(axis, tracked)
    rank = rank_of(indices)
    if span is None or rank != 1:
        shift = 0 if rank is None else rank - 1
        return tracked.moved({a: a + (shift if a > axis else 0) for a in range(8) if a != axis})
    chosen = numbers(node, 1, found)
    steps = {int(b - a) for a, b in pairwise(chosen or ())}
    if not chosen or len(steps) != 1 or 0 in steps:
        return tracked.but(f"it takes rows or columns of the image, a crop that cannot be followed ({named(node)})")
    step = steps.pop()
    first = int(chosen[0]) % span.length
    return tracked.on(axis, span.part(first + 0.5 - step / 2, step, len(chosen)))


def _padded(node: ir.Node, position: int, tracked: Tracked, found: Found) -> Tracked:
    pads = list(node.attributes.get_ints("pads", ())) or numbers(node, 1, found)
    x, y = node.inputs[0], node.outputs[position]
    axes = numbers(node, 3, found) if has(node, 3) else None
    for span in tracked.spans:
        if span.axis is None or (axes is not None and not _names(axes, span.axis, rank_of(x))):
            continue
        if pads is None or (axes is None and has(node, 3)):
            declared = length_of(x, span.axis), length_of(y, span.axis)
            if None in declared or declared[0] != declared[1]:
                tracked = tracked.but(f"it pads or crops the image by numbers that it computes ({named(node)})")
            continue
        half = len(pads) // 2
        places = list(range(half)) if axes is None else [int(axis) % (rank_of(x) or half) for axis in axes]
        if span.axis in places:
            at = places.index(span.axis)
            tracked = tracked.on(span.axis, span.padded(int(pads[at]), int(pads[at + half])))
    return tracked


def _centred(node: ir.Node, position: int, tracked: Tracked, found: Found) -> Tracked:
    """CenterCropPad: crop, or pad, both ends equally."""
    wanted, rank = numbers(node, 1, found), rank_of(node.inputs[0]) or 4
    axes = [axis % rank for axis in node.attributes.get_ints("axes", ()) or range(rank)]
    for span in tracked.spans:
        if span.axis not in axes:
            continue
        if wanted is None:
            tracked = tracked.but(f"it crops or pads the image to a size that it computes ({named(node)})")
            continue
        change = int(wanted[axes.index(span.axis)]) - span.length
        before = change // 2 if change > 0 else -(-change // 2)
        tracked = tracked.on(span.axis, span.padded(before, change - before))
    return tracked


def _reversed(node: ir.Node, position: int, tracked: Tracked, found: Found) -> Tracked:
    axis = node.attributes.get_int("time_axis", 0)
    span = _span_on(axis, tracked)
    if span is None:
        return tracked
    lengths = numbers(node, 1, found)
    if lengths is not None and set(map(int, lengths)) != {span.length}:
        return tracked.but(f"it mirrors a part of the image ({named(node)})")
    return tracked.on(axis, span.part(span.length, -1, span.length))


def _resized(node: ir.Node, position: int, tracked: Tracked, found: Found) -> Tracked:
    sizes, scales = numbers(node, 3, found), numbers(node, 2 if node.op_type == "Resize" else 1, found)
    rank = rank_of(node.inputs[0]) or 4
    axes = [axis % rank for axis in node.attributes.get_ints("axes", ()) or range(rank)]
    crops = node.attributes.get_string("coordinate_transformation_mode", "") == "tf_crop_and_resize"
    roi = numbers(node, 1, found) if crops else None
    for span in tracked.spans:
        if span.axis is None or span.axis not in axes:
            continue
        at = axes.index(span.axis)
        length = length_of(node.outputs[0], span.axis)
        if length is None:
            length = int(sizes[at]) if sizes else floor(span.length * scales[at]) if scales else span.length
        made = span.scaled(max(1, length))
        if crops and roi is not None and len(roi) == 2 * len(axes):
            made = _cropped(span, roi[at], roi[at + len(axes)], max(1, length))
        elif crops:
            tracked = tracked.but(f"it crops the image at a place that it computes ({named(node)})")
        tracked = tracked.on(span.axis, made)
    return tracked


def _cropped(span: Span, begin: float, end: float, count: int) -> Span:
    """Return *span* cropped from the centre of one cell to that of another, both as shares, and resized."""
    last = span.length - 1
    if count == 1 or begin == end:
        return span.part((begin + end) / 2 * last, 1, 1)
    step = (end - begin) * last / (count - 1)
    return span.part(begin * last + 0.5 - step / 2, step, count)


def _joined(node: ir.Node, position: int, tracked: Tracked, found: Found) -> Tracked:
    """Concat along an axis of the image: pieces, or padding."""
    rank = rank_of(node.outputs[0]) or 4
    axis = node.attributes.get_int("axis", 0) % rank
    parts = [(x, _span_on(axis, found.get(x))) for x in node.inputs if x is not None]
    spans = [span for _, span in parts if span is not None]
    if not spans or len(spans) != len([x for x, _ in parts if x in found]):
        return tracked if _agreeing(node, found) else tracked.but(_several(node), varies=True)
    others = [x for x, span in parts if span is None]
    lengths = [length_of(x, axis) for x in others]
    if others and (len(spans) > 1 or None in lengths):
        return tracked.but(f"it pads the image in a way that cannot be followed ({named(node)})")
    if others:
        at = next(k for k, (_, span) in enumerate(parts) if span is not None)
        before = [length_of(x, axis) or 0 for x, _ in parts[:at]]
        return tracked.on(axis, spans[0].padded(sum(before), sum(n or 0 for n in lengths) - sum(before)))
    return _pieces(node, axis, spans, tracked)


def _span_on(axis: int, tracked: Tracked | None) -> Span | None:
    return next((span for span in tracked.spans if span.axis == axis), None) if tracked is not None else None


def _agreeing(node: ir.Node, found: Found) -> bool:
    each = [found[x] for x in node.inputs if x is not None and x in found]
    return all(_agree(each[0], other) for other in each[1:])


def _several(node: ir.Node) -> str:
    return f"it joins parts that lie at several places of the image, cropped, padded or mirrored ({named(node)})"


def _pieces(node: ir.Node, axis: int, spans: Sequence[Span], tracked: Tracked) -> Tracked:
    """Join pieces in their order; pieces that were exchanged (a rolled tensor) cover the same part as before."""
    ends = [span.ends for span in spans]
    low, high = min(map(min, ends)), max(map(max, ends))
    cell = max(abs(span.cell) for span in spans)
    length = sum(span.length for span in spans)
    if abs(sum(abs(b - a) for a, b in ends) - (high - low)) > cell:
        return tracked.but(_several(node), varies=True)
    in_order = all(abs(one[1] - other[0]) <= cell for one, other in pairwise(ends))
    start, end = (ends[0][0], ends[-1][1]) if in_order else (low, high)
    seen = (min(span.seen[0] for span in spans), max(span.seen[1] for span in spans))
    return tracked.on(axis, replace(spans[0], start=start, end=end, length=length, before=0, after=0, seen=seen))


def _transposed(node: ir.Node, position: int, tracked: Tracked, found: Found) -> Tracked:
    rank = rank_of(node.inputs[0]) or rank_of(node.outputs[0]) or 4
    perm = list(node.attributes.get_ints("perm", ()) or range(rank)[::-1])
    return tracked.moved({old: new for new, old in enumerate(perm)})


def _reshaped(node: ir.Node, position: int, tracked: Tracked, found: Found) -> Tracked:
    """A reshape keeps the axes that it does not touch: those before the first change, and behind the last."""
    x, y = node.inputs[0], node.outputs[position]
    if x is None or x.shape is None or y.shape is None:
        return tracked.loose()
    old, new = list(x.shape), list(y.shape)
    head, tail = _alike(old[1:], new[1:]) + 1, _alike(old[:0:-1], new[:0:-1])
    kept = {axis: axis for axis in range(head)} | {len(old) - k: len(new) - k for k in range(1, tail + 1)}
    return tracked.moved(kept) if all(span.axis in kept for span in tracked.spans) else tracked.loose()


def _alike(old: Sequence[Any], new: Sequence[Any]) -> int:
    """Return how many dims at the begin are equal and known."""
    pairs = enumerate(zip(old, new, strict=False))
    return next((at for at, (a, b) in pairs if a != b or str(a) == "None"), min(len(old), len(new)))


def _blocks(node: ir.Node, position: int, tracked: Tracked, found: Found) -> Tracked:
    """DepthToSpace and SpaceToDepth."""
    size = node.attributes.get_int("blocksize", 1)
    grows = node.op_type == "DepthToSpace"
    spans = (span.scaled(span.length * size if grows else max(1, span.length // size)) for span in tracked.spans)
    return replace(tracked, spans=tuple(spans))


def _sampled(node: ir.Node, position: int, tracked: Tracked, found: Found) -> Tracked:
    return tracked.but(f"it crops or warps the image at places that it computes ({named(node)})")


FOLLOW: dict[str, Follow] = {
    **dict.fromkeys(("Conv", "ConvTranspose", "FusedConv", "ConvInteger", "QLinearConv", "DeformConv"), windows),
    **dict.fromkeys(operators(Trait.POOLS), windows),
    "Slice": _sliced,
    "Split": _split,
    "Gather": _gathered,
    "Pad": _padded,
    "CenterCropPad": _centred,
    "ReverseSequence": _reversed,
    **dict.fromkeys(operators(Trait.RESIZES), _resized),
    "Concat": _joined,
    "Transpose": _transposed,
    **dict.fromkeys(operators(Trait.RESHAPES), _reshaped),
    **dict.fromkeys(operators(Trait.INTERLEAVES), _blocks),
    **dict.fromkeys(("GridSample", "RoiAlign", "MaxRoiPool", "CropAndResize"), _sampled),
}
"""How each operator changes a place; operators that are not listed keep it."""
