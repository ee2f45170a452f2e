"""`Traced`: an array that records numpy code as operators of a graph, so that a decoder runs in the graph too.

A traced array is that of one image. It holds the value for a sample image, and the tensor [N, …] of a graph that holds
the same for N images. Numpy code that runs on it, through NumPy's protocols for ufuncs and functions, computes with the
sample and emits an operator for each step. A decision (``if``, ``int``, ``float``) takes the sample's value, and so it
is fixed in the graph. A step without an operator has a sample alone; `Traced.tensor` raises ModelError for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir
from numpy.lib.mixins import NDArrayOperatorsMixin

from onnxcam.errors import ModelError
from onnxcam.graph.emitter import Emitter

__all__ = ["FUNCTIONS", "METHODS", "UFUNCS", "Step", "Traced"]

Step: TypeAlias = "Callable[..., ir.Value | None]"
"""Emits one step from a `Traced` and the arguments of a function; returns None where no operator does it."""

UFUNCS: dict[Any, Step] = {}
"""The steps of ufuncs: step(emitter, *operands [N, …] of one dtype)."""
FUNCTIONS: dict[Any, Step] = {}
"""The steps of numpy's functions: step(result, *arguments, **options)."""
METHODS: dict[str, Step] = {}
"""The steps of methods of arrays, and of "getitem" and "setitem": step(result, array, *arguments, **options)."""


class Traced(NDArrayOperatorsMixin):
    """An array of a sample image, and the tensor [N, …] of a graph that holds the same for N images."""

    def __init__(self, op: Emitter, sample: Any, value: ir.Value | None, lost: str = "") -> None:
        self.op, self.sample, self.value, self.lost = op, np.asarray(sample), value, lost

    @property
    def tensor(self) -> ir.Value:
        """Return the tensor; ModelError where a step has no operator."""
        if self.value is None:
            raise ModelError(f"the layout of its outputs cannot be baked yet: its decoder uses {self.lost}")
        return self.value

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the sample's shape."""
        return self.sample.shape

    @property
    def ndim(self) -> int:
        """Return the number of axes, without that of images."""
        return self.sample.ndim

    @property
    def size(self) -> int:
        """Return the sample's number of elements."""
        return self.sample.size

    @property
    def dtype(self) -> np.dtype[Any]:
        """Return the sample's dtype. The tensor has float32, int64 or bool for it."""
        return self.sample.dtype

    @property
    def T(self) -> Traced:
        """Return the transposed array."""
        return self.transpose()

    def __len__(self) -> int:
        return len(self.sample)

    def __iter__(self) -> Iterator[Traced]:
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        return bool(self.sample)

    def __float__(self) -> float:
        return float(self.sample)

    def __int__(self) -> int:
        return int(self.sample)

    def __index__(self) -> int:
        return int(self.sample)

    def __getitem__(self, key: Any) -> Traced:
        return self._step("getitem", self.sample[_sample(key)], key)

    def __setitem__(self, key: Any, new: Any) -> None:
        changed = self.sample.copy()
        changed[_sample(key)] = _sample(new)
        made = self._step("setitem", changed, key, new)
        self.sample, self.value, self.lost = made.sample, made.value, made.lost

    def __getattr__(self, name: str) -> Callable[..., Traced]:
        if name.startswith("_") or not callable(getattr(np.ndarray, name, None)):
            raise AttributeError(name)

        def call(*args: Any, **options: Any) -> Traced:
            made = getattr(self.sample, name)(*map(_sample, args), **{key: _sample(x) for key, x in options.items()})
            return self._step(name, made, *args, **options)

        return call

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        """Compute *ufunc* for the sample, and emit it for equal dtypes."""
        made = getattr(ufunc, method)(*map(_sample, inputs), **options)
        if method != "__call__" or options or isinstance(made, tuple) or ufunc not in UFUNCS:
            return Traced(self.op, made, None, ufunc.__name__)
        lost = next((one.lost for one in inputs if isinstance(one, Traced) and one.value is None), "")
        if lost:
            return Traced(self.op, made, None, lost)
        kinds = np.result_type(*(_sample(one) for one in inputs))
        dtype = made.dtype if made.dtype.kind != "b" else kinds
        return Traced(self.op, made, UFUNCS[ufunc](self.op, *aligned(self.op, inputs, made.ndim, dtype)))

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        """Compute *function* for the sample, and emit it."""
        made = function(*(_sample(one) for one in args), **{key: _sample(one) for key, one in options.items()})
        step, name = FUNCTIONS.get(function), getattr(function, "__name__", "a function")
        return (
            made if isinstance(made, tuple) else self._made(made, step, name, (*args, *options.values()), args, options)
        )

    def _step(self, name: str, made: Any, *args: Any, **options: Any) -> Traced:
        return self._made(made, METHODS.get(name), name, (self, *args), (self, *args), options)

    def _made(self, made: Any, step: Step | None, name: str, used: Any, args: Any, options: Any) -> Traced:
        result = Traced(self.op, made, None, name)
        lost = next((one.lost for one in _traced(used) if one.value is None), "")
        if lost or step is None:
            result.lost = lost or name
            return result
        result.value = step(result, *args, **options)
        return result


def aligned(op: Emitter, operands: Sequence[Any], rank: int, dtype: np.dtype[Any]) -> list[ir.Value]:
    """Return *operands*, traced arrays and constants, as tensors of *dtype* that broadcast to [N, *rank* axes]."""
    return [_aligned(op, one, rank, dtype) for one in operands]


def _aligned(op: Emitter, one: Any, rank: int, dtype: np.dtype[Any]) -> ir.Value:
    if not isinstance(one, Traced):
        return op.const(np.asarray(one).astype(_numpy(dtype)))
    value = op.Unsqueeze(one.tensor, list(range(1, 1 + rank - one.ndim))) if one.ndim < rank else one.tensor
    return cast(op, value, one.dtype, dtype)


def cast(op: Emitter, value: ir.Value, old: np.dtype[Any], new: np.dtype[Any]) -> ir.Value:
    """Return *value*, which holds the dtype *old*, for the dtype *new*."""
    kinds = _numpy(old), _numpy(new)
    found: ir.Value = value if kinds[0] == kinds[1] else op.Cast(value, to=int(ir.DataType.from_numpy(kinds[1])))
    return found


def _numpy(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype in the graph: float32, bool or int64."""
    return np.dtype({"f": np.float32, "b": np.bool_}.get(dtype.kind, np.int64))


def _sample(x: Any) -> Any:
    """Return *x* with samples in place of traced arrays."""
    if isinstance(x, Traced):
        return x.sample
    if isinstance(x, tuple | list) and any(isinstance(one, Traced) for one in _flat(x)):
        return type(x)(map(_sample, x))
    return x


def _traced(x: Any) -> list[Traced]:
    return [one for one in _flat(x) if isinstance(one, Traced)]


def _flat(x: Any) -> Iterator[Any]:
    for one in x if isinstance(x, tuple | list) else (x,):
        yield from _flat(one) if isinstance(one, tuple | list) else (one,)
