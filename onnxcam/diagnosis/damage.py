"""What the rounding of each quantised tensor changes in one image: score, outputs and map, to first order.

One backward pass each: by the score of what is explained; by the change of the outputs, projected on its own direction;
and by the change of the map, likewise. A map holds a gradient already, so its pass is one of second order.

For a tensor y of the float network that rounding turns into y + v, the scalar is ⟨y, v⟩ / ‖v‖²: it grows by 1 when all
is quantised, so that the effect of one quantiser is its share of the change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxcam.diagnosis.effects import Effects, map_effects, score_effects, tensor_effects
from onnxcam.diagnosis.mixture import Mixture
from onnxcam.diagnosis.statistics import TensorStatistics
from onnxcam.metadata.reserved import MAP, SCORE
from onnxcam.methods import GraphMethod, Method
from onnxcam.structure.layer import Layer
from onnxcam.targets.aim import Aim

__all__ = ["OBJECTIVES", "Damage", "DamageProbe", "ExplainedScalar", "Scalar"]

_Array = NDArray[Any]
OBJECTIVES = ("score", "outputs", "map")


@dataclass(frozen=True)
class ExplainedScalar:
    """What is explained: a kind of scalar, and the layers of its map."""

    aim: Aim
    layers: tuple[Layer, ...]


@dataclass(frozen=True)
class Damage:
    """Effects of all quantisers in one image, for one thing that is explained.

    Attributes:
        effects: By objective, [S]: of the score in its own units, of outputs and map as shares of their change.
        change: By objective, the change when all is quantised: of the score in its units, of the others relative.
        accumulated: Effects on the outputs of all rounding up to each tensor, [S]; NaN for weights.
    """

    effects: Mapping[str, NDArray[np.float64]]
    change: Mapping[str, float]
    accumulated: NDArray[np.float64]


@dataclass(frozen=True)
class Scalar:
    """A scalar Σ ⟨w, y⟩ of tensors y of a mixture, for one image.

    Attributes:
        effects: The session.
        feeds: Its inputs.
        before: The tensors of the float network.
        after: Those of the quantised one.
        weights: w, by the name of the tensor.
        change: Size of the change, see `Damage`.
        factor: Of the derivatives: a network of a fixed batch size has the image in every row.
    """

    effects: Effects
    feeds: Mapping[str, _Array]
    before: Mapping[str, _Array]
    after: Mapping[str, _Array]
    weights: Mapping[str, _Array]
    change: float
    factor: float = 1.0

    def first_order(self) -> tuple[NDArray[np.float64], dict[str, _Array]]:
        """Return the effects, [S], and the gradients at the taps: one backward pass."""
        effects, gradients = self.effects(self.feeds, np.zeros(self.effects.count, np.float32))
        return effects * self.factor, gradients

    def measured(self) -> NDArray[np.float64]:
        """Return the effects, [S], one run each."""
        return np.array([self._alone(shares) for shares in np.eye(self.effects.count, dtype=np.float32)])

    def _alone(self, shares: NDArray[np.float32]) -> float:
        found = self.effects.values(self.feeds, shares)
        return sum(
            float((w * (found[name].astype(np.float64) - self.before[name])).sum()) for name, w in self.weights.items()
        )


@dataclass
class DamageProbe:
    """Measures `Damage`. Sessions are made once for each kind of scalar.

    Attributes:
        mixture: The quantised model.
        tensors: Names of the output tensors that matter, of the float network.
        method: The explanation method; None: no maps.
        settings: Its settings.
        statistics: Statistics of each quantised tensor over the images, in the order of the quantisers.
    """

    mixture: Mixture
    tensors: Sequence[str]
    method: Method | None
    settings: Mapping[str, Any] = field(default_factory=dict)
    provider: str = "cpu"

    def __post_init__(self) -> None:
        self._sessions: dict[Any, Effects] = {}
        self.parts = self.mixture.parts()
        self.statistics = [TensorStatistics(one) for one in self.mixture.quantisers]
        for found in self.statistics:
            if found.quantiser.kind != "activation":
                found.channel = found.quantiser.axis if found.quantiser.scale.size > 1 else 0
                found.add(self.mixture.originals[found.quantiser.tensor], self.mixture.weights[found.quantiser.tensor])

    def __call__(
        self, explained: Sequence[tuple[ExplainedScalar, Mapping[str, _Array]]], feeds: Mapping[str, _Array]
    ) -> list[Damage]:
        """Return the damage in one image for each thing *explained*, with the inputs of its aim.

        *feeds* are the inputs of the quantised model. If nothing is explained, there is one damage of the outputs.
        """
        outputs = self._outputs(feeds)
        effects, gradients = outputs.first_order()
        self._add_statistics(outputs, gradients)
        accumulated = self._accumulated(outputs, gradients)
        found = []
        for one, own in explained:
            others = self._of(one, {**feeds, **own})
            found.append(
                Damage(
                    {"outputs": effects, **{name: scalar.first_order()[0] for name, scalar in others.items()}},
                    {"outputs": outputs.change, **{name: scalar.change for name, scalar in others.items()}},
                    accumulated,
                )
            )
        return found or [Damage({"outputs": effects}, {"outputs": outputs.change}, accumulated)]

    def measured(
        self, explained: Sequence[tuple[ExplainedScalar, Mapping[str, _Array]]], feeds: Mapping[str, _Array]
    ) -> list[dict[str, NDArray[np.float64]]]:
        """Return the effects, [S] by objective, as runs with one tensor quantised at a time show them.

        It takes one run for each quantiser: the truth that `__call__` is held against.
        """
        outputs = self._outputs(feeds).measured()
        others = [self._of(one, {**feeds, **own}) for one, own in explained]
        found = [{"outputs": outputs, **{name: one.measured() for name, one in scalars.items()}} for scalars in others]
        return found or [{"outputs": outputs}]

    def _of(self, explained: ExplainedScalar, feeds: Mapping[str, _Array]) -> dict[str, Scalar]:
        """Return score and map of one thing."""
        found = {"score": self._score(explained.aim, feeds)}
        if isinstance(self.method, GraphMethod):
            found["map"] = self._map(explained, self.method, feeds)
        return found

    def _score(self, aim: Aim, feeds: Mapping[str, _Array]) -> Scalar:
        effects = self._session(("score", aim), lambda: score_effects(self.mixture, aim, self.provider))
        before, after = self._ends(effects, feeds)
        change = float(after[SCORE][0] - before[SCORE][0])
        weights = {SCORE: np.full(before[SCORE].shape, 1 / before[SCORE].size)}
        return Scalar(effects, feeds, before, after, weights, change, 1 / before[SCORE].size)

    def _outputs(self, feeds: Mapping[str, _Array]) -> Scalar:
        mixture, names = self.mixture, [self.mixture.mixed(name) for name in self.tensors]
        taps = [site.after for site in mixture.sites.values()]
        beside = [part for parts in self.parts.values() for part in parts]
        effects = self._session("outputs", lambda: tensor_effects(mixture, names, self.provider, taps, beside))
        before, after = self._ends(effects, feeds)
        changes = {name: after[name].astype(np.float64) - before[name] for name in names}
        relative = float(np.mean([_relative(changes[name], before[name]) for name in names]))
        weights = {name: _direction(change) for name, change in changes.items()}
        return Scalar(effects, {**feeds, **_cotangents(weights)}, before, after, weights, relative)

    def _map(self, explained: ExplainedScalar, method: Method, feeds: Mapping[str, _Array]) -> Scalar:
        key = ("map", explained.aim, tuple(layer.tensor for layer in explained.layers))
        effects = self._session(
            key,
            lambda: map_effects(self.mixture, method, explained.layers, explained.aim, self.settings, self.provider),
        )
        before, after = self._ends(effects, feeds)
        change = _turned(before[MAP].astype(np.float64), after[MAP].astype(np.float64))
        weights = {MAP: _direction(change)}
        return Scalar(
            effects, {**feeds, **_cotangents(weights)}, before, after, weights, _relative(change, before[MAP])
        )

    def _ends(self, effects: Effects, feeds: Mapping[str, _Array]) -> tuple[dict[str, _Array], dict[str, _Array]]:
        """Return the tensors of the float network and of the quantised one."""
        return effects.values(feeds, self.mixture.shares(0.0)), effects.values(feeds, self.mixture.shares(1.0))

    def _add_statistics(self, outputs: Scalar, gradients: Mapping[str, _Array]) -> None:
        for found in self.statistics:
            name = found.quantiser.tensor
            if name in self.mixture.sites:
                mixed = self.mixture.sites[name].after
                found.add(outputs.before[mixed], gradient=gradients.get(mixed))
            found.add_parts([outputs.before[part] for part in self.parts.get(name, ())])

    def _accumulated(self, outputs: Scalar, gradients: Mapping[str, _Array]) -> NDArray[np.float64]:
        """Return the effect on the outputs of the whole error of each tensor, [S]; NaN for weights."""
        found = np.full(len(self.mixture.quantisers), np.nan)
        for place, one in enumerate(self.mixture.quantisers):
            if one.tensor in self.mixture.sites:
                name = self.mixture.sites[one.tensor].after
                error = outputs.after[name].astype(np.float64) - outputs.before[name]
                found[place] = float((gradients[name] * error).sum()) if name in gradients else 0.0
        return found

    def _session(self, key: Any, make: Any) -> Effects:
        if key not in self._sessions:
            self._sessions[key] = make()
        found: Effects = self._sessions[key]
        return found


def _cotangents(arrays: Mapping[str, _Array]) -> dict[str, _Array]:
    return {f"{name}.cotangent": array.astype(np.float32) for name, array in arrays.items()}


def _direction(v: _Array) -> _Array:
    """Return v / ‖v‖²: the cotangent of the projection on *v*, as a share of it. 0 for no change."""
    length = float(np.square(v).sum())
    return v / length if length else v


def _turned(before: _Array, after: _Array) -> _Array:
    """Return the change of a map apart from its strength, which does not move where a model looks.

    It is the part of ``after`` that is orthogonal to ``before``; if there is none, the change itself.
    """
    length = float(np.square(before).sum())
    change = after - before * (float((after * before).sum()) / length if length else 0.0)
    return change if np.abs(change).max(initial=0) > 1e-9 * np.abs(before).max(initial=0) else after - before


def _relative(change: _Array, before: _Array) -> float:
    length = float(np.linalg.norm(before))
    return float(np.linalg.norm(change)) / length if length else 0.0
