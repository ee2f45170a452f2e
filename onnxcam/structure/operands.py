"""What the graph says of a node's inputs and outputs: ranks, lengths, constants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from onnxcam.structure.arithmetic import evaluate
from onnxcam.structure.span import Tracked

__all__ = ["has", "length_of", "measured", "named", "numbers", "rank_of"]


def named(node: ir.Node) -> str:
    """Return the operator and the name of *node*, for messages."""
    return f"{node.op_type} {(node.name or node.outputs[0].name or '')!r}"


def rank_of(x: ir.Value | None) -> int | None:
    """Return the declared rank; None where it is unknown."""
    return None if x is None or x.shape is None else len(x.shape)


def length_of(x: ir.Value | None, axis: int) -> int | None:
    """Return the declared length of *axis*; None where it is open or unknown."""
    n = None if x is None or x.shape is None or axis >= len(x.shape) else x.shape[axis]
    return n if isinstance(n, int) else None


def numbers(node: ir.Node, position: int, found: Mapping[ir.Value, Tracked]) -> list[float] | None:
    """Return the input at *position* as a list; None where it is missing, or depends on more than known lengths."""
    x = node.inputs[position] if position < len(node.inputs) else None
    value = None if x is None else evaluate(x, found)
    return None if value is None or np.isnan(value).any() else value.reshape(-1).tolist()


def has(node: ir.Node, position: int) -> bool:
    """Whether *node* has an input at *position*."""
    return position < len(node.inputs) and node.inputs[position] is not None


def measured(x: ir.Value, tracked: Tracked) -> Tracked:
    """Return *tracked* with the lengths that the graph declares for *x*, where it lost count of them."""
    lengths = {} if x.shape is None else {axis: n for axis, n in enumerate(x.shape) if isinstance(n, int)}
    return replace(
        tracked,
        spans=tuple(
            span
            if span.axis is None or lengths.get(span.axis, span.length) == span.length
            else span.scaled(lengths[span.axis])
            for span in tracked.spans
        ),
    )
