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

__all__ = ["OBJECTIVES", "Damage", "DamageProbe", "Explained"]

Array = NDArray[Any]
OBJECTIVES = ("score", "outputs", "map")


@dataclass(frozen=True)
class Explained:
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
        self.statistics = [TensorStatistics(one) for one in self.mixture.quantisers]
        for found in self.statistics:
            if found.quantiser.kind != "activation":
                found.channel = 0
                found.add(self.mixture.originals[found.quantiser.tensor], self.mixture.weights[found.quantiser.tensor])

    def __call__(
        self, explained: Sequence[tuple[Explained, Mapping[str, Array]]], feeds: Mapping[str, Array]
    ) -> list[Damage]:
        """Return the damage in one image for each thing *explained*, with the inputs of its aim.

        *feeds* are the inputs of the quantised model. If nothing is explained, there is one damage of the outputs.
        """
        outputs, change, accumulated = self._outputs(feeds)
        found: list[Damage] = []
        for one, own in explained:
            parts = {"score": self._score(one.aim, {**feeds, **own})}
            if isinstance(self.method, GraphMethod):
                parts["map"] = self._map(one, self.method, {**feeds, **own})
            effects = {"outputs": outputs, **{name: part[0] for name, part in parts.items()}}
            changes = {"outputs": change, **{name: part[1] for name, part in parts.items()}}
            found.append(Damage(effects, changes, accumulated))
        return found or [Damage({"outputs": outputs}, {"outputs": change}, accumulated)]

    def _score(self, aim: Aim, feeds: Mapping[str, Array]) -> tuple[NDArray[np.float64], float]:
        effects = self._session(("score", aim), lambda: score_effects(self.mixture, aim, self.provider))
        before, after = (float(effects.values(feeds, self.mixture.shares(s))[SCORE][0]) for s in (0.0, 1.0))
        return effects(feeds, self.mixture.shares()), after - before

    def _outputs(self, feeds: Mapping[str, Array]) -> tuple[NDArray[np.float64], float, NDArray[np.float64]]:
        """Return the effects on the outputs, their change, and the accumulated effects; add to the statistics."""
        mixture, names = self.mixture, [self.mixture.mixed(name) for name in self.tensors]
        sites = {name: site.after for name, site in mixture.sites.items()}
        effects = self._session("outputs", lambda: tensor_effects(mixture, names, self.provider, list(sites.values())))
        before, after = (effects.values(feeds, mixture.shares(s)) for s in (0.0, 1.0))
        for found in self.statistics:
            if found.quantiser.tensor in sites:
                found.add(before[sites[found.quantiser.tensor]])
        changes = {name: after[name].astype(np.float64) - before[name] for name in names}
        given = self._cotangents({name: _direction(v) for name, v in changes.items()})
        gradients = effects.gradients({**feeds, **given}, mixture.shares())
        accumulated = np.full(len(mixture.quantisers), np.nan)
        for place, one in enumerate(mixture.quantisers):
            site = sites.get(one.tensor)
            if site is not None:
                g = gradients.get(site)
                accumulated[place] = (
                    0.0 if g is None else float((g * (after[site].astype(np.float64) - before[site])).sum())
                )
        relative = float(np.mean([_relative(changes[name], before[name]) for name in names]))
        return effects({**feeds, **given}, mixture.shares()), relative, accumulated

    def _map(
        self, explained: Explained, method: Method, feeds: Mapping[str, Array]
    ) -> tuple[NDArray[np.float64], float]:
        key = ("map", explained.aim, tuple(layer.tensor for layer in explained.layers))
        effects = self._session(
            key,
            lambda: map_effects(self.mixture, method, explained.layers, explained.aim, self.settings, self.provider),
        )
        before, after = (effects.values(feeds, self.mixture.shares(s))[MAP].astype(np.float64) for s in (0.0, 1.0))
        change = _turned(before, after)
        given = self._cotangents({MAP: _direction(change)})
        return effects({**feeds, **given}, self.mixture.shares()), _relative(change, before)

    def _cotangents(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        return {f"{name}.cotangent": array.astype(np.float32) for name, array in arrays.items()}

    def _session(self, key: Any, make: Any) -> Effects:
        if key not in self._sessions:
            self._sessions[key] = make()
        found: Effects = self._sessions[key]
        return found


def _direction(v: Array) -> Array:
    """Return v / ‖v‖²: the cotangent of the projection on *v*, as a share of it. 0 for no change."""
    length = float(np.square(v).sum())
    return v / length if length else v


def _turned(before: Array, after: Array) -> Array:
    """Return the change of a map apart from its strength, which does not move where a model looks.

    It is the part of ``after`` that is orthogonal to ``before``; if there is none, the change itself.
    """
    length = float(np.square(before).sum())
    change = after - before * (float((after * before).sum()) / length if length else 0.0)
    return change if np.abs(change).max(initial=0) > 1e-9 * np.abs(before).max(initial=0) else after - before


def _relative(change: Array, before: Array) -> float:
    length = float(np.linalg.norm(before))
    return float(np.linalg.norm(change)) / length if length else 0.0
