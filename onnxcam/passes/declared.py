"""Doubt the declared shapes of computed tensors: exporters write wrong ones, and ONNX Runtime runs the files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import onnx_ir as ir

from onnxcam.graph.infer import infer_model
from onnxcam.graph.sequence_shapes import MADE_UP

__all__ = ["UNPROVEN", "believe", "doubt", "forget"]

UNPROVEN = "onnxcam.unproven"
"""The key in a tensor's `meta`: its rank is declared, and onnx does not infer it."""


def doubt(model: ir.Model, values: bool = True) -> dict[str, ir.Shape]:
    """Replace the declared shapes of computed tensors by inferred ones, in place; remove those that onnx cannot infer.

    A declared length counts where no length is inferred and the ranks agree. *values* is that of `infer_model`.
    Return the removed shapes by the names of their tensors.
    """
    for weight in (w for graph in model.graphs() for w in graph.initializers.values()):
        if weight.const_value is not None:
            weight.shape = ir.Shape(weight.const_value.shape.numpy())
    declared = {y: y.shape for y in _computed(model.graph)}
    if all(shape is None for shape in declared.values()):
        return {}
    for value in declared:
        value.shape = None
    infer_model(model, values)
    unproven = {}
    for value, shape in declared.items():
        if shape is not None and value.shape is None:
            unproven[value.name or ""] = shape
        value.shape = None if shape is None or value.shape is None else _agreed(value.shape, shape)
    return unproven


def believe(model: ir.Model, declared: Mapping[str, ir.Shape]) -> bool:
    """Give the tensors of unknown shape their *declared* one, and mark them; return whether there were any."""
    missing = [y for y in _computed(model.graph) if y.shape is None and y.name in declared]
    for value in missing:
        value.shape, value.meta[UNPROVEN] = declared[value.name or ""], True
    return bool(missing)


def forget(model: ir.Model, declared: Mapping[str, ir.Shape]) -> None:
    """Remove the shapes of the tensors named in *declared*."""
    for value in _computed(model.graph) if declared else ():
        value.shape = None if value.name in declared else value.shape


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
    rest = declared if len(declared) == len(inferred) else [None] * len(inferred)
    return ir.Shape([mine if _is_inferred(mine) else theirs for mine, theirs in zip(inferred, rest, strict=True)])


def _is_inferred(length: int | ir.SymbolicDim) -> bool:
    return isinstance(length, int) or (length.value is not None and not length.value.startswith(MADE_UP))
