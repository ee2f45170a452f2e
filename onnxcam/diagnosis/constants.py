"""The floating constants of a model, as its operators use them: computed, and with what scales channels folded in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam.engine import Session
from onnxcam.graph.fold import constant
from onnxcam.graph.io import all_tensors
from onnxcam.graph.subgraph import used_values

__all__ = ["Constant", "float_constants", "used_constants"]

_Arrays: TypeAlias = "dict[str, NDArray[Any]]"  # constants by name

_EPSILON = 1e-5  # of BatchNormalization, by default


@dataclass(frozen=True)
class Constant:
    """A constant of a model: the name of its tensor, and its values."""

    name: str
    array: NDArray[Any]


def float_constants(model: ir.Model) -> list[Constant]:
    """Return the floating constants that operators combine with data, in order of their use, and their parts.

    A linear operator in front of a batch normalisation, or of Mul and Add by constants, has two pairs of weights: its
    own, and those that include what follows. Parts are constants that a used one is computed of.
    """
    used = used_constants(model)
    names = {one.name for one in used}
    parts = [one for one in _constants(model, _parts(model.graph)) if one.name not in names]
    return [*used, *_folded(model.graph, {one.name: one.array for one in used}), *parts]


def used_constants(model: ir.Model) -> list[Constant]:
    """Return the floating constants that operators combine with data, in order of their use, as they are."""
    graph = model.graph
    moving = _moving(graph)
    return _constants(model, [x for node in graph if not moving.isdisjoint(node.outputs) for x in _read(node, moving)])


def _parts(graph: ir.Graph) -> list[ir.Value]:
    """Return the constants that others are computed of."""
    moving = _moving(graph)
    return [x for node in graph if moving.isdisjoint(node.outputs) for x in _read(node, moving)]


def _read(node: ir.Node, moving: set[ir.Value]) -> list[ir.Value]:
    return [x for x in used_values(node) if x is not None and x not in moving]


def _constants(model: ir.Model, values: Sequence[ir.Value]) -> list[Constant]:
    """Return the floating ones of *values*, which depend on no input, as constants."""
    fixed = [x for x in dict.fromkeys(values) if x.dtype is not None and x.dtype.is_floating_point()]
    arrays = {x.name or "": constant(x) for x in fixed}
    computed = [name for name, array in arrays.items() if array is None]
    if computed:
        arrays |= _computed(model, computed)
    return [Constant(name, array) for name, array in arrays.items() if array is not None]


def _moving(graph: ir.Graph) -> set[ir.Value]:
    """Return the values that depend on an input."""
    found = {value for value in graph.inputs if not value.is_initializer()}
    for node in graph:
        if any(x in found for x in used_values(node) if x is not None):
            found.update(node.outputs)
    return found


def _computed(model: ir.Model, names: list[str]) -> dict[str, NDArray[Any] | None]:
    """Return the tensors *names*, which depend on no input."""
    copy = model.clone()
    tensors = all_tensors(copy.graph)
    copy.graph.outputs[:] = [tensors[name] for name in names]
    session = Session(copy, "cpu", optimize=False)
    blank = {
        value.name or "": np.zeros([n if isinstance(n, int) else 1 for n in value.shape or ()], value.dtype.numpy())
        for value in copy.graph.inputs
        if value.dtype is not None
    }
    return dict(session.run({name: blank[name] for name in session.inputs}, names))


def _folded(graph: ir.Graph, arrays: _Arrays) -> Iterator[Constant]:
    """Yield weights and bias of each linear operator with what scales and shifts its channels after it."""
    for node in graph:
        w = _known(node.inputs[1], arrays) if node.op_type in _CHANNELS and len(node.inputs) > 1 else None
        if w is None or w.ndim < 2:
            continue
        slope, offset = np.ones(()), _bias(node, arrays)
        for follower in _followers(node):
            step = _affine(follower, node, arrays)
            if step is None:
                break
            slope, offset = slope * step.slope, offset * step.slope + step.offset
            if slope.ndim:
                yield Constant(_name(node.inputs[1]), w * _along(slope, node, w))
            if offset.ndim:
                yield Constant(step.name, offset)


_CHANNELS = {"Conv": 1, "ConvTranspose": 1, "Gemm": -1, "MatMul": -1}
"""Linear operators, and the axis of the channels of their output."""


@dataclass(frozen=True)
class _Affine:
    """y = slope x + offset for each channel; the name of the tensor with the offset, or with the slope."""

    slope: NDArray[Any]
    offset: NDArray[Any]
    name: str


def _followers(node: ir.Node) -> Iterator[ir.Node]:
    """Yield the operators behind *node*, as long as each reads the one before alone."""
    while len(node.outputs[0].uses()) == 1 and not node.outputs[0].is_graph_output():
        ((node, _),) = node.outputs[0].uses()
        yield node


def _affine(node: ir.Node, linear: ir.Node, arrays: _Arrays) -> _Affine | None:
    """Return what *node* does to the channels of what *linear* writes; None if it does anything else."""
    if node.op_type == "BatchNormalization":
        gamma, beta, mean, variance = (_known(x, arrays) for x in node.inputs[1:5])
        if gamma is None or beta is None or mean is None or variance is None:
            return None
        slope = gamma / np.sqrt(variance + node.attributes.get_float("epsilon", _EPSILON))
        return _Affine(slope, beta - mean * slope, _name(node.inputs[2]))
    if node.op_type not in ("Add", "Sub", "Mul", "Div"):
        return None
    first, second = (_known(x, arrays) for x in node.inputs)
    known, place = (second, 1) if second is not None else (first, 0)
    each = None if known is None else _each_channel(known, linear)
    if each is None or (place == 0 and node.op_type in ("Sub", "Div")):
        return None
    one, none = np.ones(()), np.zeros(())
    steps = {"Add": (one, each), "Sub": (one, -each), "Mul": (each, none), "Div": (1 / (each + (each == 0)), none)}
    return _Affine(*steps[node.op_type], _name(node.inputs[place]))


def _each_channel(array: NDArray[Any], linear: ir.Node) -> NDArray[Any] | None:
    """Return *array* as one number for each channel of what *linear* writes, or as one number."""
    if array.size == 1:
        return array.reshape(())
    shape = linear.outputs[0].shape
    axis = array.ndim - 1 if _CHANNELS[linear.op_type] < 0 else array.ndim - (0 if shape is None else len(shape)) + 1
    return array.reshape(-1) if 0 <= axis < array.ndim and array.shape[axis] == array.size else None


def _along(slope: NDArray[Any], linear: ir.Node, w: NDArray[Any]) -> NDArray[Any]:
    """Return *slope* so that it broadcasts to the weights *w* of *linear*."""
    transposed = linear.attributes.get_int("transB", 0)
    axis = {"Conv": 0, "ConvTranspose": 1, "Gemm": 0 if transposed else 1, "MatMul": w.ndim - 1}[linear.op_type]
    if w.shape[axis] != slope.size:
        return np.ones(())
    return slope.reshape([-1 if i == axis else 1 for i in range(w.ndim)])


def _bias(node: ir.Node, arrays: _Arrays) -> NDArray[Any]:
    known = _known((*node.inputs, None)[2], arrays)
    return np.zeros(()) if known is None else known.reshape(-1) if known.size > 1 else known.reshape(())


def _known(x: ir.Value | None, arrays: _Arrays) -> NDArray[Any] | None:
    return arrays.get(_name(x))


def _name(x: ir.Value | None) -> str:
    return "" if x is None else x.name or ""
