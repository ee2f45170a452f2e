"""Correct the shapes that onnx infers for sequences."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import onnx
import onnx_ir as ir

__all__ = ["MADE_UP", "inferred_by_onnx", "shared_lengths", "without"]

MADE_UP = "unk__"
"""The prefix of the symbolic lengths that onnx makes up."""


def inferred_by_onnx(proto: onnx.ModelProto, values: bool = True) -> onnx.ModelProto:
    """Infer shapes by onnx; with *values* also from the values of computed shapes.

    onnx assumes that every element of a loop-carried sequence has the shape of the initial ones: this is corrected.
    """
    inferred = onnx.shape_inference.infer_shapes(proto, strict_mode=False, data_prop=values)
    lists = _open_lists(proto.graph, inferred.graph, {})
    if not lists:
        return inferred
    proto.graph.input.extend(lists)
    return onnx.shape_inference.infer_shapes(proto, strict_mode=False, data_prop=values)


def _open_lists(graph: onnx.GraphProto, inferred: onnx.GraphProto, types: dict[str, Any]) -> list[onnx.ValueInfoProto]:
    """Replace the initial sequences of Loops in *graph* by new inputs without element shapes; return these."""
    loops = [node for node in graph.node if node.op_type in {"Loop", "If", "Scan"}]
    if not loops:
        return []
    given = [*inferred.input, *inferred.value_info, *inferred.output]
    types = {**types, **{value.name: value.type for value in given}}
    lists: list[onnx.ValueInfoProto] = []
    for node, copy in zip(graph.node, inferred.node, strict=True):
        for k, name in enumerate(node.input if node.op_type == "Loop" else ()):
            if name in types and types[name].sequence_type.elem_type.tensor_type.HasField("shape"):
                lists.append(onnx.ValueInfoProto(name=f"{name}.{len(lists)}.{graph.name}", type=types[name]))
                lists[-1].type.sequence_type.elem_type.tensor_type.ClearField("shape")
                node.input[k] = lists[-1].name
        for mine, theirs in zip(node.attribute, copy.attribute, strict=True):
            if mine.HasField("g"):
                lists += _open_lists(mine.g, theirs.g, types)
    return lists


def shared_lengths(values: Iterable[ir.Value]) -> set[int | ir.SymbolicDim]:
    """Return the lengths that onnx made up for the elements of sequences: the elements may differ in length."""
    lists = [x for x in values if isinstance(x.type, ir.SequenceType)]
    return {dim for x in lists for dim in x.shape or () if str(dim).startswith(MADE_UP)}


def without(shape: ir.Shape | None, shared: set[int | ir.SymbolicDim]) -> ir.Shape | None:
    """Return *shape* without the lengths *shared*."""
    if not shared or shape is None or shared.isdisjoint(shape):
        return shape
    return ir.Shape([None if dim in shared else dim for dim in shape])
