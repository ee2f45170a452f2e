"""Guess a preprocessing from the graph: element type, normalisation inside it, names of published models, layout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam.graph.fold import constant
from onnxcam.graph.operators import Trait, operators
from onnxcam.preprocess.known_models import known_model
from onnxcam.preprocess.parser import PRESETS
from onnxcam.preprocess.tensor_spec import TensorSpec

__all__ = ["Guess", "guess"]

# Operators between the input and its normalisation that keep the range of the values.
_TRANSPARENT = operators(Trait.COPIES | Trait.RESHAPES | Trait.QUANTISES) - {"Flatten"}  # it ends the image
_TRANSPARENT |= {"Transpose", "Gather", "Slice", "Pad", "Resize"}
_SIDE = operators(Trait.MEASURES)  # read the input's shape changing its values

_BIG, _SMALL = 10.0, 0.1
"""Offsets and divisors above `_BIG`, or factors below `_SMALL`, expect 0..255: 127.5, 1/255, not 0.485."""


@dataclass(frozen=True)
class Guess:
    """A preprocessing that nothing states.

    Attributes:
        fields: The fields for `parser.build`.
        why: The reason in a few words.
        source: How it is known, a key of `SOURCES`: ``"names"`` for a published model, else ``"guess"``.
        preset: The name of the preset; empty for none.
    """

    fields: dict[str, Any]
    why: str
    source: str = "guess"
    preset: str = ""


def guess(tensor: TensorSpec, value: ir.Value | None) -> Guess:
    """Return the preprocessing that the graph suggests for its input *value*."""
    if tensor.dtype.kind in "iu":
        return _by_units(tensor) or _preset("raw", f"the input is {tensor.dtype}")
    inside = None if value is None else _takes_raw_values(value)
    if inside is not None:
        return _preset("raw" if inside else "unit", "the graph normalises by itself")
    known = None if value is None else known_model(tensor, value)
    if known is not None:
        return Guess(known[0], f"the inputs and outputs are those of {known[1]}", "names")
    if tensor.channels == 1:
        return _preset("unit", "the input has one channel and the graph does not normalise it")
    if tensor.layout == "nhwc":
        return _preset("inception", "channels last, as TensorFlow has them, and the graph does not normalise")
    return _preset("imagenet", "three channels, and the graph does not normalise them")


def _preset(name: str, why: str) -> Guess:
    return Guess(PRESETS[name], why, preset=name)


def _by_units(tensor: TensorSpec) -> Guess | None:
    """Return the preset whose range matches the real numbers that the integer input can represent; else None."""
    if tensor.units is None or tensor.dtype.itemsize > 1:
        return None
    scale, zero = tensor.units
    info = np.iinfo(tensor.dtype)
    ends = np.array([info.min - zero, info.max - zero]) * scale
    for name in ("unit", "inception", "imagenet", "clip"):
        low, high = _span(PRESETS[name])
        fits = len(PRESETS[name].get("mean", (0.0,))) in (1, tensor.channels)
        if fits and np.abs(ends - (low, high)).max() < 0.05 * (high - low):
            return _preset(name, f"the input is {tensor.dtype} that stands for {ends[0]:.3g} to {ends[1]:.3g}")
    return None


def _span(preset: dict[str, Any]) -> tuple[float, float]:
    """Return the smallest and the largest value of an image after *preset*."""
    low, high = preset.get("range", (0.0, 1.0))
    mean, std = np.array(preset.get("mean", 0.0)), np.array(preset.get("std", 1.0))
    return float(((low - mean) / std).min()), float(((high - mean) / std).max())


def _takes_raw_values(value: ir.Value) -> bool | None:
    """Return whether the first constants after the input expect 0..255 (else 0..1); None if there are none."""
    found = False
    while (node := _only_consumer(value)) is not None:
        if node.op_type not in _TRANSPARENT:
            raw = _expects_raw(node, value)
            if raw is None:
                break
            if raw:
                return True
            found = True
        value = node.outputs[0]
    return False if found else None


def _only_consumer(value: ir.Value) -> ir.Node | None:
    nodes = [node for node in value.consumers() if node.op_type not in _SIDE]
    return nodes[0] if len(nodes) == 1 else None


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
