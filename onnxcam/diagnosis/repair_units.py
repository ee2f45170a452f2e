"""The change of the outputs of a quantised model with other scales and zero points, measured in one session."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam.diagnosis.mixture import ROUNDING, Mixture
from onnxcam.diagnosis.repair_ranges import Sensitivity
from onnxcam.engine import Session
from onnxcam.graph.fold import constant
from onnxcam.graph.io import all_tensors
from onnxcam.graph.quantisers import MOVES, Quantiser

__all__ = ["Bench"]

_Array = NDArray[Any]
_INPUT = "onnxcam.units."
_ShareOf: TypeAlias = float | Mapping[str, float]


@dataclass
class Bench:
    """The mixture with the units of its quantisers as inputs, so that one session measures any of them.

    Attributes:
        mixture: The quantised model.
        tensors: Names of the output tensors that matter, of the float network.
        feeds: Inputs of the quantised model for each image.
        real: The output tensors of the float network for each image.
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
        self.real = [self._run(feeds, {}, 0.0) for feeds in self.feeds]

    def takes(self, tensor: str) -> bool:
        """Return whether the units of *tensor* can be changed here."""
        return f"{_INPUT}{tensor}" in self._given or f"{_INPUT}{tensor}.scale" in self._given

    @cached_property
    def sensitivity(self) -> Sensitivity:
        """Return how much the rounding errors of each tensor change the outputs."""
        weights = {tensor: value.name or "" for value, tensor in self._mixed_weights.items()}
        return Sensitivity(self.mixture, self.tensors, self.feeds, weights)

    def damage(self, units: Mapping[str, Quantiser], shifts: Mapping[str, _Array] | None = None) -> float:
        """Return the relative change of the outputs by quantisation with the *units*, the mean over the images.

        *shifts* are added to biases, by their tensors.
        """
        changes = [
            _change(found, real) for found, real in zip(self.outputs(units, shifts or {}), self.real, strict=True)
        ]
        return float(np.mean(changes))

    def outputs(
        self,
        units: Mapping[str, Quantiser],
        shifts: Mapping[str, _Array],
        floats: Collection[str] = (),
        images: Sequence[int] | None = None,
    ) -> list[list[_Array]]:
        """Return the output tensors for each of the *images*, by default all; *floats* are tensors in float."""
        given = self._changed(units, shifts)
        share = {one.tensor: float(one.tensor not in floats) for one in self.mixture.quantisers}
        places = range(len(self.feeds)) if images is None else images
        return [self._run(self.feeds[place], given, share) for place in places]

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
            return {name: np.asarray(one.rounded(real) - real, self._given[name].dtype)}
        parts = {f"{name}.scale": one.scale, f"{name}.zero": one.zero}
        return {
            part: np.asarray(array, self._given[part].dtype).reshape(self._given[part].shape)
            for part, array in parts.items()
            if part in self._given
        }

    def _run(self, feeds: Mapping[str, _Array], given: Mapping[str, _Array], share: _ShareOf) -> list[_Array]:
        found = self._session.run(self._filled(feeds, given, share))
        return [found[name] for name in self._outputs]

    def _filled(self, feeds: Mapping[str, _Array], given: Mapping[str, _Array], share: _ShareOf) -> dict[str, _Array]:
        return self._session.filled({**self._given, **feeds, ROUNDING: self.mixture.shares(share), **given})


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
