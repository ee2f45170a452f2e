"""The order in which tensors are kept in float: by what the failing requirement measures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxcam.diagnosis.diagnosis import Diagnosis
from onnxcam.diagnosis.repair_plan import RepairPlan
from onnxcam.diagnosis.repair_units import Bench

__all__ = ["by_margin", "by_share"]

_TRIED = 64
"""Number of tensors that are tried in each step, the first of the ranking."""
_STEPS = 6
"""Largest number of tensors that are chosen by the margin."""


def by_share(plan: RepairPlan, diagnosis: Diagnosis, bench: Bench, free: Sequence[str]) -> list[str]:
    """Return the *free* tensors by their share of the damage, the largest first.

    The share of a tensor with other units falls by the estimate of its effect (`Sensitivity.cost`).
    """
    old = {one.tensor: one for one in bench.mixture.quantisers}

    def share(tensor: str, before: float) -> float:
        units = plan.units.get(tensor)
        if units is None:
            return before
        costs = bench.sensitivity.cost(units), bench.sensitivity.cost(old[tensor])
        return before * float(np.sqrt(costs[0] / costs[1])) if costs[1] else 0.0

    shares = {one.tensor: share(one.tensor, one.share) for one in diagnosis.tensors if one.tensor in free}
    return sorted(shares, key=lambda tensor: -shares[tensor])


def by_margin(plan: RepairPlan, ranking: Sequence[str], bench: Bench, nodes: Callable[[str], int]) -> list[str]:
    """Return the *ranking* with those tensors first that give wrong images their top class back.

    The margin of an image is the score of the float network's top class less that of its largest rival. In each step
    the tensor comes first that raises the margins of the wrong images most, for each of its *nodes* in float.
    """
    margins = _Margins(bench, plan)
    chosen: list[str] = []
    while len(chosen) < _STEPS:
        now = margins(chosen)
        wrong = np.flatnonzero(now <= 0)
        rest = [tensor for tensor in ranking if tensor not in chosen][:_TRIED]
        if not len(wrong) or not rest:
            break
        gains = {
            tensor: float((margins([*chosen, tensor], wrong) - now[wrong]).sum()) / max(nodes(tensor), 1)
            for tensor in rest
        }
        best = max(rest, key=lambda tensor: gains[tensor])
        if gains[best] <= 0:
            break
        chosen.append(best)
    return [*chosen, *(tensor for tensor in ranking if tensor not in chosen)]


@dataclass
class _Margins:
    """The margins of all images with a plan and further tensors in float, at most those of the float network."""

    bench: Bench
    plan: RepairPlan

    def __post_init__(self) -> None:
        real = self._scores(self.bench.real)
        self._tops = [int(scores.argmax()) for scores in real]
        self._most = np.array([_margin(scores, top) for scores, top in zip(real, self._tops, strict=True)])

    def __call__(
        self, floats: Sequence[str], images: Sequence[int] | NDArray[np.intp] | None = None
    ) -> NDArray[np.float64]:
        places = range(len(self._tops)) if images is None else [int(place) for place in images]
        plan = self.plan.keeping([*self.plan.floats, *floats])
        found = self.bench.outputs(plan.units, plan.shifts, plan.floats, places)
        margins = [_margin(s, self._tops[place]) for s, place in zip(self._scores(found), places, strict=True)]
        return np.minimum(margins, self._most[list(places)])

    @staticmethod
    def _scores(outputs: Sequence[Sequence[NDArray[Any]]]) -> list[NDArray[np.float64]]:
        """Return the class scores of each image."""
        return [np.asarray(tensors[0][0], np.float64).ravel() for tensors in outputs]


def _margin(scores: NDArray[np.float64], top: int) -> float:
    """Return the score of the class *top* less the largest of the others."""
    return float(scores[top] - np.delete(scores, top).max(initial=-np.inf))
