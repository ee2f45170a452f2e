"""Guess a preprocessing from the graph: element type, normalisation and quantisation inside it, first layer, names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import onnx_ir as ir

from onnxcam.preprocess.first_layer import measure
from onnxcam.preprocess.input_evidence import InputRange, input_range, takes_raw_values
from onnxcam.preprocess.known_models import known_model
from onnxcam.preprocess.parser import PRESETS
from onnxcam.preprocess.tensor_spec import TensorSpec
from onnxcam.preprocess.transform import Preprocess

__all__ = ["Guess", "guess"]


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
    """Return the guess from the nodes after the input, or from the names of input and outputs; else None."""
    statistics = measure(value)
    preset = None if statistics is None else statistics.preset
    inside = takes_raw_values(value)
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
    found = input_range(value)
    name = None if found is None else _of_range(found, tensor, ("raw", *_SPANS))
    return None if name is None else _preset(name, f"the graph quantises {found}")


def _preset(name: str, why: str) -> Guess:
    return Guess(PRESETS[name], why, preset=name)


_SPANS = ("unit", "inception", "imagenet", "clip")


def _by_units(tensor: TensorSpec) -> Guess | None:
    """Return the preset whose range matches the real numbers that the integer input can represent; else None."""
    if tensor.units is None or tensor.dtype.itemsize > 1:
        return None
    found = InputRange.of(tensor.dtype, tensor.units)
    name = _of_range(found, tensor, _SPANS)
    return None if name is None else _preset(name, f"the input is {tensor.dtype} that represents {found}")


def _of_range(found: InputRange, tensor: TensorSpec, names: Iterable[str]) -> str | None:
    """Return the first of the presets *names* whose values have the range *found*; None for none."""
    return next((name for name in names if _has_channels(name, tensor) and found.equals(_values(name))), None)


def _has_channels(preset: str, tensor: TensorSpec) -> bool:
    """Whether *preset* fits the channels of *tensor*."""
    fields = PRESETS[preset]
    return tensor.channels in (3, len(fields.get("mean", (0.0,)))) and (tensor.channels == 3 or "order" not in fields)


def _values(preset: str) -> Preprocess:
    """Return what *preset* does to the values of an image."""
    fields = PRESETS[preset]
    return Preprocess(**{key: fields[key] for key in ("range", "mean", "std") if key in fields})
