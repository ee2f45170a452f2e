"""`Traced`: an array that records numpy code as operators of a graph, so that a decoder runs in the graph too.

A traced array is that of one image. It holds the values for a few sample images, and the tensor [N, …] of a graph that
holds the same for N images. Numpy code that runs on it, through NumPy's protocols for ufuncs and functions, computes
with the samples and emits an operator for each step. A decision (``if``, ``int``, ``float``) is that of the samples,
and so it is fixed in the graph: a reduction to one number is over all samples, and else most of them decide. A step
without an operator has samples alone; `Traced.tensor` raises ModelError for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir
from numpy.lib.mixins import NDArrayOperatorsMixin

from onnxcam.errors import ModelError
from onnxcam.graph.emitter import Emitter
from onnxcam.targets.goal import Array

__all__ = ["FUNCTIONS", "METHODS", "UFUNCS", "Step", "Traced", "aligned", "cast"]

Step: TypeAlias = "Callable[..., ir.Value | None]"
"""Emits one step from a `Traced` and the arguments of a function; returns None where no operator does it."""

UFUNCS: dict[Any, Step] = {}
"""The steps of ufuncs: step(emitter, *operands [N, …] of one dtype)."""
FUNCTIONS: dict[Any, Step] = {}
"""The steps of numpy's functions: step(result, *arguments, **options)."""
METHODS: dict[str, Step] = {}
"""The steps of methods of arrays, and of "getitem" and "setitem": step(result, array, *arguments, **options)."""


_Reduce: TypeAlias = "Callable[[Array], Any]"
_POOLED: Mapping[str, _Reduce] = {"min": np.min, "max": np.max, "mean": np.mean, "any": np.any, "all": np.all}
"""Reductions that are over all samples where the result is one number."""

_UNSETTLED = (
    "the layout of its outputs cannot be baked: the numbers of each image decide how boxes or scores are read, and "
    "probe images disagree"
)


class Traced(NDArrayOperatorsMixin):
    """An array of a few sample images, and the tensor [N, …] of a graph that holds the same for N images."""

    def __init__(self, op: Emitter, samples: Sequence[Any], value: ir.Value | None, lost: str = "") -> None:
        self.op, self.samples, self.value, self.lost = op, [*map(np.asarray, samples)], value, lost

    @property
    def sample(self) -> Array:
        """Return the longest sample."""
        return max(self.samples, key=np.size)

    @property
    def tensor(self) -> ir.Value:
        """Return the tensor; ModelError where a step has no operator."""
        if self.value is None:
            raise ModelError(f"the layout of its outputs cannot be baked yet: its decoder uses {self.lost}")
        return self.value

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the longest sample's shape."""
        return self.sample.shape

    @property
    def ndim(self) -> int:
        """Return the number of axes, without that of images."""
        return self.samples[0].ndim

    @property
    def size(self) -> int:
        """Return the longest sample's number of elements."""
        return self.sample.size

    @property
    def dtype(self) -> np.dtype[Any]:
        """Return the samples' dtype. The tensor has float32, int64 or bool for it."""
        return self.samples[0].dtype

    @property
    def T(self) -> Traced:
        """Return the transposed array."""
        return self.transpose()

    def __len__(self) -> int:
        return len(self.sample)

    def __iter__(self) -> Iterator[Traced]:
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        share = float(np.mean([bool(one) for one in self.samples]))
        if share == 0.5:
            raise ModelError(_UNSETTLED)
        return share > 0.5

    def __float__(self) -> float:
        return float(np.median([float(one) for one in self.samples]))

    def __int__(self) -> int:
        return int(float(self))

    def __index__(self) -> int:
        return int(float(self))

    def __getitem__(self, key: Any) -> Traced:
        return self._step("getitem", lambda one, key: one[key], key)

    def __setitem__(self, key: Any, new: Any) -> None:
        made = self._step("setitem", _changed, key, new)
        self.samples, self.value, self.lost = made.samples, made.value, made.lost

    def __getattr__(self, name: str) -> Callable[..., Traced]:
        if name.startswith("_") or not callable(getattr(np.ndarray, name, None)):
            raise AttributeError(name)

        def call(*args: Any, **options: Any) -> Traced:
            made = self._step(name, lambda one, *a, **o: getattr(one, name)(*a, **o), *args, **options)
            if name in _POOLED and made.ndim == 0 and any(map(np.size, self.samples)):
                made.samples = [np.asarray(_POOLED[name](np.concatenate([one.reshape(-1) for one in self.samples])))]
            return made

        return call

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Traced:
        """Compute *ufunc* for the samples, and emit it for equal dtypes."""
        made = Traced(self.op, _each(getattr(ufunc, method), inputs, options), None, ufunc.__name__)
        lost = next((one.lost for one in inputs if isinstance(one, Traced) and one.lost), "")
        if method != "__call__" or options or ufunc not in UFUNCS or lost:
            made.lost = lost or made.lost
            return made
        kinds = np.result_type(*(_at(one, 0) for one in inputs))
        dtype = made.dtype if made.dtype.kind != "b" else kinds
        made.value, made.lost = UFUNCS[ufunc](self.op, *aligned(self.op, inputs, made.ndim, dtype)), ""
        return made

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Traced:
        """Compute *function* for the samples, and emit it."""
        made = Traced(self.op, _each(function, args, options), None, function.__name__)
        return made.emitted(FUNCTIONS.get(function), args, options)

    def _step(self, name: str, compute: Callable[..., Any], *args: Any, **options: Any) -> Traced:
        made = Traced(self.op, _each(compute, (self, *args), options), None, name)
        return made.emitted(METHODS.get(name), (self, *args), options)

    def emitted(self, step: Step | None, args: Sequence[Any], options: Mapping[str, Any]) -> Traced:
        """Emit *step*, and return this array with its tensor; without one where an argument has none."""
        lost = next((one.lost for one in _flat((*args, *options.values())) if isinstance(one, Traced) and one.lost), "")
        if step is not None and not lost:
            self.value = step(self, *args, **options)
        self.lost = lost or ("" if self.value is not None else self.lost)
        return self


def _changed(one: Array, key: Any, new: Any) -> Array:
    changed = one.copy()
    changed[key] = new
    return changed


def _each(compute: Callable[..., Any], args: Sequence[Any], options: Mapping[str, Any]) -> list[Any]:
    """Return what *compute* returns for each sample."""
    count = max(len(one.samples) for one in _flat((*args, *options.values())) if isinstance(one, Traced))
    return [
        compute(*(_at(one, i) for one in args), **{key: _at(one, i) for key, one in options.items()})
        for i in range(count)
    ]


def _at(x: Any, place: int) -> Any:
    """Return *x* with the sample at *place* in place of traced arrays."""
    if isinstance(x, Traced):
        return x.samples[place] if place < len(x.samples) else x.samples[0]
    if isinstance(x, tuple | list) and any(isinstance(one, Traced) for one in _flat(x)):
        return type(x)(_at(one, place) for one in x)
    return x


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


def _flat(x: Any) -> Iterator[Any]:
    for one in x if isinstance(x, tuple | list) else (x,):
        yield from _flat(one) if isinstance(one, tuple | list) else (one,)
