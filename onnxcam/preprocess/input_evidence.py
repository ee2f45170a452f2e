"""What a graph says of the values that its image input takes: their range, and whether it normalises them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxcam.graph.operators import Trait, operators
from onnxcam.graph.quantisation import units
from onnxcam.preprocess.guess import normalises
from onnxcam.preprocess.transform import CallablePreprocess, Preprocess

__all__ = ["InputEvidence", "InputRange", "span"]

_TOLERANCE = 0.15
"""Calibration sees few images, so the ends of a range differ from those of the preprocessing by this share."""
_MOVES = operators(Trait.COPIES | Trait.RESHAPES) | {"Transpose"}


@dataclass(frozen=True)
class InputRange:
    """The real numbers that the quantised input represents."""

    low: float
    high: float

    @property
    def is_symmetric(self) -> bool:
        """Whether the ends differ in sign only: the quantiser then used one end, the larger."""
        return abs(self.low + self.high) < 0.02 * (self.high - self.low)

    def fits(self, preprocess: Preprocess) -> bool:
        """Return whether *preprocess* makes numbers of this range; true for a function, whose range is unknown."""
        made = span(preprocess)
        if made is None:
            return True
        if self.is_symmetric:
            return 1 - 2 * _TOLERANCE <= max(map(abs, made)) / self.high <= 1 + _TOLERANCE
        width = max(self.high - self.low, made[1] - made[0])
        return max(abs(made[0] - self.low), abs(made[1] - self.high)) <= _TOLERANCE * width

    def __str__(self) -> str:
        return f"{self.low:.3g} to {self.high:.3g}"


@dataclass(frozen=True)
class InputEvidence:
    """What the graph says of its image input.

    Attributes:
        range: The real numbers that it takes; None if it is not quantised.
        normalises: Whether the graph itself normalises pixel values.
    """

    range: InputRange | None
    normalises: bool

    @classmethod
    def of(cls, value: ir.Value) -> InputEvidence:
        """Read the graph after its input *value*."""
        return cls(_range(value), normalises(value))


def span(preprocess: Preprocess) -> tuple[float, float] | None:
    """Return the smallest and the largest number that *preprocess* makes of an image; None for a function."""
    if isinstance(preprocess, CallablePreprocess):
        return None
    low, high = preprocess.range
    mean, std = np.array(preprocess.mean), np.array(preprocess.std)
    return float(((low - mean) / std).min()), float(((high - mean) / std).max())


def _range(value: ir.Value) -> InputRange | None:
    for quantised in _quantised(value):
        found, dtype = units(quantised), quantised.dtype
        known = None if found is None else found.known
        if known is None or dtype is None or not dtype.is_integer() or dtype.bitwidth > 8:
            continue
        scale, zero = known
        low, high = (-128, 127) if dtype.is_signed() else (0, 255)
        return InputRange((low - zero) * scale, (high - zero) * scale)
    return None


def _quantised(value: ir.Value) -> Iterator[ir.Value]:
    """Yield the integers that hold the input: the input itself, or the outputs of its first QuantizeLinear."""
    if value.dtype is not None and value.dtype.is_integer():
        yield value
        return
    for node in value.consumers():
        if node.op_type == "QuantizeLinear":
            yield node.outputs[0]
        elif node.op_type in _MOVES:
            yield from _quantised(node.outputs[0])
