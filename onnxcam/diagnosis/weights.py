"""Which constants of a float model its quantised weights were made of: by name, by numbers, in any layout."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from itertools import permutations
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from onnxcam.diagnosis.constants import Constant
from onnxcam.graph.quantisers import Quantiser

__all__ = ["paired_weights"]

_Array = NDArray[Any]

_LIKE = 0.9
"""Weights belong together if their correlation is at least this: weights of 4 bits in one scale reach 0.95."""
_NAMED = 0.5
"""The same for weights of the same name."""
_FIT = 0.9
"""Weights belong together if this share of them differs by a step at most, also where they are few."""
_FEW = 16
"""Fewer weights than this may correlate by chance."""
_SAMPLE = 4096  # so many elements tell weights apart that have nothing in common
_ENDINGS = ("_quantized", "_QuantizeLinear_Output", "_DequantizeLinear_Output", "_dequant", "_quant", "_qdq", "_q")
"""What quantisers append to the name of a tensor."""


def paired_weights(quantised: Sequence[tuple[Quantiser, _Array]], constants: Sequence[Constant]) -> dict[str, Constant]:
    """Return for each quantised weight the constant that it was made of, in the layout of the quantised weight.

    Numbers outrank names, as exporters count constants anew in each file. Constants of the same shape come first, one
    for each weight. Weights that are left are compared with all constants in any order of axes: a Gemm may hold what a
    MatMul holds transposed, and two nodes may share one constant. What is left then pairs by its name.
    """
    found = _one_each(quantised, constants)
    taken = {id(one) for one in found.values()}
    for quantiser, array in quantised:
        if quantiser.tensor not in found:
            ranked = (*_moved(quantiser, array, constants, taken), *_named(quantiser, array, constants, taken))
            best = max(ranked, key=lambda pair: pair[0], default=None)
            if best is not None:
                found[quantiser.tensor] = best[1]
    return found


def _one_each(quantised: Sequence[tuple[Quantiser, _Array]], constants: Sequence[Constant]) -> dict[str, Constant]:
    """Return the most similar pairs of one shape; no constant is in two of them."""
    likeness = sorted(
        (
            (rank, row, column)
            for row, (quantiser, array) in enumerate(quantised)
            for column, one in enumerate(constants)
            if array.shape == one.array.shape and (rank := _rank(quantiser, array, one)) is not None
        ),
        key=lambda each: (-each[0], *each[1:]),
    )
    found: dict[str, Constant] = {}
    taken: set[int] = set()
    for _, row, column in likeness:
        tensor = quantised[row][0].tensor
        if tensor not in found and column not in taken:
            found[tensor] = constants[column]
            taken.add(column)
    return found


_Ranked: TypeAlias = Iterator[tuple[float, Constant]]


def _moved(quantiser: Quantiser, array: _Array, constants: Sequence[Constant], taken: Container[int]) -> _Ranked:
    """Yield the constants like *array*, in its layout; those that are *taken* must be the same within rounding."""
    for one in constants:
        for moved in _layouts(one.array, array.shape):
            same = Constant(one.name, moved)
            if id(one) in taken and _fit(quantiser, array, moved) < _FIT:
                continue
            rank = _rank(quantiser, array, same)
            if rank is not None:
                yield rank, same


def _named(quantiser: Quantiser, array: _Array, constants: Sequence[Constant], taken: Container[int]) -> _Ranked:
    """Yield the constants of the name and the shape of *array*, if they resemble it."""
    for one in constants:
        if one.array.shape == array.shape and one.name in _origins(quantiser) and id(one) not in taken:
            like = _likeness(array, one.array)
            if like >= _NAMED:
                yield like - 1, one


def _layouts(x: _Array, shape: tuple[int, ...]) -> Iterator[_Array]:
    """Yield *x* in all orders of its axes that can have *shape*; axes of length 1 count for nothing."""
    long = tuple(n for n in shape if n > 1)
    x = x.squeeze()
    if sorted(x.shape) != sorted(long):
        return
    for order in permutations(range(x.ndim)):
        moved = x.transpose(order)
        if moved.shape == long:
            yield moved.reshape(shape)


def _rank(quantiser: Quantiser, array: _Array, one: Constant) -> float | None:
    """Return how well *array* fits *one*; None: not at all. Among equals the one of the same name is first."""
    few = slice(None, None, max(1, array.size // _SAMPLE))
    if array.size > _SAMPLE and _likeness(array.ravel()[few], one.array.ravel()[few]) < _NAMED:
        return None
    fit, like, near = _fit(quantiser, array, one.array), _likeness(array, one.array), _nearness(array, one.array)
    if fit < _FIT and (like < _LIKE or (array.size < _FEW and near < _LIKE)):
        return None
    return fit + like + near + 0.01 * (one.name in _origins(quantiser))


def _fit(quantiser: Quantiser, array: _Array, real: _Array) -> float:
    """Return the share of the elements that differ by a step at most; for a bias, by a thousandth of the largest."""
    step = quantiser.along(quantiser.scale, array.shape)
    if quantiser.kind == "bias":
        step = np.maximum(step, 1e-3 * np.abs(array).max(initial=0))
    return float(np.mean(np.abs(array - real) <= 1.01 * step)) if array.size else 1.0


def _origins(quantiser: Quantiser) -> set[str]:
    """Return the names that the float tensor of a quantised weight may have."""
    names = (quantiser.tensor, quantiser.real)
    return {*names, *(name.removesuffix(ending) for name in names for ending in _ENDINGS)}


def _likeness(a: _Array, b: _Array) -> float:
    """Return the correlation of two tensors, also without their means: 1 if only scale or zero point differ."""
    x, y = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    return max(_cosine(x, y), _cosine(x - x.mean(), y - y.mean()) if x.size > 1 else 0.0)


def _nearness(a: _Array, b: _Array) -> float:
    """Return 1 for equal tensors, down to 0 where the distance is as large as the tensors."""
    length = float(max(np.linalg.norm(a), np.linalg.norm(b)))
    return max(0.0, 1 - float(np.linalg.norm(a - b)) / length) if length else 1.0


def _cosine(x: _Array, y: _Array) -> float:
    lengths = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / lengths if lengths else float(not x.any() and not y.any())
