"""The place of the output of a convolution or a pool."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import ceil, floor

import onnx_ir as ir

from onnxcam.structure.operands import length_of, measured
from onnxcam.structure.span import Span, Tracked

__all__ = ["windows"]


def windows(node: ir.Node, position: int, tracked: Tracked, found: Mapping[ir.Value, Tracked]) -> Tracked:
    """Convolutions and pools."""
    kernel, weight = list(node.attributes.get_ints("kernel_shape", ())), _weight(node)
    if not kernel and weight is not None and weight.shape is not None:
        kernel = [n for n in weight.shape[2:] if isinstance(n, int)]
    if not kernel or len(kernel) != len(tracked.spans):
        return tracked
    ones, last = [1] * len(kernel), node.attributes.get_int("channels_last", 0)
    steps = list(node.attributes.get_ints("strides", ()) or ones)
    holes = list(node.attributes.get_ints("dilations", ()) or ones)
    spans = _on_axes(node, tracked, 1 if last else 2)
    sizes = [1 + (k - 1) * hole for k, hole in zip(kernel, holes, strict=True)]
    make = _transposed_window if node.op_type == "ConvTranspose" else _window
    windows = enumerate(zip(spans, sizes, steps, strict=True))
    made = [make(node, at, span, size, step) for at, (span, size, step) in windows]
    if tracked.lost:  # by padding of unknown length, perhaps: the exact arithmetic would not hold
        made = [span.scaled(now.length) for span, now in zip(spans, made, strict=True)]
    return replace(tracked, spans=tuple(made))


def _weight(node: ir.Node) -> ir.Value | None:
    at = 3 if node.op_type == "QLinearConv" else 1
    return node.inputs[at] if len(node.inputs) > at else None


def _on_axes(node: ir.Node, tracked: Tracked, first: int) -> list[Span]:
    """Return the spans in the order of the axes from *first* on; spans without an axis take them in their order."""
    known = all(span.axis is not None for span in tracked.spans)
    spans = sorted(tracked.spans, key=lambda span: span.axis or 0) if known else list(tracked.spans)
    spans = [replace(span, axis=first + at) for at, span in enumerate(spans)]
    if known:
        return spans
    return list(measured(node.inputs[0], Tracked(tuple(spans))).spans) if node.inputs[0] is not None else spans


def _pads(node: ir.Node, at: int, length: int, size: int, step: int) -> tuple[int, int]:
    """Return the padding before and after axis *at*."""
    auto = node.attributes.get_string("auto_pad", "NOTSET") or "NOTSET"
    if auto.startswith("SAME"):
        total = max(0, (ceil(length / step) - 1) * step + size - length)
        small, large = total // 2, total - total // 2
        return (small, large) if auto == "SAME_UPPER" else (large, small)
    pads = list(node.attributes.get_ints("pads", ())) if auto == "NOTSET" else []
    return (pads[at], pads[at + len(pads) // 2]) if pads else (0, 0)


def _window(node: ir.Node, at: int, span: Span, size: int, step: int) -> Span:
    before, after = _pads(node, at, span.length, size, step)
    rounded = ceil if node.attributes.get_int("ceil_mode", 0) else floor
    count = rounded((span.length + before + after - size) / step) + 1
    declared = length_of(node.outputs[0], 2 + at)
    count = declared or count
    return span.window(-before + (size - step) / 2, step, count) if count > 1 else span.scaled(1)


def _transposed_window(node: ir.Node, at: int, span: Span, size: int, step: int) -> Span:
    before, after = _pads(node, at, span.length, size, step)
    more = list(node.attributes.get_ints("output_padding", ()))
    count = (span.length - 1) * step + size - before - after + (more[at] if more else 0)
    first = (size - step) / 2 - before
    if abs(first) < step and abs(first + step * span.length - count) < step:
        return span.scaled(count)
    return span.window(-first / step, 1 / step, count)
