"""Constant folding while a graph is built: small arithmetic, and means that cancel a repetition.

`computed` does all of it, and checks first how large the result will be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from math import prod
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxcam.graph.operators import Trait, operators

__all__ = ["BROADCAST", "FOLDS", "FOLD_LIMIT", "SIZES", "cancel", "computed", "constant", "fold", "size_of"]

FOLD_LIMIT = 4096  # elements; larger constants are left to the runtime's own folding


def fold(op_type: str, inputs: Sequence[ir.Value | None], attributes: dict[str, Any]) -> np.ndarray | None:
    """Return the output of an operator if all its inputs are small constants, else None."""
    if op_type not in FOLDS or not inputs or not all(_is_small(x) for x in inputs):
        return None
    arrays = [constant(x) for x in inputs if x is not None]
    if any(array is None for array in arrays):
        return None
    return computed(op_type, FOLDS[op_type], arrays, attributes)


def computed(
    op_type: str, function: Callable[..., Any], arrays: Sequence[Any], attributes: Mapping[str, Any]
) -> np.ndarray | None:
    """Return ``function(*arrays, **attributes)``; None if it would be large or the operands are wrong.

    The runtime reports wrong operands.
    """
    try:
        if size_of(op_type, arrays, attributes) > FOLD_LIMIT:
            return None
        with np.errstate(all="ignore"):
            result = np.asarray(function(*arrays, **attributes))
    except Exception:
        return None
    return result if result.size <= FOLD_LIMIT else None


def size_of(op_type: str, arrays: Sequence[Any], attributes: Mapping[str, Any]) -> int:
    """Return the number of elements of an operator's output; 0 if it is not larger than the inputs."""
    if op_type in SIZES:
        return SIZES[op_type](*arrays, **attributes)
    return prod(np.broadcast_shapes(*map(np.shape, arrays))) if op_type in BROADCAST else 0


def _length_of_range(start: Any, limit: Any, delta: Any) -> int:
    """Return the number of steps from *start* to *limit*, exact for integers."""
    first, last, step = (np.asarray(value).item() for value in (start, limit, delta))
    return max(0, -int((first - last) // step))


def _padded(shape: Sequence[int], pads: Any, axes: Any = None) -> int:
    lengths, count = list(shape), len(pads) // 2
    for place, axis in enumerate(range(count) if axes is None else axes):
        lengths[axis] += int(pads[place]) + int(pads[place + count])
    return prod(lengths)


def _product(shape: Any) -> int:
    return prod(int(length) for length in np.asarray(shape).reshape(-1))


def cancel(op_type: str, inputs: Sequence[ir.Value | None], attributes: dict[str, Any]) -> ir.Value | None:
    """Return x for the mean of a repeated x over the axes of repetition, else None.

    Grad-CAM's weights have this form in networks with global average pooling.
    """
    if op_type != "ReduceMean" or len(inputs) < 2 or not attributes.get("keepdims", 1) or inputs[0] is None:
        return None
    node, axes = inputs[0].producer(), constant(inputs[1])
    if node is None or node.op_type != "Expand" or axes is None:
        return None
    x, y = node.inputs[0], inputs[0]
    if x is None or x.shape is None or y.shape is None or len(x.shape) != len(y.shape):
        return None
    rest = set(range(len(x.shape))) - {int(axis) % len(x.shape) for axis in axes}
    kept = all(x.shape[axis] == y.shape[axis] for axis in rest)
    return x if kept and all(x.shape[int(axis)] == 1 for axis in axes) else None


def constant(x: ir.Value | None) -> np.ndarray | None:
    """Return the value of *x* if it is known before the model runs; None if not, and for an input that is left out."""
    if x is None:
        return None
    if x.const_value is not None and not x.is_graph_input():
        return x.const_value.numpy()
    node = x.producer()
    if node is not None and node.op_type == "Constant" and node.domain == "":
        tensor = ir.convenience.get_const_tensor(x)
        return None if tensor is None else tensor.numpy()
    return None


def _is_small(x: ir.Value | None) -> bool:
    return x is not None and (x.const_value is None or x.const_value.size <= FOLD_LIMIT)


def _take(data: np.ndarray, indices: np.ndarray, axis: int = 0) -> np.ndarray:
    return np.take(data, indices, axis=axis)


def _unsqueeze(data: np.ndarray, axes: np.ndarray) -> np.ndarray:
    return np.expand_dims(data, tuple(int(axis) for axis in np.atleast_1d(axes)))


def _squeeze(data: np.ndarray, axes: np.ndarray | None = None) -> np.ndarray:
    return np.squeeze(data, None if axes is None else tuple(int(axis) for axis in axes))


def _reshape(data: np.ndarray, shape: np.ndarray, allowzero: int = 0) -> np.ndarray:
    return data.reshape([data.shape[i] if n == 0 and not allowzero else n for i, n in enumerate(shape)])


def _reduce(function: Callable[..., Any]) -> Callable[..., np.ndarray]:
    def fold(data: np.ndarray, axes: np.ndarray | None = None, keepdims: int = 1) -> np.ndarray:
        over = None if axes is None else tuple(int(axis) for axis in axes)
        return np.asarray(function(data, axis=over, keepdims=bool(keepdims)), data.dtype)

    return fold


def _divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a / b if np.issubdtype(a.dtype, np.floating) else np.trunc(a / _divisor(b)).astype(a.dtype)


def _modulo(a: np.ndarray, b: np.ndarray, fmod: int = 0) -> np.ndarray:
    return np.fmod(a, _divisor(b)) if fmod else np.mod(a, _divisor(b))


def _divisor(b: np.ndarray) -> np.ndarray:
    """Return *b*; ZeroDivisionError if it holds an integer zero."""
    if not np.issubdtype(b.dtype, np.floating) and not b.all():
        raise ZeroDivisionError
    return b


FOLDS: dict[str, Callable[..., Any]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": _divide,
    "Mod": _modulo,
    "Neg": np.negative,
    "Abs": np.abs,
    "Sign": np.sign,
    "Sqrt": np.sqrt,
    "Reciprocal": np.reciprocal,
    "Max": lambda *parts: reduce(np.maximum, parts),
    "Min": lambda *parts: reduce(np.minimum, parts),
    "Equal": np.equal,
    "Less": np.less,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "LessOrEqual": np.less_equal,
    "Not": np.logical_not,
    "And": np.logical_and,
    "Where": np.where,
    "Concat": lambda *parts, axis: np.concatenate(parts, axis),
    "Gather": _take,
    "Expand": lambda data, shape: np.broadcast_to(data, np.broadcast_shapes(data.shape, tuple(shape))),
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Reshape": _reshape,
    "Range": lambda start, limit, delta: np.arange(start, limit, delta, dtype=np.asarray(start).dtype),
    "ReduceProd": _reduce(np.prod),
    "ReduceSum": _reduce(np.sum),
    "Cast": lambda data, to, **_: data.astype(ir.DataType(to).numpy()),
}
"""Operators that are folded if all their inputs are small constants."""

BROADCAST = operators(Trait.ARITHMETIC | Trait.COMPARES) | {"Mod", "Max", "Min", "And", "Where"}
"""Operators of `FOLDS` that broadcast their inputs."""

SIZES: dict[str, Callable[..., int]] = {
    "Range": _length_of_range,
    "ConstantOfShape": lambda shape, **_: _product(shape),
    "Expand": lambda data, shape: prod(np.broadcast_shapes(np.shape(data), tuple(int(n) for n in shape))),
    "Gather": lambda data, indices, axis=0: np.size(data) // (np.shape(data)[axis] or 1) * np.size(indices),
    "Pad": lambda data, pads, *rest: _padded(np.shape(data), pads, *rest[1:]),
    "Tile": lambda data, repeats: np.size(data) * _product(repeats),
}
"""The number of output elements of operators whose output may be much larger than their inputs."""
