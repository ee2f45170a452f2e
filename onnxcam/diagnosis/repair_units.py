"""Better scales and zero points for tensors with a named cause, measured by what they do to the outputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam.diagnosis.mixture import ROUNDING, Mixture
from onnxcam.engine import Session
from onnxcam.graph.fold import constant
from onnxcam.graph.io import all_tensors
from onnxcam.graph.quantisers import MOVES, Quantiser

__all__ = ["Bench", "activation_units", "weight_units"]

_Array = NDArray[Any]
_PERCENTILES = (100.0, 99.99, 99.9, 99.5)
"""Ranges that are tried: this share of the values lies inside."""
_SAMPLED = 1 << 16
"""Number of values of a tensor and an image that percentiles are taken of."""
_INPUT = "onnxcam.units."


@dataclass
class Bench:
    """The mixture with the units of its quantisers as inputs, so that one session measures any of them.

    Attributes:
        mixture: The quantised model.
        tensors: Names of the output tensors that matter, of the float network.
        feeds: Inputs of the quantised model for each image.
    """

    mixture: Mixture
    tensors: Sequence[str]
    feeds: Sequence[Mapping[str, _Array]]

    def __post_init__(self) -> None:
        mixture, model = self.mixture, self.mixture.model.clone()
        known = all_tensors(model.graph)
        self._given: dict[str, _Array] = {}
        self._layers: dict[str, ir.Node] = {}  # of each bias
        self._mixed_weights: dict[ir.Value, str] = {}
        self._by_tensor = {one.tensor: one for one in mixture.quantisers}
        shared = Counter(mixture.errors.values())
        for one in self._by_tensor.values():  # two layers may share the integers of a bias
            if one.tensor in mixture.sites:
                self._open_activation(model, known[mixture.sites[one.tensor].after], one)
            elif shared[mixture.errors[one.tensor]] == 1:
                self._open_weight(model, known[mixture.errors[one.tensor]], one)
        self._followers = self._found_followers(known)
        order = {node: place for place, node in enumerate(model.graph)}
        self._layers = dict(sorted(self._layers.items(), key=lambda pair: order[pair[1]]))
        self._outputs = [mixture.mixed(name) for name in self.tensors]
        outputs = [*self._outputs, *(layer.outputs[0].name or "" for layer in self._layers.values())]
        model.graph.outputs[:] = [known[name] for name in dict.fromkeys(outputs)]
        self._session = Session(model, "cpu")
        self._real = [self._run(feeds, {}, 0.0) for feeds in self.feeds]

    def takes(self, tensor: str) -> bool:
        """Return whether the units of *tensor* can be changed here."""
        return f"{_INPUT}{tensor}" in self._given or f"{_INPUT}{tensor}.scale" in self._given

    def damage(self, units: Mapping[str, Quantiser], shifts: Mapping[str, _Array] | None = None) -> float:
        """Return the relative change of the outputs by quantisation with the *units*, the mean over the images.

        *shifts* are added to biases, by their tensors.
        """
        given = self._changed(units, shifts or {})
        return float(
            np.mean(
                [
                    _change(self._run(feeds, given, 1.0), real)
                    for feeds, real in zip(self.feeds, self._real, strict=True)
                ]
            )
        )

    def corrections(self, units: Mapping[str, Quantiser]) -> dict[str, _Array]:
        """Return for each bias what its layer's output lacks on average with the *units*, layer by layer."""
        found: dict[str, _Array] = {}
        for tensor, layer in self._layers.items():
            name, axis = layer.outputs[0].name or "", -1 if layer.op_type == "Gemm" else 1
            errors = []
            for feeds in self.feeds:
                real, held = (
                    self._session.run(self._filled(feeds, given, share), [name])
                    for share, given in ((0.0, {}), (1.0, self._changed(units, found)))
                )
                error = np.moveaxis(real[name].astype(np.float64) - held[name], axis, 0)
                errors.append(error.reshape(len(error), -1).mean(1))
            found[tensor] = np.mean(errors, axis=0)
        return found

    def _changed(self, units: Mapping[str, Quantiser], shifts: Mapping[str, _Array]) -> dict[str, _Array]:
        """Return the inputs for *units* and *shifts*."""
        given = {f"{_INPUT}{bias}": self._exact(bias) for tensor in units for bias in self._followers.get(tensor, ())}
        given |= {name: array for one in units.values() for name, array in self._inputs(one).items()}
        for tensor, shift in shifts.items():
            name = f"{_INPUT}{tensor}"
            old = given.get(name, self._given[name])
            given[name] = (old + shift.reshape(old.shape)).astype(old.dtype)
        return given

    def _exact(self, bias: str) -> _Array:
        """Return the rounding error of a *bias* that follows new units of its layer: nearly none, in 32 bits."""
        return np.zeros_like(self._given[f"{_INPUT}{bias}"])

    def values(self, tensors: Sequence[str]) -> dict[str, _Array]:
        """Return values of activations in the float network over all images: the extremes, and some of the others."""
        names = {tensor: self.mixture.sites[tensor].real for tensor in tensors}
        model = self.mixture.real.clone()
        known, inputs = all_tensors(model.graph), {value.name for value in model.graph.inputs}
        model.graph.outputs[:] = [known[name] for name in dict.fromkeys(names.values()) if name not in inputs]
        session = Session(model, "cpu", optimize=False) if model.graph.outputs else None
        found: dict[str, list[_Array]] = {tensor: [] for tensor in tensors}
        for feeds in self.feeds:
            arrays = dict(feeds) if session is None else {**feeds, **session.run(session.filled(feeds))}
            for tensor, name in names.items():
                found[tensor].append(_sampled(arrays[name]))
        return {tensor: np.concatenate(parts) for tensor, parts in found.items()}

    def _found_followers(self, known: Mapping[str, ir.Value]) -> dict[str, list[str]]:
        """Return for each activation and weight the biases of its layers, which have their scale by it."""
        mixed = {known[site.after]: tensor for tensor, site in self.mixture.sites.items()}
        mixed |= self._mixed_weights
        found: dict[str, list[str]] = {}
        for bias, layer in self._layers.items():
            for x in layer.inputs[:2]:
                while x is not None and x not in mixed and (node := x.producer()) and node.op_type in MOVES:
                    x = node.inputs[0]
                if x in mixed:
                    found.setdefault(mixed[x], []).append(bias)
        return found

    def _open_activation(self, model: ir.Model, mixed: ir.Value, quantiser: Quantiser) -> None:
        reader = _back(mixed, (1, 1, 0))  # x + share (rounded − x)
        writer = _back(mixed, (1, 1, 0, 0))
        while writer.op_type != "QuantizeLinear":  # a narrower range is cut behind it
            writer = _back(writer.outputs[0], (0,))
        for place, end in ((1, "scale"), (2, "zero")):
            old = (*writer.inputs, None)[place]
            array = constant(old)
            if old is None or array is None:
                continue
            made = ir.Value(name=f"{_INPUT}{quantiser.tensor}.{end}", shape=old.shape, type=old.type)
            model.graph.inputs.append(made)
            self._given[made.name or ""] = array
            for node in (writer, reader):
                node.replace_input_with(place, made)

    def _open_weight(self, model: ir.Model, error: ir.Value, quantiser: Quantiser) -> None:
        assert error.const_value is not None
        name = f"{_INPUT}{quantiser.tensor}"
        made = ir.Value(name=name, shape=error.shape, type=error.type)
        self._given[name] = error.const_value.numpy()
        model.graph.inputs.append(made)
        error.replace_all_uses_with(made)
        mixed = [total.outputs[0] for product in made.consumers() for total in product.outputs[0].consumers()]
        self._mixed_weights |= dict.fromkeys(mixed, quantiser.tensor)
        layers = [layer for x in mixed for layer in x.consumers()]
        if quantiser.kind == "bias" and len(layers) == 1 and layers[0].op_type in ("Conv", "ConvTranspose", "Gemm"):
            self._layers[quantiser.tensor] = layers[0]

    def _inputs(self, one: Quantiser) -> dict[str, _Array]:
        name = f"{_INPUT}{one.tensor}"
        if name in self._given:
            real = self.mixture.originals[one.tensor]
            return {name: (one.rounded(real) - real).astype(self._given[name].dtype)}
        parts = {f"{name}.scale": one.scale, f"{name}.zero": one.zero}
        return {
            part: np.asarray(array, self._given[part].dtype).reshape(self._given[part].shape)
            for part, array in parts.items()
            if part in self._given
        }

    def _run(self, feeds: Mapping[str, _Array], given: Mapping[str, _Array], share: float) -> list[_Array]:
        found = self._session.run(self._filled(feeds, given, share))
        return [found[name] for name in self._outputs]

    def _filled(self, feeds: Mapping[str, _Array], given: Mapping[str, _Array], share: float) -> dict[str, _Array]:
        return self._session.filled({**self._given, **feeds, ROUNDING: self.mixture.shares(share), **given})


def activation_units(quantiser: Quantiser, values: _Array) -> Iterator[Quantiser]:
    """Yield units for ranges that hold nearly all *values*, from the widest."""
    values = values.astype(np.float64)
    symmetric = quantiser.dtype.kind == "i" and int(quantiser.zero) == 0
    for percentile in _PERCENTILES:
        low, high = np.percentile(values, (100 - percentile, percentile))
        found = _of_range(quantiser, min(float(low), 0.0), max(float(high), 0.0), symmetric)
        if found is not None:
            yield found


def weight_units(quantiser: Quantiser, weights: _Array, axis: int | None) -> Quantiser | None:
    """Return units that fit the *weights*: for each index of *axis*, or one for all. The integer 0 stays that of 0.0.

    None: all weights are zero, or the integers are those of a bias.
    """
    limits = np.iinfo(quantiser.dtype)
    middle = 0 if quantiser.dtype.kind == "i" else (int(limits.max) + 1) // 2
    sizes = np.abs(weights.astype(np.float64))
    others = None if axis is None else tuple(i for i in range(weights.ndim) if i != axis)
    most = np.asarray(sizes.max(others))
    if quantiser.kind != "weight" or not most.any():
        return None
    scale = np.where(most > 0, most, most.max()) / (int(limits.max) - middle)
    return replace(quantiser, scale=scale, zero=np.full(scale.shape, middle, np.int64), axis=axis or 0)


def _of_range(quantiser: Quantiser, low: float, high: float, symmetric: bool) -> Quantiser | None:
    limits = np.iinfo(quantiser.dtype)
    if symmetric:
        scale, zero = max(-low, high) / limits.max, 0
    else:
        scale = (high - low) / (int(limits.max) - int(limits.min))
        zero = round(int(limits.min) - low / scale) if scale > 0 else 0
    if not scale > 0 or not np.isfinite(scale):
        return None
    return replace(quantiser, scale=np.asarray(scale), zero=np.asarray(zero, np.int64))


def _sampled(x: _Array) -> _Array:
    """Return the smallest and the largest value of *x*, and others at equal distances."""
    flat = x.ravel()
    return np.concatenate([[flat.min(), flat.max()], flat[:: -(-flat.size // _SAMPLED)]])


def _back(value: ir.Value, places: Sequence[int]) -> ir.Node:
    """Return the node that makes *value*, or the input of it that *places* lead to, one after the other."""
    node = value.producer()
    for place in places:
        before = None if node is None else node.inputs[place]
        node = None if before is None else before.producer()
    assert node is not None
    return node


def _change(quantised: Sequence[_Array], real: Sequence[_Array]) -> float:
    """Return the mean over the tensors of ‖quantised − real‖ / ‖real‖."""
    lengths = [float(np.linalg.norm(x)) for x in real]
    return float(
        np.mean(
            [
                float(np.linalg.norm(q.astype(np.float64) - x)) / (length or 1.0)
                for q, x, length in zip(quantised, real, lengths, strict=True)
            ]
        )
    )
