"""What a graph says of the values that its image input takes: their range, and whether it normalises them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam.graph.fold import constant
from onnxcam.graph.operators import Trait, operators
from onnxcam.graph.quantisation import units
from onnxcam.preprocess.first_layer import only_consumer
from onnxcam.preprocess.transform import CallablePreprocess, Preprocess

__all__ = ["InputEvidence", "InputRange", "input_range", "span", "takes_raw_values"]

_NEAR = 0.05
"""The ends of a range are those of a preset if they differ by less than this share of it."""
_TOLERANCE = 0.15
"""Calibration sees few images, so the ends of a range differ from those of the preprocessing by this share."""
_MOVES = operators(Trait.COPIES | Trait.RESHAPES) | {"Transpose"}

# Operators between the input and its normalisation that keep the range of the values.
_TRANSPARENT = operators(Trait.COPIES | Trait.RESHAPES | Trait.QUANTISES) - {"Flatten"}  # it ends the image
_TRANSPARENT |= {"Transpose", "Gather", "Slice", "Pad", "Resize"}

_BIG, _SMALL = 10.0, 0.1
"""Offsets and divisors above `_BIG`, or factors below `_SMALL`, expect 0..255: 127.5, 1/255, not 0.485."""


@dataclass(frozen=True)
class InputRange:
    """The real numbers that the quantised input represents."""

    low: float
    high: float

    @classmethod
    def of(cls, dtype: np.dtype[Any], units: tuple[float, int]) -> InputRange:
        """Return the range of integers *dtype* with *units*: their scale and zero point."""
        (scale, zero), info = units, np.iinfo(dtype)
        return cls((info.min - zero) * scale, (info.max - zero) * scale)

    def equals(self, preprocess: Preprocess) -> bool:
        """Return whether *preprocess* makes numbers of nearly this range."""
        low, high = span(preprocess) or (np.nan, np.nan)
        return max(abs(self.low - low), abs(self.high - high)) < _NEAR * (high - low)

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
        return cls(input_range(value), takes_raw_values(value) is not None)


def span(preprocess: Preprocess) -> tuple[float, float] | None:
    """Return the smallest and the largest number that *preprocess* makes of an image; None for a function."""
    if isinstance(preprocess, CallablePreprocess):
        return None
    low, high = preprocess.range
    mean, std = np.array(preprocess.mean), np.array(preprocess.std)
    return float(((low - mean) / std).min()), float(((high - mean) / std).max())


def input_range(value: ir.Value) -> InputRange | None:
    """Return the real numbers that the 8-bit integers of the input *value* represent; None if it is not quantised."""
    for quantised in _quantised(value):
        found, dtype = units(quantised), quantised.dtype
        if found is not None and found.known is not None and dtype in (ir.DataType.UINT8, ir.DataType.INT8):
            return InputRange.of(dtype.numpy(), found.known)
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


def takes_raw_values(value: ir.Value) -> bool | None:
    """Return whether the first constants after the input expect 0..255 (else 0..1); None if there are none."""
    found = False
    while (node := only_consumer(value)) is not None:
        if node.op_type not in _TRANSPARENT:
            raw = _expects_raw(node, value)
            if raw is None:
                break
            if raw:
                return True
            found = True
        value = node.outputs[0]
    return False if found else None


def _expects_raw(node: ir.Node, value: ir.Value) -> bool | None:
    """Return whether one node of a normalisation expects 0..255; None for any other node."""
    if node.op_type == "BatchNormalization":
        mean, variance = (_numbers(node.inputs[at]) for at in (3, 4))
        if mean is None or variance is None:
            return None
        return bool(np.abs(mean).max() > _BIG or np.sqrt(np.abs(variance)).max() > _BIG)
    if node.op_type not in operators(Trait.ARITHMETIC):
        return None
    other = _numbers(next((each for each in node.inputs if each is not value), None))
    if other is None:
        return None
    largest = float(np.abs(other).max())
    return largest < _SMALL if node.op_type == "Mul" else largest > _BIG


def _numbers(value: ir.Value | None) -> NDArray[np.float64] | None:
    """Return a constant as numbers; None where it is unknown, empty or text."""
    known = constant(value)
    if known is None or known.size == 0:
        return None
    try:
        return known.astype(np.float64)
    except (TypeError, ValueError):  # strings
        return None
