"""Which tensors of a float model and of its quantised form are the same: by name, by shape and by numbers.

The quantised model gives the structure. Its weights are paired with the float model's constants. The network with these
constants and without rounding must then compute what the float model computes: a run shows it. Activations are paired
by the numbers of this run, so that it does not matter who made the file, or how its tensors are called.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam.autodiff import STANDARD
from onnxcam.diagnosis.constants import float_constants
from onnxcam.diagnosis.fingerprints import Fingerprint
from onnxcam.diagnosis.mixture import Mixture
from onnxcam.diagnosis.weights import paired_weights
from onnxcam.engine import Session
from onnxcam.errors import DiagnosisError, EngineError
from onnxcam.graph.fold import constant
from onnxcam.graph.io import ModelLike, all_tensors
from onnxcam.graph.quantisation import units
from onnxcam.metadata.reserved import load_bare
from onnxcam.passes import canonical

__all__ = ["Pairing", "pair"]

Array = NDArray[Any]

SAME = 0.01
"""Two networks compute the same if their outputs differ by less than this share of the largest value."""


@dataclass(frozen=True)
class Pairing:
    """The tensors of a float model that belong to the quantisers of its quantised form.

    Attributes:
        mixture: The mixture, with the float weights.
        names: Names of the float tensors, by that of the quantiser's tensor.
        unmatched: Tensors of quantisers without a float one.
        difference: Largest difference between the outputs of the float model and of the mixture's float network, as a
            share of the largest value.
    """

    mixture: Mixture
    names: Mapping[str, str]
    unmatched: Sequence[str]
    difference: float


def pair(quantised: ModelLike, real: ModelLike | None = None, feeds: Mapping[str, Array] | None = None) -> Pairing:
    """Pair the tensors of a *quantised* model with those of its float original.

    Args:
        quantised: The quantised model.
        real: The float model. None: the quantised model without rounding takes its place, and its weights are those of
            the quantised model.
        feeds: Inputs of the quantised model for one image, [1, …] each; required with *real*.

    Raises:
        DiagnosisError: the weights are those of another training, or the two do not compute the same.
        ModelError: one of the models cannot be read.
    """
    mixture = Mixture.of(quantised)
    if real is None:
        return Pairing(mixture, {}, [], 0.0)
    assert feeds is not None
    original = canonical(load_bare(real), STANDARD)
    fixed = [one for one in (*mixture.quantisers, *mixture.fixed) if one.kind != "activation"]
    weights = paired_weights([(one, mixture.weights[one.tensor]) for one in fixed], float_constants(original))
    arrays = {one.real: weights[one.tensor].array for one in fixed if one.tensor in weights}
    run = _FloatRun(original, feeds)
    uppers: dict[str, float] = {}
    tried: set[tuple[str, float]] = set()
    mixture = Mixture.of(quantised, arrays)
    tensors, limit = run.paired(mixture, tried)
    while limit is not None:
        tried.add(limit)
        uppers[limit[0]] = limit[1]
        mixture = Mixture.of(quantised, arrays, uppers)
        tensors, limit = run.paired(mixture, tried)
    names = {**{name: one.name for name, one in weights.items()}, **tensors}
    lost = [one.tensor for one in (*mixture.quantisers, *mixture.fixed) if one.tensor not in names]
    difference = run.difference(mixture)
    if difference > SAME:
        raise DiagnosisError(_unlike(difference, lost, mixture))
    return Pairing(mixture, names, lost, difference)


class _FloatRun:
    """One run of the float model: its outputs and the fingerprints of its tensors."""

    def __init__(self, model: ir.Model, feeds: Mapping[str, Array]) -> None:
        self._model, self._feeds = model, feeds
        self._tensors = all_tensors(model.graph)
        self._known: tuple[list[str], list[Fingerprint]] | None = None

    def paired(
        self, mixture: Mixture, tried: Collection[tuple[str, float]]
    ) -> tuple[dict[str, str], tuple[str, float] | None]:
        """Return the float model's tensors by the quantisers' ones, and the first activation function that is wrong.

        It is the real tensor of a quantiser with the upper end of a function that is not among those *tried*.
        """
        names, prints = self._fingerprints(mixture)
        inner = all_tensors(mixture.real.graph)
        reals = [one.real for one in mixture.quantisers if one.real in inner]
        arrays = _values(mixture.real, [*reals, *(site.real for site in mixture.sites.values())], self._feeds)
        found: dict[str, str] = {}
        for quantiser in mixture.quantisers:
            site = mixture.sites.get(quantiser.tensor)
            if site is None:
                continue
            name = _nearest(Fingerprint.of(arrays[site.real]), names, prints, quantiser.real)
            if name is not None:
                found[quantiser.tensor] = name
                known = (quantiser.real, _upper(self._tensors.get(name)))
                ours = _upper(inner[site.real]) if site.real != quantiser.real else known[1]
                if known[1] is not None and known[1] != ours and known not in tried:
                    return found, (quantiser.real, known[1])
                continue
            x = arrays.get(quantiser.real, arrays[site.real])
            for upper in (np.inf, 6.0):
                limited = Fingerprint.of(np.clip(x, 0, upper)).nearest(prints)
                if limited is not None and (quantiser.real, upper) not in tried:
                    return found, (quantiser.real, upper)
        return found, None

    def difference(self, mixture: Mixture) -> float:
        """Return the largest difference of the outputs as a share of the largest value; infinite for other shapes."""
        ours = [value.name or "" for value in mixture.real.graph.outputs]
        theirs = [value.name or "" for value in self._model.graph.outputs]
        if len(ours) != len(theirs):
            return float("inf")
        first, second = _values(mixture.real, ours, self._feeds), _values(self._model, theirs, self._own_feeds(mixture))
        return max(_difference(first[a], second[b]) for a, b in zip(ours, theirs, strict=True))

    def _fingerprints(self, mixture: Mixture) -> tuple[list[str], list[Fingerprint]]:
        """Return the names and the fingerprints of the floating tensors of the float model, in order."""
        if self._known is None:
            names = [
                value.name or ""
                for value in (*self._model.graph.inputs, *(y for node in self._model.graph for y in node.outputs))
                if value.name
                and value.dtype is not None
                and value.dtype.is_floating_point()
                and not value.is_initializer()
            ]
            arrays = _values(self._model, names, self._own_feeds(mixture))
            self._known = names, [Fingerprint.of(arrays[name]) for name in names]
        return self._known

    def _own_feeds(self, mixture: Mixture) -> dict[str, Array]:
        """Return the inputs of the float model: the same real numbers, where the quantised model takes integers."""
        given: dict[str, Array] = {}
        own = mixture.real.graph.inputs
        for place, value in enumerate(self._model.graph.inputs):
            other = next((x for x in own if x.name == value.name), own[place] if place < len(own) else None)
            if other is None or other.name not in self._feeds:
                raise DiagnosisError(f"the float model has an input {value.name!r} that the quantised one lacks")
            array = self._feeds[other.name or ""]
            dtype = np.dtype(np.float32) if value.dtype is None else value.dtype.numpy()
            known = units(other) if dtype.kind == "f" and array.dtype.kind != "f" else None
            if known is not None and known.known is not None:
                scale, zero = known.known
                array = (array.astype(np.float64) - zero) * scale
            given[value.name or ""] = array.astype(dtype)
        return given


def _nearest(one: Fingerprint, names: Sequence[str], prints: Sequence[Fingerprint], wish: str) -> str | None:
    """Return the tensor whose fingerprint is that of *one*: that of the name *wish* if it is among them."""
    if wish in names and one.nearest([prints[names.index(wish)]]) is not None:
        return wish
    place = one.nearest(prints)
    return None if place is None else names[place]


def _upper(x: ir.Value | None) -> float | None:
    """Return where the activation function that writes *x* ends, infinite for a ReLU; None for another operator."""
    node = None if x is None else x.producer()
    if node is None or node.op_type not in ("Relu", "Clip"):
        return None
    end = constant((*node.inputs, None, None)[2]) if node.op_type == "Clip" else None
    return float("inf") if end is None else float(end.item())


def _values(model: ir.Model, names: Sequence[str], feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Return the tensors *names* of a run."""
    copy = model.clone()
    tensors, inputs = all_tensors(copy.graph), {value.name for value in copy.graph.inputs}
    wanted = dict.fromkeys(name for name in names if name not in inputs)
    copy.graph.outputs[:] = [tensors[name] for name in wanted]
    found = {name: feeds[name] for name in names if name in inputs}
    if wanted:
        session = Session(copy, "cpu", optimize=False)
        try:
            found |= session.run({name: feeds[name] for name in session.inputs}, list(wanted))
        except EngineError as error:
            raise DiagnosisError(f"the two models do not take the same inputs: {error}") from error
    return found


def _difference(a: Array, b: Array) -> float:
    if a.size != b.size:
        return float("inf")
    x, y = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    scale = float(np.abs(y).max(initial=0))
    return float(np.abs(x - y).max(initial=0)) / (scale or 1.0)


def _unlike(difference: float, lost: Sequence[str], mixture: Mixture) -> str:
    """Return why a float model and a quantised one do not belong together."""
    weights = [one.tensor for one in mixture.fixed]
    cure = "give the float model that was quantised, or none: the quantised model without rounding takes its place"
    if weights:
        return (
            f"the two models are not one network: {len(weights)} of {len(weights) + _count(mixture)} quantised "
            f"weights, such as {weights[0]!r}, are like none of the float model (another training or graph); {cure}"
        )
    first = next((name for name in lost), None)
    where = "" if first is None else f"; {first!r} is the first tensor that differs"
    return (
        f"without rounding the quantised model computes {difference:.2g} of the largest value more or less than the "
        f"float model{where}; {cure}"
    )


def _count(mixture: Mixture) -> int:
    return sum(one.kind != "activation" for one in mixture.quantisers)
