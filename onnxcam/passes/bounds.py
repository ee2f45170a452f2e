"""Refuse models that ONNX Runtime cannot survive: tensors beyond the memory, endless loops, divisions by 0."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from onnxcam.errors import ModelError
from onnxcam.graph.fold import FOLD_LIMIT, FOLDS, computed, constant, size_of
from onnxcam.graph.operators import Trait, operators
from onnxcam.graph.subgraph import attributes, graphs
from onnxcam.passes.constants import MORE

__all__ = ["MADE", "MAKERS", "TRIPS", "refuse_giant_shapes", "refuse_giants"]

MADE = 2**31  # bytes computed from constants: the runtime computes these when it opens the model
TRIPS = 10**8
"""The most iterations of a Loop: an empty body takes minutes for these."""
_STEPS = {"strides", "dilations", "kernel_shape", "group"}
"""Attributes of convolutions and pools whose numbers are 1 or more."""
MAKERS = operators(Trait.REPEATS) | {"Range", "ConstantOfShape", "Pad"}
"""Operators whose output may be much larger than their inputs: a number in the file sets its size."""


@dataclass
class _Seen:
    """Known facts about a model's tensors: the values of small ones, the greatest lengths of vectors."""

    known: dict[ir.Value, np.ndarray] = field(default_factory=dict)
    lengths: dict[ir.Value, int] = field(default_factory=dict)


def refuse_giants(model: ir.Model) -> int:
    """Return the length of the longest vector, as far as constants show it.

    ModelError for a node whose output has more than `MADE` bytes by these constants, whose window has a size or stride
    below 1, or that divides integers by 0.
    """
    seen = _Seen()
    for graph in graphs(model.graph):
        for value in graph.inputs:
            _see(value, seen)
        for node in graph:
            for y in node.outputs:
                _see(y, seen)
            _refuse_steps(node)
            _refuse_zero_divisor(node, seen)
            if node.domain == "" and node.outputs:
                _follow(node, seen)
            if node.domain == "" and node.op_type == "Loop":
                _refuse_endless(node, seen)
    return max(seen.lengths.values(), default=0)


def _refuse_steps(node: ir.Node) -> None:
    """Raise ModelError for a window of size or stride 0: an older ONNX Runtime divides by it and ends the process."""
    for attribute in attributes(node):
        if attribute.name not in _STEPS or attribute.type not in (ir.AttributeType.INT, ir.AttributeType.INTS):
            continue
        steps = [attribute.value] if isinstance(attribute.value, int) else list(attribute.value)
        if min(steps, default=1) < 1:
            raise ModelError(f"{_called(node)} has {attribute.name} {steps}; each must be 1 or more")


def _refuse_zero_divisor(node: ir.Node, seen: _Seen) -> None:
    """Raise ModelError for integers divided by a constant 0, which ends the process in an older ONNX Runtime."""
    if node.domain == "" and node.op_type in ("Div", "Mod") and len(node.inputs) == 2 and node.inputs[1] is not None:
        divisor = _small(node.inputs[1], seen.known)
        if divisor is not None and divisor.dtype.kind in "iu" and not divisor.all():
            raise ModelError(f"{_called(node)} divides integers by 0")


def _refuse_endless(node: ir.Node, seen: _Seen) -> None:
    """Raise ModelError for a Loop of more than `TRIPS` iterations that no condition ends earlier."""
    body, (trips, first) = node.attributes["body"].as_graph(), (*node.inputs, None, None)[:2]
    condition = _source(body.outputs[0]) if body.outputs else None
    kept = condition in body.inputs[1:2]
    if condition is None or not (kept or _is_true(condition, seen)) or not (first is None or _is_true(first, seen)):
        return
    count = np.array(np.inf) if trips is None else _small(trips, seen.known)
    if count is not None and count.size == 1 and count.item() > TRIPS:
        raise ModelError(f"{_called(node)} makes {count.item():.3g} trips, and no condition ends it; no run of it ends")


def _source(x: ir.Value) -> ir.Value:
    while (maker := x.producer()) is not None and maker.op_type == "Identity" and maker.inputs[0] is not None:
        x = maker.inputs[0]
    return x


def _is_true(x: ir.Value, seen: _Seen) -> bool:
    value = _small(x, seen.known)
    return value is not None and value.size == 1 and bool(value.item())


def _see(value: ir.Value, seen: _Seen) -> None:
    if value.shape is not None and len(value.shape) == 1 and isinstance(value.shape[0], int):
        seen.lengths[value] = value.shape[0]


def refuse_giant_shapes(model: ir.Model) -> None:
    """Raise ModelError for a tensor that exceeds the memory; call it after shape inference."""
    room = _memory()
    for graph in graphs(model.graph):
        for value in (*graph.inputs, *(y for node in graph for y in node.outputs)):
            lengths = [dim for dim in value.shape or () if isinstance(dim, int)]
            if math.prod(lengths) * _width(value) > room and 0 not in lengths:
                raise ModelError(
                    f"tensor {value.name!r} {value.shape} takes {_gigabytes(math.prod(lengths) * _width(value))}, "
                    f"and there is room for {_gigabytes(room)}; export the model for a smaller input"
                )


def _follow(node: ir.Node, seen: _Seen) -> None:
    """Add the output of *node* to *seen* if its inputs determine it."""
    if node.op_type not in MAKERS and node.op_type not in FOLDS and node.op_type not in MORE:
        return
    arrays = [None if x is None else _small(x, seen.known) for x in node.inputs]
    attributes = {name: attribute.value for name, attribute in node.attributes.items()}
    made = _check_size(node, arrays) if node.op_type in MAKERS else 0
    parts = [_length(x, seen) for x in node.inputs if x is not None]
    length = max(made, sum(parts) if node.op_type == "Concat" else max(parts, default=0))
    if length:
        seen.lengths.setdefault(node.outputs[0], length)
    function = MORE.get(node.op_type) or FOLDS.get(node.op_type)
    pairs = zip(node.inputs, arrays, strict=True)
    if function is None or any(x is not None and array is None for x, array in pairs):
        return
    value = computed(node.op_type, function, arrays, attributes)
    if value is not None:
        seen.known[node.outputs[0]] = value


def _length(x: ir.Value, seen: _Seen) -> int:
    if x in seen.lengths:
        return seen.lengths[x]
    tensor = x.const_value
    return tensor.size if tensor is not None and len(tensor.shape) == 1 else 0


def _small(x: ir.Value, known: dict[ir.Value, np.ndarray]) -> np.ndarray | None:
    if x in known:
        return known[x]
    if x.const_value is not None and x.const_value.size > FOLD_LIMIT:
        return None
    found = constant(x)
    return None if found is None or found.size > FOLD_LIMIT else found


def _check_size(node: ir.Node, arrays: Sequence[np.ndarray | None]) -> int:
    """Return the number of elements that *node* makes, 0 if unknown; ModelError if there are too many."""
    data = np.zeros(1) if node.op_type in operators(Trait.REPEATS) and arrays and arrays[0] is None else None
    operands = [data if data is not None and place == 0 else array for place, array in enumerate(arrays)]
    if any(x is not None and array is None for x, array in zip(node.inputs, operands, strict=True)):
        return 0
    try:
        size = size_of(node.op_type, operands, {})
    except (ArithmeticError, IndexError, TypeError, ValueError):  # the runtime reports wrong operands
        return 0
    like = operands[0].dtype.itemsize if node.op_type != "ConstantOfShape" and operands[0] is not None else 4
    if size * like > MADE and (data is None or size * like > _memory()):
        raise ModelError(
            f"{_called(node)} makes a tensor of {size:.3g} elements, {_gigabytes(size * like)}; "
            "no runtime opens such a model"
        )
    return size


def _called(node: ir.Node) -> str:
    makes = next((y.name for y in node.outputs), "")
    return f"node {node.name!r} ({node.op_type})" if node.name else f"the {node.op_type} that makes {makes!r}"


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.1e} GB" if size >= 1e15 else f"{size / 1e9:.0f} GB"


def _width(value: ir.Value) -> float:
    dtype = value.dtype
    return 4 if dtype is None or dtype in (ir.DataType.STRING, ir.DataType.UNDEFINED) else dtype.bitwidth / 8


def _memory() -> int:
    """Return the memory limit of this process in bytes."""
    try:
        import resource

        own = resource.getrlimit(resource.RLIMIT_AS)[0]
        room = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ImportError, OSError, ValueError):  # no POSIX
        return 2**36
    return room if own == resource.RLIM_INFINITY else min(own, room)
