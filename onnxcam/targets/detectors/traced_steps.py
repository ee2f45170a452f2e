"""The operators of traced numpy code: for ufuncs, functions and methods. See `onnxcam.targets.detectors.traced`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxcam.graph.emitter import Emitter
from onnxcam.targets.detectors.traced import FUNCTIONS, METHODS, UFUNCS, Step, Traced, aligned, cast

__all__ = ["Traced"]


def _plain(name: str) -> Step:
    return lambda op, *operands: op.emit(name, operands)


def _denied(name: str) -> Step:
    return lambda op, *operands: op.Not(op.emit(name, operands))


UFUNCS |= {
    getattr(np, name): _plain(operator)
    for name, operator in {
        "add": "Add", "subtract": "Sub", "multiply": "Mul", "divide": "Div", "power": "Pow", "minimum": "Min",
        "maximum": "Max", "exp": "Exp", "log": "Log", "tanh": "Tanh", "cos": "Cos", "sin": "Sin", "sqrt": "Sqrt",
        "negative": "Neg", "absolute": "Abs", "floor": "Floor", "rint": "Round", "logical_and": "And",
        "bitwise_and": "And", "logical_or": "Or", "bitwise_or": "Or", "logical_not": "Not", "invert": "Not",
        "equal": "Equal", "less": "Less", "greater": "Greater", "isnan": "IsNaN",
    }.items()
}  # fmt: skip
UFUNCS |= {np.not_equal: _denied("Equal"), np.less_equal: _denied("Greater"), np.greater_equal: _denied("Less")}


def _step(table: dict[Any, Step], *keys: Any) -> Callable[[Step], Step]:
    def register(step: Step) -> Step:
        table.update(dict.fromkeys(keys, step))
        return step

    return register


@_step(UFUNCS, np.logaddexp)
def _logaddexp(op: Emitter, a: ir.Value, b: ir.Value) -> ir.Value:
    """log(exp a + exp b) = max(a, b) + log(1 + exp(−|a − b|))."""
    return op.Add(op.Max(a, b), op.Softplus(op.Neg(op.Abs(op.Sub(a, b)))))


@_step(UFUNCS, np.isfinite)
def _isfinite(op: Emitter, x: ir.Value) -> ir.Value:
    return op.Not(op.Or(op.IsNaN(x), op.IsInf(x)))


def _spread(result: Traced, one: Any) -> ir.Value:
    """Return *one*, of as many axes as *result*, with the axis of images, for Concat."""
    (value,) = aligned(result.op, [one], result.ndim, result.dtype)
    return value if isinstance(one, Traced) else result.op.Unsqueeze(value, [0])


def _joined(result: Traced, parts: Sequence[Any], axis: int) -> ir.Value:
    """Return the concatenation of *parts*; constants are repeated for each image."""
    op, traced = result.op, next(one for one in parts if isinstance(one, Traced))
    values = [_spread(result, one) for one in parts]
    images = op.dim(traced.tensor, 0)
    wide = [
        value if isinstance(one, Traced) else op.Expand(value, op.Concat(images, op.Shape(value, start=1), axis=0))
        for one, value in zip(parts, values, strict=True)
    ]
    return op.Concat(*wide, axis=axis % result.ndim + 1)


@_step(FUNCTIONS, np.concatenate)
def _concatenate(result: Traced, parts: Sequence[Any], axis: int = 0) -> ir.Value:
    return _joined(result, parts, axis)


@_step(FUNCTIONS, np.stack)
def _stack(result: Traced, parts: Sequence[Any], axis: int = 0) -> ir.Value:
    axis %= result.ndim
    return _joined(result, [np.expand_dims(one, axis) for one in parts], axis)


@_step(FUNCTIONS, np.where)
def _where(result: Traced, condition: Any, x: Any, y: Any) -> ir.Value:
    (test,) = aligned(result.op, [condition], result.ndim, np.dtype(bool))
    return result.op.Where(test, *aligned(result.op, [x, y], result.ndim, result.dtype))


@_step(FUNCTIONS, np.nan_to_num)
def _nan_to_num(result: Traced, x: Traced) -> ir.Value:
    return x.tensor if x.dtype.kind != "f" else result.op.Where(result.op.IsNaN(x.tensor), 0.0, x.tensor)


@_step(FUNCTIONS, np.zeros_like)
def _zeros_like(result: Traced, x: Traced, **options: Any) -> ir.Value:
    zero = ir.tensor(aligned(result.op, [np.zeros(1)], 1, result.dtype)[0].const_value.numpy())  # type: ignore[union-attr]
    return result.op.ConstantOfShape(result.op.Shape(x.tensor), value=zero)


@_step(FUNCTIONS, np.arange)
def _arange(result: Traced, stop: Traced, **options: Any) -> ir.Value:
    """Return the numbers to the largest *stop* of all images, [1, n]."""
    return result.op.Unsqueeze(result.op.Range(0, result.op.ReduceMax(stop.tensor, [0], keepdims=0), 1), [0])


@_step(FUNCTIONS, np.moveaxis)
def _moveaxis(result: Traced, x: Traced, source: int, destination: int) -> ir.Value:
    order = [axis for axis in range(x.ndim) if axis != source % x.ndim]
    order.insert(destination % x.ndim, source % x.ndim)
    return _transposed(x, order)


@_step(METHODS, "transpose")
def _transpose(result: Traced, x: Traced, *axes: int) -> ir.Value:
    return _transposed(x, list(axes) or list(range(x.ndim))[::-1])


def _transposed(x: Traced, order: Sequence[int]) -> ir.Value:
    return x.op.Transpose(x.tensor, perm=[0, *(axis + 1 for axis in order)])


@_step(FUNCTIONS, np.atleast_1d)
def _atleast_1d(result: Traced, x: Traced) -> ir.Value | None:
    return x.tensor if x.ndim else None


@_step(FUNCTIONS, np.expand_dims)
def _expand_dims(result: Traced, x: Traced, axis: int) -> ir.Value:
    return result.op.Unsqueeze(x.tensor, [axis % result.ndim + 1])


@_step(FUNCTIONS, np.take_along_axis)
def _take_along_axis(result: Traced, table: Any, places: Any, axis: int) -> ir.Value | None:
    """Return elements of a constant [n]."""
    if isinstance(table, Traced) or np.ndim(table) != 1:
        return None
    return result.op.Gather(*aligned(result.op, [table], 1, result.dtype), places.tensor, axis=0)


@_step(METHODS, "reshape")
def _reshape(result: Traced, x: Traced, *shape: Any) -> ir.Value:
    lengths = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple | list) else shape
    return result.op.Reshape(x.tensor, [0, *map(int, lengths)])


@_step(METHODS, "astype")
def _astype(result: Traced, x: Traced, *args: Any) -> ir.Value:
    return cast(result.op, x.tensor, x.dtype, result.dtype)


@_step(METHODS, "copy")
def _copy(result: Traced, x: Traced) -> ir.Value:
    return x.tensor


@_step(METHODS, "clip")
@_step(FUNCTIONS, np.clip)
def _clip(result: Traced, x: Traced, min: Any = None, max: Any = None) -> ir.Value:
    value = cast(result.op, x.tensor, x.dtype, result.dtype)
    for bound, name in ((min, "Max"), (max, "Min")):
        value = value if bound is None else result.op.emit(name, [value, *aligned(result.op, [bound], 0, result.dtype)])
    return value


def _reduced(name: str) -> Step:
    def step(result: Traced, x: Traced, axis: int | None = None, keepdims: bool = False, initial: Any = None) -> Any:
        op, value = result.op, cast(result.op, x.tensor, x.dtype, result.dtype)
        axes = list(range(1, x.ndim + 1)) if axis is None else [axis % x.ndim + 1]
        if initial is not None and x.ndim == 1:  # the axis may be empty
            first = op.Expand(
                *aligned(op, [np.full((1, 1), initial)], 2, result.dtype), op.Concat(op.dim(value, 0), [1], axis=0)
            )
            value = op.Concat(first, value, axis=1)
        found = op.emit(
            name, [value, op.const(np.array(axes))] if axes else [value], attributes={"keepdims": int(keepdims)}
        )
        if initial is None or x.ndim == 1:
            return found if axes else value
        return op.emit(
            {"ReduceMax": "Max", "ReduceMin": "Min"}[name], [found, *aligned(op, [initial], 0, result.dtype)]
        )

    return step


METHODS |= {"max": _reduced("ReduceMax"), "min": _reduced("ReduceMin"), "sum": _reduced("ReduceSum")}
METHODS |= {"mean": _reduced("ReduceMean")}


@_step(METHODS, "argmax")
def _argmax(result: Traced, x: Traced, axis: int | None = None) -> ir.Value | None:
    return None if axis is None else result.op.ArgMax(x.tensor, axis=axis % x.ndim + 1, keepdims=0)


@_step(METHODS, "getitem")
def _getitem(result: Traced, x: Traced, key: Any) -> ir.Value | None:
    """Return elements by whole numbers, slices, None, and one array; or by an array for each of the first axes."""
    keys = key if isinstance(key, tuple) else (key,)
    arrays = [one for one in keys if isinstance(one, Traced | np.ndarray | list)]
    if any(_dtype(one).kind == "b" for one in arrays) or any(one is Ellipsis for one in keys):
        return None
    if any(isinstance(one, Traced) for one in arrays):
        return _picked(result, x, keys) if len(arrays) == len(keys) else None
    if len(arrays) > 1:
        return None
    value, axis = x.tensor, 1
    dropped, added = list[int](), list[int]()
    for one in keys:
        if one is None:
            added.append(axis - len(dropped) + len(added))
            continue
        value = _cut(x, value, one, axis)
        dropped += [axis] if isinstance(one, int | np.integer) else []
        axis += 1
    value = x.op.Squeeze(value, dropped) if dropped else value
    return x.op.Unsqueeze(value, added) if added else value


def _dtype(x: Any) -> np.dtype[Any]:
    return x.dtype if isinstance(x, Traced) else np.asarray(x).dtype


def _cut(x: Traced, value: ir.Value, key: Any, axis: int) -> ir.Value:
    """Return the elements *key* of the *axis* of *value*; the axis stays."""
    length = x.shape[axis - 1]
    if isinstance(key, slice):
        if key in (slice(None), slice(0, None)) or (key.indices(length) == (0, length, 1) and key.stop is not None):
            return value
        start, stop, step = key.start or 0, key.stop, key.step or 1
        end = (2**62 if step > 0 else -(2**62)) if stop is None else int(stop)
        start = key.start if key.start is not None else 0 if step > 0 else -1
        return x.op.Slice(value, [int(start)], [end], [axis], [int(step)])
    places = np.asarray(key).reshape(-1)
    if np.array_equal(places, np.arange(length)):
        return value
    if len(places) and np.array_equal(places, np.arange(places[0], places[0] + len(places))) and places[0] >= 0:
        return x.op.Slice(value, [int(places[0])], [int(places[0]) + len(places)], [axis], [1])
    return x.op.Gather(value, places.astype(np.int64), axis=axis)


def _picked(result: Traced, x: Traced, keys: Sequence[Any]) -> ir.Value:
    """Return the elements at *keys*, an array of whole numbers for each of the first axes."""
    op = result.op
    rank = max(one.ndim if isinstance(one, Traced) else np.ndim(one) for one in keys)
    places = aligned(op, keys, rank, np.dtype(np.int64))
    zero = op.Mul(next(p for p, one in zip(places, keys, strict=True) if isinstance(one, Traced)), 0)
    return op.GatherND(
        x.tensor, op.Concat(*(op.Unsqueeze(op.Add(p, zero), [-1]) for p in places), axis=-1), batch_dims=1
    )


@_step(METHODS, "setitem")
def _setitem(result: Traced, x: Traced, key: Any, new: Any) -> ir.Value | None:
    """Return *x* with *new*, a number, at a constant *key*."""
    if (
        isinstance(new, Traced)
        or np.ndim(new)
        or any(isinstance(one, Traced) for one in (key if isinstance(key, tuple) else (key,)))
    ):
        return None
    hit = np.zeros(x.shape, bool)
    hit[key] = True
    for axis in range(hit.ndim):
        first = hit.take([0], axis)
        hit = first if (hit == first).all() else hit
    return result.op.Where(hit, *aligned(result.op, [new], 0, result.dtype), x.tensor)
