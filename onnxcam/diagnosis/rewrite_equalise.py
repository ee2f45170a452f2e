"""Edit a quantised file: cross-layer equalisation, so that one scale suits all channels of a tensor.

Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, 2019, arXiv:1906.04721. Two
convolutions with a ReLU f, or nothing, between them compute W₂ f(W₁ x + b₁). As f(a / s) = f(a) / s for s > 0, the
weights W₁ / s and W₂ s with the bias b₁ / s compute the same in real numbers. With the ranges r₁ and r₂ of the weights
of a channel, s = √(r₁ r₂) / r₂ makes both ranges √(r₁ r₂). A ReLU6 ends at another value then, so it is left alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam.diagnosis.mixture import NO_FUNCTION, Mixture
from onnxcam.diagnosis.repair_ranges import weight_units, widest_units
from onnxcam.diagnosis.rewrite_units import requantise
from onnxcam.diagnosis.statistics import TensorStatistics
from onnxcam.graph.io import all_tensors, to_proto

__all__ = ["EqualisedFile", "LayerPair", "equalise", "find_pairs"]

_Array = NDArray[Any]
_PASSES = 4
"""Number of passes over all pairs: a depthwise convolution is in two of them."""
_LARGEST = 1e3
"""Largest factor of a channel, and its inverse."""


@dataclass(frozen=True)
class LayerPair:
    """Two convolutions whose channels can be equalised; tensors by the names of their quantisers.

    Attributes:
        activation: The activation between them.
        first: Weights of the first.
        bias: Bias of the first; None if it has none.
        second: Weights of the second.
        group: Number of groups of the second.
    """

    activation: str
    first: str
    bias: str | None
    second: str
    group: int

    def factors(self, weights: Mapping[str, _Array]) -> _Array:
        """Return s for each channel; 1 for a channel without weights."""
        first = _spans(weights[self.first])
        second = np.zeros_like(first)
        np.maximum.at(second, self._channels(weights[self.second]), _spans(weights[self.second], 2))
        with np.errstate(divide="ignore", invalid="ignore"):
            s = np.sqrt(first * second) / second
        return np.where((first > 0) & (second > 0), np.clip(s, 1 / _LARGEST, _LARGEST), 1.0)

    def scaled(self, weights: Mapping[str, _Array], s: _Array) -> dict[str, _Array]:
        """Return the weights and the bias of the first divided by *s*, the weights of the second times *s*."""
        w, v = weights[self.first], weights[self.second]
        found = {self.first: w / _along(s, w.ndim), self.second: v * _along(s[self._channels(v)], v.ndim, 2)}
        if self.bias is not None:
            found[self.bias] = weights[self.bias] / s
        return found

    def _channels(self, second: _Array) -> NDArray[np.intp]:
        """Return the channel that each weight of the second reads, by its first two axes."""
        outputs, inputs = second.shape[:2]
        groups = np.arange(outputs) // (outputs // self.group)
        return groups[:, None] * inputs + np.arange(inputs)


@dataclass(frozen=True)
class EqualisedFile:
    """A file with equalised channels.

    Attributes:
        model: The file.
        mixture: Its mixture.
        activations: The activations between the equalised layers.
    """

    model: ir.Model
    mixture: Mixture
    activations: Sequence[str]


def find_pairs(mixture: Mixture) -> list[LayerPair]:
    """Return the pairs of layers that can be equalised: with float weights, and nothing but a ReLU between them."""
    known = all_tensors(mixture.model.graph)
    held = dict(_held(mixture, known))
    found = (_pair(mixture, tensor, known, held) for tensor in mixture.sites)
    return [one for one in found if one is not None]


def equalise(
    model: ir.Model, mixture: Mixture, pairs: Sequence[LayerPair], statistics: Sequence[TensorStatistics]
) -> EqualisedFile:
    """Return a copy of the quantised file *model* with the layers of *pairs* equalised, and its mixture.

    *statistics* are those of the real values: the activations get the range of the values divided by s.
    """
    weights: dict[str, _Array] = {name: array.astype(np.float64) for name, array in mixture.originals.items()}
    factors: dict[str, _Array] = {}
    for _ in range(_PASSES):
        for pair in pairs:
            s = pair.factors(weights)
            weights |= pair.scaled(weights, s)
            factors[pair.activation] = factors.get(pair.activation, 1.0) * s
    originals = {name: array.astype(mixture.originals[name].dtype) for name, array in weights.items()}
    scaled, made = replace(mixture, originals=originals), model.clone()
    changed = {name for pair in pairs for name in (pair.first, pair.second)}
    for one in statistics:
        quantiser = one.quantiser
        if quantiser.tensor in factors:
            low, high = (ends / factors[quantiser.tensor] for ends in (one.low, one.high))
            units = widest_units(quantiser, float(low.min()), float(high.max()))
        elif quantiser.tensor in changed:
            axis = quantiser.axis if quantiser.scale.size > 1 else None
            units = weight_units(quantiser, originals[quantiser.tensor], axis)
        else:
            continue
        if units is not None:
            requantise(made, units, scaled)
    uppers = {name: mixture.rectified.get(name, NO_FUNCTION) for name in mixture.sites}
    real = {one.real: originals[one.tensor] for one in mixture.quantisers if one.tensor in originals}
    return EqualisedFile(made, Mixture.of(to_proto(made), real, uppers), list(factors))


def _pair(
    mixture: Mixture, tensor: str, known: Mapping[str, ir.Value], held: Mapping[ir.Value, str]
) -> LayerPair | None:
    """Return the pair around an activation, if there is one."""
    site = mixture.sites[tensor]
    maker, mixed = known[site.before].producer(), known[site.after]
    if maker is not None and maker.op_type == "Relu" and maker.inputs[0] is not None:
        inner = maker.inputs[0]
        maker = None if len(inner.consumers()) > 1 or inner.is_graph_output() else inner.producer()
    readers = set(mixed.consumers())
    if maker is None or maker.op_type != "Conv" or len(readers) != 1 or tensor in mixture.repeats.values():
        return None
    reader = readers.pop()
    if reader.op_type != "Conv" or reader.inputs[0] is not mixed or mixed.is_graph_output():
        return None
    first, second = (None if node.inputs[1] is None else held.get(node.inputs[1]) for node in (maker, reader))
    b = (*maker.inputs, None)[2]
    bias = None if b is None else held.get(b)
    if first is None or second is None or first == second or (b is not None and bias is None):
        return None
    return LayerPair(tensor, first, bias, second, reader.attributes.get_int("group", 1))


def _held(mixture: Mixture, known: Mapping[str, ir.Value]) -> Iterator[tuple[ir.Value, str]]:
    """Yield the tensors of the mixture that hold the weights of one layer, with those of their quantisers."""
    shared = Counter(mixture.errors.values())
    for tensor, error in mixture.errors.items():
        mixed = [sum_.outputs[0] for node in known[error].consumers() for sum_ in node.outputs[0].consumers()]
        if shared[error] == 1 and len(mixed) == 1 and len(mixed[0].consumers()) == 1:
            yield mixed[0], tensor


def _spans(w: _Array, axes: int = 1) -> _Array:
    """Return the largest size of the weights for each index of the first *axes*."""
    spans: _Array = np.abs(w).reshape(*w.shape[:axes], -1).max(-1)
    return spans


def _along(s: _Array, rank: int, axes: int = 1) -> _Array:
    """Return *s* with further axes, up to *rank*."""
    return s.reshape(*s.shape[:axes], *(1,) * (rank - axes))
