"""Which constants of a float model its quantised weights were made of: by name, by numbers, in any layout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxcam.diagnosis.constants import Constant
from onnxcam.graph.quantisers import Quantiser

__all__ = ["paired_weights"]

Array = NDArray[Any]

LIKE = 0.9
"""Weights belong together if their correlation is at least this: weights of 4 bits in one scale reach 0.95."""
NAMED = 0.5
"""The same for weights of the same name."""
_ENDINGS = ("_quantized", "_QuantizeLinear_Output", "_DequantizeLinear_Output", "_dequant", "_quant")
"""What quantisers append to the name of a tensor."""


def paired_weights(quantised: Sequence[tuple[Quantiser, Array]], constants: Sequence[Constant]) -> dict[str, Constant]:
    """Return for each quantised weight the constant that it was made of, in the layout of the quantised weight.

    Constants of the same shape come first, one for each weight. Weights that are left are compared with all constants
    in any order of axes: a Gemm may hold what a MatMul holds transposed, and two nodes may share one constant.
    """
    found = _one_each(quantised, constants)
    for quantiser, array in quantised:
        if quantiser.tensor not in found:
            best = max(_alike(quantiser, array, constants), key=lambda pair: pair[0], default=(0.0, None))[1]
            if best is not None:
                found[quantiser.tensor] = best
    return found


def _one_each(quantised: Sequence[tuple[Quantiser, Array]], constants: Sequence[Constant]) -> dict[str, Constant]:
    """Return the most similar pairs of one shape; no constant is in two of them."""
    likeness = sorted(
        (
            (rank, row, column)
            for row, (quantiser, array) in enumerate(quantised)
            for column, one in enumerate(constants)
            if array.shape == one.array.shape and (rank := _rank(quantiser, array, one)) is not None
        ),
        reverse=True,
    )
    found: dict[str, Constant] = {}
    taken: set[int] = set()
    for _, row, column in likeness:
        tensor = quantised[row][0].tensor
        if tensor not in found and column not in taken:
            found[tensor] = constants[column]
            taken.add(column)
    return found


def _alike(quantiser: Quantiser, array: Array, constants: Sequence[Constant]) -> Iterator[tuple[float, Constant]]:
    """Yield the constants like *array*, with their rank, in its layout."""
    for one in constants:
        for moved in _layouts(one.array, array.shape):
            rank = _rank(quantiser, array, Constant(one.name, moved))
            if rank is not None:
                yield rank, Constant(one.name, moved)


def _layouts(x: Array, shape: tuple[int, ...]) -> Iterator[Array]:
    """Yield *x* in all orders of its axes that can have *shape*; axes of length 1 count for nothing."""
    long = tuple(n for n in shape if n > 1)
    x = x.squeeze()
    if sorted(x.shape) != sorted(long):
        return
    for order in permutations(range(x.ndim)):
        moved = x.transpose(order)
        if moved.shape == long:
            yield moved.reshape(shape)


def _rank(quantiser: Quantiser, array: Array, one: Constant) -> float | None:
    """Return how well *array* fits *one*: a same name counts most, then correlation and distance; None: not at all."""
    named = one.name in _origins(quantiser)
    like = _likeness(array, one.array)
    return None if like < (NAMED if named else LIKE) else 2 * named + like + _nearness(array, one.array)


def _origins(quantiser: Quantiser) -> set[str]:
    """Return the names that the float tensor of a quantised weight may have."""
    names = (quantiser.tensor, quantiser.real)
    return {*names, *(name.removesuffix(ending) for name in names for ending in _ENDINGS)}


def _likeness(a: Array, b: Array) -> float:
    """Return the correlation of two tensors, also without their means: 1 if only scale or zero point differ."""
    x, y = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    return max(_cosine(x, y), _cosine(x - x.mean(), y - y.mean()) if x.size > 1 else 0.0)


def _nearness(a: Array, b: Array) -> float:
    """Return 1 for equal tensors, down to 0 where the distance is as large as the tensors."""
    length = float(max(np.linalg.norm(a), np.linalg.norm(b)))
    return max(0.0, 1 - float(np.linalg.norm(a - b)) / length) if length else 1.0


def _cosine(x: Array, y: Array) -> float:
    lengths = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / lengths if lengths else float(not x.any() and not y.any())
