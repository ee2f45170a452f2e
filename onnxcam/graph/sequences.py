"""Emit operators for each element of a sequence."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from onnxcam.graph.fold import constant

if TYPE_CHECKING:
    from onnxcam.graph.emitter import Emitter

__all__ = ["at", "body", "each", "is_plain", "lengths", "loop_over"]


def is_plain(x: ir.Value) -> bool:
    """Whether *x* is a tensor, rather than a sequence or an optional."""
    return not isinstance(x.type, ir.SequenceType | ir.OptionalType)


def at(op: Emitter, s: ir.Value, position: ir.Value) -> ir.Value:
    """Return the index *position* of the sequence *s*, which may be negative, as an index from the start."""
    known = constant(position)
    if known is not None and known >= 0:
        return position
    return op.Where(op.Less(position, 0), op.Add(position, op.SequenceLength(s)), position)


def lengths(op: Emitter, s: ir.Value, axis: int) -> ir.Value:
    """Return the lengths of the elements of *s* along *axis*, int64 [n]."""
    maker = s.producer()
    if maker is not None and maker.op_type == "SequenceConstruct":
        return op.Concat(*(op.dim(x, axis) for x in maker.inputs if x is not None), axis=0)
    return op.ConcatFromSequence(each(op, f"lengths {axis}", lambda inner, x: inner.dim(x, axis), s), axis=0)


def each(op: Emitter, name: str, function: Callable[..., ir.Value], *sequences: ir.Value) -> ir.Value:
    """Return the sequence of the results of *function* for the elements of *sequences*.

    *name* identifies the function: it is emitted once for the same sequences.
    """

    def emit() -> ir.Value:
        (made,) = loop_over(op, body(op, function, *sequences), *sequences)
        return made

    return op.once((name, *map(id, sequences)), emit)


def loop_over(op: Emitter, graph: ir.Graph, *xs: ir.Value) -> tuple[ir.Value, ...]:
    """Return the sequences of the outputs of *graph* for the elements of *xs*, computed by a Loop.

    The first of *xs* is a sequence; every iteration reads the tensors among *xs*. *graph* becomes the Loop's body.
    """
    inner = op.inner(graph)
    number, going = (
        ir.Value(name=inner.name(f"{graph.name}.in"), shape=ir.Shape([]), type=ir.TensorType(dtype))
        for dtype in (ir.DataType.INT64, ir.DataType.BOOL)
    )
    kinds = [ir.SequenceType(ir.TensorType(y.dtype or ir.DataType.FLOAT)) for y in graph.outputs]
    lists = [ir.Value(name=inner.name(f"{graph.name}.in"), type=kind) for kind in kinds]
    given = [x if is_plain(x) else inner.SequenceAt(x, number) for x in xs]
    longer = [inner.SequenceInsert(s, y) for s, y in zip(lists, graph.outputs, strict=True)]
    outputs = [inner.alias(going), *longer]
    inner.place([*given, *outputs])
    for old, new in zip(graph.inputs, given, strict=True):
        new.shape = old.shape if new.shape is None else new.shape
        old.replace_all_uses_with(new, replace_graph_outputs=True)
    graph.inputs[:], graph.outputs[:] = [number, going, *lists], outputs
    graph.sort()
    empty = [op.SequenceEmpty(dtype=int(kind.dtype)) for kind in kinds]
    count, always = op.SequenceLength(xs[0]), op.const(np.asarray(True))
    made = op.Loop(count, always, *empty, body=graph, outputs=len(lists))
    made = made if isinstance(made, tuple) else (made,)
    for y, kind in zip(made, kinds, strict=True):
        y.type = kind
    return made


def body(op: Emitter, function: Callable[..., ir.Value], *likes: ir.Value) -> ir.Graph:
    """Return a graph of *function*, with one input for an element of each of the sequences *likes*."""
    graph = ir.Graph([], [], nodes=[], name=op.name("onnxcam.body"))
    inner = op.inner(graph)
    for s in likes:
        kind = ir.TensorType(s.dtype) if s.dtype is not None else None
        graph.inputs.append(ir.Value(name=inner.name(f"{graph.name}.in"), shape=s.shape, type=kind))
    graph.outputs.append(inner.alias(function(inner, *graph.inputs)))
    inner.place(graph.outputs)
    return graph
