"""First-order effects of all quantisers on a scalar: one backward pass by the shares of a mixture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam.autodiff import STANDARD
from onnxcam.autodiff.core import Cotangent, backward
from onnxcam.autodiff.differentiate import cotangent_input, set_outputs
from onnxcam.diagnosis.mixture import ROUNDING, Mixture
from onnxcam.engine import Session
from onnxcam.errors import GradientError
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.io import all_tensors, building
from onnxcam.metadata.reserved import MAP, SCORE
from onnxcam.methods import Method, explanation_graph
from onnxcam.model.prepared import PreparedModel
from onnxcam.passes import infer
from onnxcam.structure.layer import Layer
from onnxcam.targets.aim import Aim

__all__ = ["Effects", "map_effects", "score_effects", "tensor_effects"]

_EFFECTS = "onnxcam.effects"
_Arrays = Mapping[str, NDArray[Any]]
_SeedMaker = Callable[[Emitter, PreparedModel], tuple[Mapping[str, ir.Value], Mapping[ir.Value, Cotangent]]]
"""From a mixture to tensors that become outputs, and the cotangents of its tensors."""


class Effects:
    """A session of a mixture that gives tensors, and the derivatives of a scalar by the shares."""

    def __init__(
        self,
        mixture: Mixture,
        seeds: _SeedMaker,
        aim: Aim | None = None,
        provider: str = "cpu",
        prepare: Callable[[PreparedModel], None] | None = None,
        taps: Sequence[str] = (),
    ) -> None:
        with building():
            prepared = mixture.open(aim)
            given = next(value for value in prepared.model.graph.inputs if value.name == ROUNDING)
            if prepare is not None:
                prepare(prepared)
            op = Emitter(prepared.model.graph)
            tensors, cotangents = seeds(op, prepared)
            places = all_tensors(op.graph)
            gradient, *inner = backward(op, cotangents, [given, *(places[name] for name in taps)], STANDARD)
            if gradient is None:
                raise GradientError("no quantised tensor is connected with the score")
            tapped = {f"{name}.gradient": g for name, g in zip(taps, inner, strict=True) if g is not None}
            names = set_outputs(op, {**tensors, _EFFECTS: gradient, **tapped}, replace=True)
        self._names = dict(zip(tensors, names, strict=False))
        self._effects = names[len(tensors)]
        self._taps = dict(
            zip([name.removesuffix(".gradient") for name in tapped], names[len(tensors) + 1 :], strict=True)
        )
        self.count = len(mixture.quantisers)
        self._blank = {
            value.name or "": np.zeros([n if isinstance(n, int) else 1 for n in value.shape or ()], _dtype(value))
            for value in prepared.model.graph.inputs
        }
        self._session = Session(prepared.model, provider)

    def values(self, feeds: _Arrays, shares: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        """Return the tensors for one image."""
        found = self._run(feeds, shares, list(self._names.values()))
        return {name: found[own] for name, own in self._names.items()}

    def __call__(
        self, feeds: _Arrays, shares: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], dict[str, NDArray[Any]]]:
        """Return the derivatives by the shares, [S], and the gradients at the taps, for one image.

        Taps that are not connected with the scalar have no gradient.
        """
        found = self._run(feeds, shares, [self._effects, *self._taps.values()])
        return found[self._effects].astype(np.float64), {name: found[own] for name, own in self._taps.items()}

    def _run(self, feeds: _Arrays, shares: NDArray[np.float32], names: Sequence[str]) -> dict[str, NDArray[Any]]:
        given = {**self._blank, **{name: self._repeated(name, x) for name, x in feeds.items()}, ROUNDING: shares}
        return self._session.run({name: given[name] for name in self._session.inputs}, names)

    def _repeated(self, name: str, x: NDArray[Any]) -> NDArray[Any]:
        """Return *x* in the input's dtype, repeated in every row of an input of fixed batch size."""
        rows = self._blank[name].shape[:1] if name in self._blank else ()
        x = x.astype(self._blank[name].dtype, copy=False) if name in self._blank else x
        return np.repeat(x, rows[0], axis=0) if x.shape[:1] == (1,) and rows and rows[0] > 1 else x


def _dtype(x: ir.Value) -> np.dtype[Any]:
    return np.dtype(np.float32) if x.dtype is None else x.dtype.numpy()


def score_effects(mixture: Mixture, aim: Aim, provider: str = "cpu") -> Effects:
    """Return the effects on the score of *aim*, which is the tensor `SCORE`."""

    def seeds(op: Emitter, prepared: PreparedModel) -> tuple[Mapping[str, ir.Value], Mapping[ir.Value, Cotangent]]:
        aimed = aim.emit(op, prepared.batch)
        return {SCORE: aimed.score}, aimed.seeds

    return Effects(mixture, seeds, aim, provider)


def tensor_effects(
    mixture: Mixture,
    names: Sequence[str],
    provider: str = "cpu",
    taps: Sequence[str] = (),
    beside: Sequence[str] = (),
) -> Effects:
    """Return the effects on Σ ⟨w, y⟩ of the tensors *names*; each w is an input ``<name>.cotangent``.

    *taps* are further tensors whose values and gradients the session gives; *beside* are some whose values it gives.
    """

    def seeds(op: Emitter, prepared: PreparedModel) -> tuple[Mapping[str, ir.Value], Mapping[ir.Value, Cotangent]]:
        tensors = all_tensors(op.graph)
        given = {name: tensors[name] for name in dict.fromkeys((*names, *taps, *beside))}
        return given, {given[name]: cotangent_input(op, given[name]) for name in names}

    return Effects(mixture, seeds, None, provider, taps=taps)


def map_effects(
    mixture: Mixture,
    method: Method,
    layers: Sequence[Layer],
    aim: Aim,
    settings: Mapping[str, Any] | None = None,
    provider: str = "cpu",
) -> Effects:
    """Return the effects on ⟨w, map⟩; w is the input ``onnxcam.map.cotangent``.

    The map holds a gradient, so these are derivatives of second order.
    """

    def prepare(prepared: PreparedModel) -> None:
        tensors = all_tensors(prepared.model.graph)
        own = [Layer(tensors[mixture.mixed(layer.tensor)], layer.layout) for layer in layers]
        explanation_graph(prepared, method, own, aim, settings)
        infer(prepared.model, STANDARD)

    def seeds(op: Emitter, prepared: PreparedModel) -> tuple[Mapping[str, ir.Value], Mapping[ir.Value, Cotangent]]:
        raw = all_tensors(op.graph)[MAP]
        return {MAP: raw}, {raw: cotangent_input(op, raw)}

    return Effects(mixture, seeds, aim, provider, prepare)
