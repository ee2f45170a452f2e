"""Doubt the declared shapes of computed tensors: exporters write wrong ones, and ONNX Runtime runs the files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import onnx_ir as ir

from onnxcam.graph.sequence_shapes import MADE_UP
from onnxcam.graph.subgraph import graphs

__all__ = ["UNPROVEN", "believe", "forget", "forget_made_up", "is_proven"]

UNPROVEN = "onnxcam.unproven"
"""The key in a tensor's `meta`: its rank is declared, and onnx does not infer it."""


def forget(model: ir.Model) -> dict[str, ir.Shape]:
    """Remove the declared shapes of computed tensors, in place; return them by name.

    Weights get the shapes of their values.
    """
    for weight in (w for graph in graphs(model.graph) for w in graph.initializers.values()):
        if weight.const_value is not None:
            weight.shape = ir.Shape(weight.const_value.shape.numpy())
    declared = {}
    for value in _computed(model.graph):
        if value.shape is not None:
            declared[value.name or ""], value.shape = value.shape, None
    return declared


def believe(model: ir.Model, declared: Mapping[str, ir.Shape]) -> bool:
    """Give tensors their *declared* shape or lengths, where none are inferred and the ranks agree, in place.

    Tensors of unknown rank are marked. Return whether a tensor changed that a node uses.
    """
    changed = False
    for value in _computed(model.graph) if declared else ():
        said, before = declared.get(value.name or ""), value.shape
        if said is None:
            continue
        value.shape = said if before is None else _agreed(before, said)
        if before is None:
            value.meta[UNPROVEN] = True
        changed |= value.shape != before and bool(value.uses())
    return changed


def forget_made_up(model: ir.Model) -> None:
    """Remove the shapes of computed tensors with lengths that onnx made up: there may be more to infer."""
    for value in _computed(model.graph):
        if value.shape is not None and not all(map(_is_inferred, value.shape)):
            value.shape = None


def _computed(graph: ir.Graph) -> Iterator[ir.Value]:
    """Yield the outputs of the nodes of *graph* and of the branches of its Ifs.

    The bodies of loops are excluded: their shapes are those of one iteration, which `loops` examines.
    """
    for node in graph:
        yield from (y for y in node.outputs if y.name)
        if node.op_type == "If" and node.domain == "":
            for attribute in node.attributes.values():
                yield from _computed(attribute.as_graph())


def _agreed(inferred: ir.Shape, declared: ir.Shape) -> ir.Shape:
    if len(inferred) != len(declared) or all(map(_is_inferred, inferred)):
        return inferred
    return ir.Shape([mine if _is_inferred(mine) else said for mine, said in zip(inferred, declared, strict=True)])


def _is_inferred(length: int | ir.SymbolicDim) -> bool:
    return isinstance(length, int) or (length.value is not None and not length.value.startswith(MADE_UP))


def is_proven(model: ir.Model) -> bool:
    """Whether no shape of *model* is only declared."""
    return not any(UNPROVEN in value.meta for value in _computed(model.graph))
