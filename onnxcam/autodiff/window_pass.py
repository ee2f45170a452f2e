"""The reverse pass of windows: from the targets towards the wanted values, as far as windows stay small.

Each window goes on by itself, as gradients are linear in the cotangents. An operator whose rule names the axes of its
inputs (trait ``along``) is applied to the window of its inputs and outputs; along other axes the window is widened
first. Operators with a geometry of their own have the trait ``window``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import onnx_ir as ir

from onnxcam.autodiff.core import Cotangent, Scope, apply_rule, dense, dependents, evaluated
from onnxcam.autodiff.cotangents import total
from onnxcam.autodiff.rules.codes import rounding
from onnxcam.autodiff.slices import NodeSlice
from onnxcam.autodiff.table import Rule, RuleSet
from onnxcam.autodiff.windows import AxisSpan, Window, crop, joined
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.infer import rank
from onnxcam.graph.subgraph import used_values

__all__ = ["carried", "dense_seeds"]


def carried(
    op: Emitter, seeds: Iterable[tuple[ir.Value, Window]], wanted: Sequence[ir.Value], rules: RuleSet
) -> list[tuple[ir.Value, Window]]:
    """Emit the gradients of windows *seeds* up to the values *wanted*, or before these where a window ends.

    Returns:
        Values and windows of their cotangents. The gradient of *wanted* is the one that these have together.
    """
    nodes = list(op.graph)
    scope = Scope(dependents(nodes, wanted, rules), rules)
    waiting, ended = defaultdict[ir.Value, list[Window]](list), list[tuple[ir.Value, Window]]()
    for y, seed in seeds:
        if y in scope.active:
            waiting[y].append(seed)
    for node in reversed(nodes):
        for y in node.outputs:
            for window in joined(op, waiting.pop(y, []), y):
                found = None if y in wanted else _advanced(op, node, y, window, scope)
                if found is None:
                    ended.append((y, window))
                for x, further in found or []:
                    waiting[x].append(further)
    return ended + [(x, window) for x, windows in waiting.items() for window in joined(op, windows, x)]


def dense_seeds(
    op: Emitter, ends: Iterable[tuple[ir.Value, Window]], others: Mapping[ir.Value, ir.Value] | None = None
) -> dict[ir.Value, ir.Value]:
    """Return the cotangents of all targets, [M, …], by value: those of the windows *ends*, and *others*."""
    found = dict(others or {})
    for value, window in ends:
        whole = window.dense(op, value)
        found[value] = total(op, found[value], whole) if value in found else whole
    return found


def _advanced(
    op: Emitter, node: ir.Node, y: ir.Value, window: Window, scope: Scope
) -> list[tuple[ir.Value, Window]] | None:
    """Return the windows of the active inputs of *node* for a *window* of its output *y*; None where it ends."""
    if scope.rules.blocks(node) or scope.active.isdisjoint(used_values(node)):
        return []
    row = scope.rules.find(node)
    if row.inner or y is not node.outputs[0] or rounding(y) is not None:
        return None
    if row.window is not None:
        made = row.window(op, node, window)
        if made is None:
            return None
        pairs = [(x, part) for x, part in zip(node.inputs, made, strict=False) if x in scope.active]
        return [(x, part) for x, part in pairs if x is not None and part is not None]
    return None if row.along is None else _along(op, node, y, window, row, scope)


def _along(
    op: Emitter, node: ir.Node, y: ir.Value, window: Window, row: Rule, scope: Scope
) -> list[tuple[ir.Value, Window]] | None:
    """Apply the rule of *node* to the *window* of its inputs and its output."""
    assert row.along is not None
    spans: list[dict[int, AxisSpan]] = [{} for _ in node.inputs]
    for axis in window.axes:
        axes = row.along(node, axis)
        wide = window.widened(op, y, axis) if axes is None else window
        if wide is None:
            return None
        window = wide
        for own, x, place in zip(spans, node.inputs, axes or [None] * len(spans), strict=True):
            single = axis == 0 and x in scope.active and x is not None and _lines_up(x, y)
            if place is not None or single:
                own[place or 0] = window.spans[axis]  # type: ignore[assignment]
    parts = [_part(op, x, own, rank(y)) for x, own in zip(node.inputs, spans, strict=True)]
    seen = crop(op, y, window.spans)
    for x, own, part in zip(node.inputs, spans, parts, strict=True):
        if x is not None and (part is None or (x in scope.active and 0 not in own)):
            return None
    if seen is None:
        return None
    view = NodeSlice(node, parts, [seen, *node.outputs[1:]], [None] * len(parts))
    dys: list[Cotangent | None] = [window.value, *[None] * (len(node.outputs) - 1)]
    found = list[tuple[ir.Value, Window]]()
    for x, own, (part, dx) in zip(node.inputs, spans, apply_rule(op, view, row, dys, scope), strict=False):  # type: ignore[arg-type]
        made: Any = evaluated(op, row, dx, part, seen) if x in scope.active and part is not None else None
        if x is not None and part is not None and made is not None:
            inner = [own.get(axis) for axis in range(rank(x))]
            found.append((x, Window.of(dense(op, made, part), inner, x)))
    return found


def _lines_up(x: ir.Value, y: ir.Value) -> bool:
    """Whether *x* and *y* have one image, so that their first axes look like broadcast ones."""
    return x.shape is not None and y.shape is not None and rank(x) == rank(y) and x.shape[0] == y.shape[0] == 1


def _part(op: Emitter, x: ir.Value | None, spans: dict[int, AxisSpan], dims: int) -> ir.Value | None:
    """Return the window of *x*; a tensor without images gets the first axes of a result of rank *dims*."""
    if x is None or not spans:
        return x
    if 0 not in spans and x.shape is not None and rank(x) < dims:
        missing = dims - rank(x)
        wide: ir.Value = op.Unsqueeze(x, list(range(missing)))
        wide.shape, wide.type = ir.Shape([*[1] * missing, *x.shape]), x.type
        return crop(op, wide, [*[None] * missing, *(spans.get(axis) for axis in range(rank(x)))])
    return crop(op, x, [spans.get(axis) for axis in range(rank(x))])
