"""Which tokens of a transformer's last block its head reads."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam.autodiff.rules.compose import length
from onnxcam.graph.fold import constant
from onnxcam.methods.attention_blocks import AttentionBlock
from onnxcam.methods.context import MapContext
from onnxcam.structure.layer import ancestors

__all__ = ["read_tokens"]


def read_tokens(context: MapContext, block: AttentionBlock) -> NDArray[np.float32]:
    """Return the weight of each token in what the head reads of the last block, [T]; they sum to 1.

    It reads a class token, the mean of all tokens, or several of these, which count the same.
    """
    graph, before, layout = context.op.graph, ancestors(context.target.value), block.layout
    count = length(block.last, layout.token)
    places = {block.last: (layout.token, np.arange(count))}
    reads = dict[tuple[int, ...], None]()
    for node in graph:
        if before.isdisjoint(node.outputs):
            continue
        for x in dict.fromkeys(x for x in node.inputs if x in places):
            axis, tokens = places[x]
            passed = _passed(node, x, axis, tokens)
            if passed is None:
                reads[tuple(tokens)] = None
            elif passed[0] is None:
                reads[tuple(passed[1])] = None
            else:
                places[node.outputs[0]] = passed[0], passed[1]
    weights = np.zeros(count, np.float32)
    for read in reads:
        weights[list(read)] += 1 / (len(read) * len(reads))
    return weights


def _passed(node: ir.Node, x: ir.Value, axis: int, tokens: NDArray[Any]) -> tuple[int | None, NDArray[Any]] | None:
    """Return the axis of *tokens*, those of *x* along *axis*, in the output of *node*, and which are left.

    The axis is None where one token is picked; the result is None where all are mixed.
    """
    y = node.outputs[0]
    if node.op_type == "Gather" and node.attributes.get_int("axis", 0) % len(x.shape or ()) == axis:
        indices = constant(node.inputs[1])
        if indices is None:
            return None
        return (axis if indices.ndim else None), tokens[indices].reshape(-1)
    if node.op_type == "Slice":
        bounds = [constant(value) for value in node.inputs[1:]]
        if any(bound is None for bound in bounds) or len(bounds) < 3:
            return None
        starts, ends, axes, steps = (*bounds, np.ones_like(bounds[0]))[:4]
        for start, end, along, step in zip(starts, ends, axes, steps, strict=True):  # type: ignore[arg-type]
            if along % len(x.shape or ()) == axis:
                tokens = tokens[start:end:step]
        return axis, tokens
    if node.op_type == "Transpose":
        order = list(node.attributes.get_ints("perm", ()) or range(len(x.shape or ()))[::-1])
        return order.index(axis), tokens
    same = x.shape is not None and y.shape is not None and len(x.shape) == len(y.shape)
    if same and axis < len(x.shape) - 1 and list(x.shape[:-1]) == list(y.shape[:-1]):  # type: ignore[index,arg-type]
        return axis, tokens
    return None
