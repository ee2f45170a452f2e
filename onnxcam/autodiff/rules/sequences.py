"""Operators that make, join and read sequences and optionals.

The cotangent of a sequence is a sequence, that of an optional the cotangent of its content (`autodiff.cotangents`).
"""

from __future__ import annotations

from functools import partial

import onnx_ir as ir

from onnxcam.autodiff.cotangents import ElementCotangent, zeros_like
from onnxcam.autodiff.table import Gradients, V, rule
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.sequences import at, lengths


@rule("SequenceConstruct")
def sequence_construct(op: Emitter, node: ir.Node, dy: V, *xs: V) -> Gradients:
    """y = (x₀, x₁, …): dxᵢ = dyᵢ."""
    return tuple(partial(op.SequenceAt, dy, i) for i in range(len(xs)))


@rule("SequenceInsert")
def sequence_insert(op: Emitter, node: ir.Node, dy: V, s: V, x: V, position: V | None = None) -> Gradients:
    """y is s with x inserted at a position: ds is dy without that element, dx is that element."""
    place = () if position is None else (at(op, s, position),)
    return op.SequenceErase(dy, *place), op.SequenceAt(dy, *place or (-1,)), None


@rule("SequenceErase")
def sequence_erase(op: Emitter, node: ir.Node, dy: V, s: V, position: V | None = None) -> Gradients:
    """y is s without one element, the last by default: ds is dy with zeros there."""
    place = () if position is None else (at(op, s, position),)
    erased = op.SequenceAt(s, *place or (-1,))
    return op.SequenceInsert(dy, zeros_like(op, erased), *place), None


@rule("SequenceAt")
def sequence_at(op: Emitter, node: ir.Node, dy: V, s: V, position: V) -> Gradients:
    """y = s[i]: ds is dy at i, zeros elsewhere."""
    return ElementCotangent(at(op, s, position), dy), None


@rule("SplitToSequence")
def split_to_sequence(op: Emitter, node: ir.Node, dy: V, x: V, split: V | None = None) -> Gradients:
    """y are the parts of x along an axis, kept or not: dx is dy joined."""
    lacking = split is None and not node.attributes.get_int("keepdims", 1)
    return op.ConcatFromSequence(dy, axis=node.attributes.get_int("axis", 0), new_axis=int(lacking)), None


@rule("ConcatFromSequence")
def concat_from_sequence(op: Emitter, node: ir.Node, dy: V, s: V) -> Gradients:
    """y are the elements of s, joined along an axis, or stacked along a new one: ds is dy split."""
    axis = node.attributes["axis"].as_int()
    if node.attributes.get_int("new_axis", 0):
        return (op.SplitToSequence(dy, axis=axis, keepdims=0),)
    return (op.SplitToSequence(dy, lengths(op, s, axis), axis=axis),)


@rule("Optional")
def optional(op: Emitter, node: ir.Node, dy: V, *held: V) -> Gradients:
    """y contains x, or is empty: dx = dy."""
    return (dy,) * len(held)


@rule("OptionalGetElement")
def optional_get_element(op: Emitter, node: ir.Node, dy: V, x: V) -> Gradients:
    """y is the content of x, or x itself if it is not an optional: dx = dy."""
    return (dy,)
