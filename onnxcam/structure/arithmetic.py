"""Evaluate the small arithmetic by which exporters compute crops and padding from constants and lengths of axes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam.graph.fold import FOLD_LIMIT, FOLDS, computed, constant
from onnxcam.structure.span import Tracked

__all__ = ["Numbers", "evaluate"]

Numbers: TypeAlias = NDArray[Any]

_DEEPEST = 40
"""Longer chains of nodes are not followed."""


def evaluate(x: ir.Value, found: Mapping[ir.Value, Tracked]) -> Numbers | None:
    """Return the value of *x*, float64 with NaN for lengths that are not known; None where it depends on the image."""
    return _value(x, found, {}, 0)


def _value(
    x: ir.Value, found: Mapping[ir.Value, Tracked], known: dict[ir.Value, Numbers | None], depth: int
) -> Numbers | None:
    if x not in known:
        stated = constant(x)
        known[x] = _numbers(stated) if stated is not None else _of_node(x, found, known, depth)
    return known[x]


def _numbers(stated: Numbers) -> Numbers | None:
    return stated.astype(np.float64) if stated.dtype.kind in "biuf" and stated.size <= FOLD_LIMIT else None


def _of_node(
    x: ir.Value, found: Mapping[ir.Value, Tracked], known: dict[ir.Value, Numbers | None], depth: int
) -> Numbers | None:
    node = x.producer()
    if node is None or depth > _DEEPEST or node.domain not in ("", "ai.onnx"):
        return None
    if node.op_type == "Shape":
        return _shape(node, found)
    function = _FUNCTIONS.get(node.op_type)
    if function is None:
        return None
    inputs = [None if each is None else _value(each, found, known, depth + 1) for each in node.inputs]
    if any(value is None for value, each in zip(inputs, node.inputs, strict=True) if each is not None):
        return None
    attributes = {name: attribute.value for name, attribute in node.attributes.items()}
    made = computed(node.op_type, function, inputs, attributes)
    if made is None:
        return None
    whole = x.dtype is not None and x.dtype.is_integer()
    return np.trunc(made.astype(np.float64)) if whole else made.astype(np.float64)


def _shape(node: ir.Node, found: Mapping[ir.Value, Tracked]) -> Numbers | None:
    """Return the lengths of a tensor's axes: declared, or followed from the image."""
    x = node.inputs[0]
    if x is None or x.shape is None:
        return None
    lengths = np.array([n if isinstance(n, int) else np.nan for n in x.shape], np.float64)
    for span in found[x].spans if x in found else ():
        if span.axis is not None and span.axis < len(lengths) and np.isnan(lengths[span.axis]):
            lengths[span.axis] = span.length
    start, end = node.attributes.get_int("start", 0), node.attributes.get_int("end", len(lengths))
    return lengths[start:end]


def _ints(values: Numbers) -> list[int]:
    return [int(value) for value in np.reshape(values, -1)]


def _slice(
    data: Numbers, starts: Numbers, ends: Numbers, axes: Numbers | None = None, steps: Numbers | None = None
) -> Numbers:
    chosen = [slice(None)] * data.ndim
    for at, axis in enumerate(range(len(starts)) if axes is None else _ints(axes)):
        step = 1 if steps is None else _ints(steps)[at]
        chosen[axis] = slice(*slice(_ints(starts)[at], _ints(ends)[at], step).indices(data.shape[axis])[:2], step)
        if step < 0 and chosen[axis].stop < 0:
            chosen[axis] = slice(chosen[axis].start, None, step)
    return data[tuple(chosen)]


def _filled(shape: Numbers, value: Any = None) -> Numbers:
    return np.full(_ints(shape), 0.0 if value is None else float(value.numpy().reshape(-1)[0]))


def _exact(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return *function* with indices and shapes, all inputs but the first, as integers."""

    def call(data: Numbers, *rest: Numbers, **attributes: Any) -> Any:
        return function(data, *(each.astype(np.int64) for each in rest), **attributes)

    return call


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    **FOLDS,
    **{name: _exact(FOLDS[name]) for name in ("Gather", "Expand", "Unsqueeze", "Squeeze", "Reshape")},
    "Div": np.divide,
    "Cast": lambda data, **_: data,
    "Identity": lambda data: data,
    "Floor": np.floor,
    "Ceil": np.ceil,
    "Round": np.rint,
    "Slice": _slice,
    "Transpose": lambda data, perm=None: np.transpose(data, perm),
    "ConstantOfShape": _filled,
}
