"""Measure the shapes that inference does not know, by runs of the network on probe images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import onnx_ir as ir

from onnxcam.autodiff import STANDARD
from onnxcam.graph.infer import content
from onnxcam.graph.io import all_tensors
from onnxcam.graph.subgraph import counted
from onnxcam.model.prepared import PreparedModel
from onnxcam.passes.declared import UNPROVEN
from onnxcam.passes.shapes import infer_shapes

__all__ = ["Measured", "apply_measured", "uncertain"]

Measured: TypeAlias = Mapping[str, Sequence[tuple[int, ...]]]
"""The shapes of tensors, by name: one of each run, for one image."""

_MeasuredLength: TypeAlias = "int | ir.SymbolicDim | None"


def uncertain(model: ir.Model) -> list[str]:
    """Return the tensors whose rank is unknown, or declared and not inferred."""
    made = (y for node in model.graph for y in node.outputs if y.name)
    return [y.name or "" for y in made if _is_tensor(y) and (y.shape is None or UNPROVEN in y.meta)]


def apply_measured(prepared: PreparedModel, measured: Measured) -> None:
    """Give the tensors the shapes that all runs have, in place.

    A length is open where the runs differ, where it depends on the values of the image, and on an open batch axis.
    """
    tensors, varying = all_tensors(prepared.model.graph), counted(prepared.model.graph)
    for name, runs in measured.items():
        value = tensors[name]
        declared = list(value.shape) if value.shape is not None else []
        rank = len(runs[0])
        if any(len(shape) != rank for shape in runs):
            continue
        said: list[_MeasuredLength] = [*declared] if len(declared) == rank else [None] * rank
        lengths = [_length(said[axis], {shape[axis] for shape in runs}, value in varying) for axis in range(rank)]
        if lengths and not isinstance(prepared.batch, int):
            lengths[0] = said[0] if isinstance(said[0], ir.SymbolicDim) else None
        value.shape = ir.Shape(lengths)
        value.meta.pop(UNPROVEN, None)
    infer_shapes(prepared.model, STANDARD.compositions, anew=True)


def _length(declared: _MeasuredLength, found: set[int], varies: bool) -> _MeasuredLength:
    (one, *others) = found
    if varies or others:
        return declared if isinstance(declared, ir.SymbolicDim) or found == {declared} else None
    return one


def _is_tensor(value: ir.Value) -> bool:
    return not isinstance(content(value.type), ir.SequenceType) and not isinstance(value.type, ir.OptionalType)
