"""Guess a preprocessing from the graph: element type, normalisation and quantisation inside it, first layer, names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam.graph.fold import constant
from onnxcam.graph.operators import Trait, operators
from onnxcam.preprocess.first_layer import measure, only_consumer
from onnxcam.preprocess.known_models import known_model
from onnxcam.preprocess.parser import PRESETS
from onnxcam.preprocess.tensor_spec import TensorSpec

__all__ = ["Guess", "guess", "normalises"]

# Operators between the input and its normalisation that keep the range of the values.
_TRANSPARENT = operators(Trait.COPIES | Trait.RESHAPES | Trait.QUANTISES) - {"Flatten"}  # it ends the image
_TRANSPARENT |= {"Transpose", "Gather", "Slice", "Pad", "Resize"}

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
        more: Fields that override those of the preset.
    """

    fields: dict[str, Any]
    why: str
    source: str = "guess"
    preset: str = ""
    more: Mapping[str, Any] = field(default_factory=dict)


def guess(tensor: TensorSpec, value: ir.Value | None) -> Guess:
    """Return the preprocessing that the graph suggests for its input *value*."""
    if tensor.dtype.kind in "iu":
        return _by_units(tensor) or _preset("raw", f"the input is {tensor.dtype}")
    found = None if value is None else _by_graph(tensor, value)
    if found is not None:
        return found
    if tensor.channels == 1:
        return _preset("unit", "the input has one channel and the graph does not normalise it")
    if tensor.layout == "nhwc":
        return _preset("inception", "channels last, as TensorFlow has them, and the graph does not normalise")
    return _preset("imagenet", "three channels, and the graph does not normalise them")


def _by_graph(tensor: TensorSpec, value: ir.Value) -> Guess | None:
    """Return what the nodes after the input, or its name and those of the outputs, tell; None if they tell nothing."""
    statistics = measure(value)
    preset = None if statistics is None else statistics.preset
    inside = _takes_raw_values(value)
    if inside is not None and preset is None:
        return _preset("raw" if inside else "unit", "the graph normalises by itself")
    known = known_model(tensor, value)
    if known is not None:
        return Guess(known[0], f"the inputs and outputs are those of {known[1]}", "names")
    if statistics is not None and preset is not None and _has_channels(preset, tensor):
        order = {"order": statistics.order} if statistics.order and preset != "caffe" else {}
        return replace(_preset(preset, "the weights of the first layer expect that range"), more=order)
    return _by_quantisation(tensor, value)


def _by_quantisation(tensor: TensorSpec, value: ir.Value) -> Guess | None:
    """Return the preset whose range the graph quantises floats of the input to; else None."""
    node = only_consumer(value)
    if node is None or node.op_type != "QuantizeLinear":
        return None
    scale, zero = (None if x is None else constant(x) for x in (*node.inputs[1:], None)[:2])
    if scale is None or scale.size != 1 or (zero is not None and zero.dtype not in (np.uint8, np.int8)):
        return None
    units = float(scale), 0 if zero is None else int(zero)
    ends = _ends(np.dtype(np.uint8) if zero is None else zero.dtype, units)
    name = _of_span(ends, tensor, ("raw", *_SPANS))
    return None if name is None else _preset(name, f"the graph quantises {ends[0]:.3g} to {ends[1]:.3g}")


def _preset(name: str, why: str) -> Guess:
    return Guess(PRESETS[name], why, preset=name)


_SPANS = ("unit", "inception", "imagenet", "clip")


def _by_units(tensor: TensorSpec) -> Guess | None:
    """Return the preset whose range matches the real numbers that the integer input can represent; else None."""
    if tensor.units is None or tensor.dtype.itemsize > 1:
        return None
    ends = _ends(tensor.dtype, tensor.units)
    name = _of_span(ends, tensor, _SPANS)
    what = f"the input is {tensor.dtype} that stands for {ends[0]:.3g} to {ends[1]:.3g}"
    return None if name is None else _preset(name, what)


def _ends(dtype: np.dtype[Any], units: tuple[float, int]) -> NDArray[np.float64]:
    """Return the smallest and the largest real number of quantised integers."""
    scale, zero = units
    info = np.iinfo(dtype)
    return np.array([info.min - zero, info.max - zero]) * scale


def _of_span(ends: NDArray[np.float64], tensor: TensorSpec, names: Iterable[str]) -> str | None:
    """Return the first of the presets *names* whose values reach from one of *ends* to the other; None for none."""
    for name in names:
        low, high = _span(PRESETS[name])
        if _has_channels(name, tensor) and np.abs(ends - (low, high)).max() < 0.05 * (high - low):
            return name
    return None


def _has_channels(preset: str, tensor: TensorSpec) -> bool:
    """Whether *preset* fits the channels of *tensor*."""
    fields = PRESETS[preset]
    return tensor.channels in (3, len(fields.get("mean", (0.0,)))) and (tensor.channels == 3 or "order" not in fields)


def _span(preset: dict[str, Any]) -> tuple[float, float]:
    """Return the smallest and the largest value of an image after *preset*."""
    low, high = preset.get("range", (0.0, 1.0))
    mean, std = np.array(preset.get("mean", 0.0)), np.array(preset.get("std", 1.0))
    return float(((low - mean) / std).min()), float(((high - mean) / std).max())


def _takes_raw_values(value: ir.Value) -> bool | None:
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


def normalises(value: ir.Value) -> bool:
    """Return whether the graph normalises the numbers of its input *value* by itself."""
    return _takes_raw_values(value) is not None


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
