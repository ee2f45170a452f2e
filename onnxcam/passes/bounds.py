"""Tensors that no memory holds are refused by name, before onnx or ONNX Runtime computes them."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxcam.autodiff.fold import FOLD_LIMIT, FOLDS, computed, constant, size_of
from onnxcam.autodiff.subgraph import graphs
from onnxcam.errors import ModelError
from onnxcam.passes.constants import MORE

MADE = 2**31  # bytes that are made of constants: the runtime computes them while it opens the model
MAKERS = frozenset(("Range", "ConstantOfShape", "Expand", "Tile"))
"""Operators that make much of little: a number in the file says how much."""

Known = dict[ir.Value, np.ndarray]


def refuse_giants(model: ir.Model) -> None:
    """Raise ModelError for nodes that constants tell to make more than `MADE` bytes, and for integers divided by 0."""
    known: Known = {}
    for graph in graphs(model.graph):
        for node in graph:
            if node.domain == "" and (node.op_type in MAKERS or node.op_type in FOLDS or node.op_type in MORE):
                _follow(node, known)


def refuse_giant_shapes(model: ir.Model) -> None:
    """Raise ModelError for tensors, their shapes inferred, that exceed the memory of this machine."""
    room = _memory()
    for graph in graphs(model.graph):
        for value in (*graph.inputs, *(y for node in graph for y in node.outputs)):
            lengths = [dim for dim in value.shape or () if isinstance(dim, int)]
            if math.prod(lengths) * _width(value) > room and 0 not in lengths:
                raise ModelError(
                    f"tensor {value.name!r} {value.shape} takes {math.prod(lengths) * _width(value) / 1e9:.0f} GB, "
                    f"and this machine has {room / 1e9:.0f}; export the model for a smaller input"
                )


def _follow(node: ir.Node, known: Known) -> None:
    """Put the output of *node* among *known* if it is small and follows from these."""
    arrays = [None if x is None else _small(x, known) for x in node.inputs]
    attributes = {name: attribute.value for name, attribute in node.attributes.items()}
    if node.op_type in MAKERS:
        _check_size(node, arrays)
    function = MORE.get(node.op_type) or FOLDS.get(node.op_type)
    pairs = zip(node.inputs, arrays, strict=True)
    if function is None or not node.outputs or any(x is not None and array is None for x, array in pairs):
        return
    value = computed(node.op_type, function, arrays, attributes)
    if value is not None:
        known[node.outputs[0]] = value


def _small(x: ir.Value, known: Known) -> np.ndarray | None:
    if x in known:
        return known[x]
    if x.const_value is not None and x.const_value.size > FOLD_LIMIT:
        return None
    found = constant(x)
    return None if found is None or found.size > FOLD_LIMIT else found


def _check_size(node: ir.Node, arrays: Sequence[np.ndarray | None]) -> None:
    """Raise ModelError where the operands of *node*, as far as they are known, make too much."""
    data = np.zeros(1) if node.op_type in {"Expand", "Tile"} and arrays and arrays[0] is None else None
    operands = [data if data is not None and place == 0 else array for place, array in enumerate(arrays)]
    if any(array is None for array in operands):
        return
    try:
        size = size_of(node.op_type, operands, {})
    except (ArithmeticError, IndexError, TypeError, ValueError):  # whoever runs the model says what is wrong
        return
    like = operands[0].dtype.itemsize if node.op_type != "ConstantOfShape" and operands[0] is not None else 4
    if size * like > MADE and (data is None or size * like > _memory()):
        raise ModelError(
            f"node {node.name!r} ({node.op_type}) makes a tensor of {size} elements, {size * like / 1e9:.0f} GB; "
            "no runtime opens such a model"
        )


def _width(value: ir.Value) -> float:
    dtype = value.dtype
    return 4 if dtype is None or dtype in (ir.DataType.STRING, ir.DataType.UNDEFINED) else dtype.bitwidth / 8


def _memory() -> int:
    """Return how many bytes this process may hold at most."""
    try:
        room = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # no POSIX
        return 2**36
    return room
