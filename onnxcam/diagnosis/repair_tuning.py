"""Better units and corrected biases for a quantised file, as far as they reduce the change of its outputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam.diagnosis.diagnose import Subject
from onnxcam.diagnosis.diagnosis import Diagnosis, TensorDiagnosis
from onnxcam.diagnosis.repair_ranges import weight_units
from onnxcam.diagnosis.repair_result import Rewrite
from onnxcam.diagnosis.repair_units import Bench
from onnxcam.diagnosis.rewrite import is_joined
from onnxcam.diagnosis.rewrite_units import channel_axis
from onnxcam.graph.quantisers import Quantiser

__all__ = ["BETTER", "Tuning"]

_UNITS = frozenset(("clipped", "zero-point", "coarse", "dead-channels", "outlier-channels", "per-tensor", "scale"))
"""Causes that other scales or zero points may remove."""
_TUNED = 32
"""Number of tensors whose units are tried, the worst first."""
BETTER = 0.99
"""A change is kept if the damage falls at least to this share."""
_FALLS = 0.95
"""A range is tried if the estimate of its effect falls at least to this share."""


@dataclass
class Tuning:
    """A quantised file whose units and biases are tried.

    Attributes:
        subject: The file and its float form, with images.
        source: The file.
        free: Tensors that may change.
    """

    subject: Subject
    source: ir.Model
    free: Sequence[str]

    @cached_property
    def bench(self) -> Bench:
        """Return what measures the damage."""
        feeds = [dict(self.subject.candidate.look(prepared).feeds) for prepared in self.subject.images]
        return Bench(self.subject.mixture, self.subject.tensors, feeds)

    def units(self, diagnosis: Diagnosis) -> dict[str, Quantiser]:
        """Return other scales and zero points where they reduce the damage, the worst tensor first.

        All tensors with a named cause start with the widest range, if this is better than the file as it is: the damage
        of several bad ranges does not fall one by one. Each is then tried with other ranges, and as it is.
        """
        named = [one.tensor for one in diagnosis.tensors if one.cause is not None and one.cause.id in _UNITS]
        named = [tensor for tensor in named if tensor in self.free and self.bench.takes(tensor)][:_TUNED]
        tried = {tensor: units for tensor in named if (units := self._candidates(tensor))}
        if not tried:
            return {}
        chosen = {tensor: units[0] for tensor, units in tried.items()}
        damage, before = self.bench.damage(chosen), self.bench.damage({})
        if not damage < before:
            chosen, damage = {}, before
        for tensor, candidates in tried.items():
            others = {other: units for other, units in chosen.items() if other != tensor}
            without = self.bench.damage(others) if tensor in chosen else damage
            damages = [self.bench.damage({**others, tensor: units}) for units in candidates]
            damage, chosen = without, others
            if min(damages) < BETTER * without:
                damage = min(damages)
                chosen = {**others, tensor: candidates[damages.index(damage)]}
        return {tensor: chosen[tensor] for tensor in tried if tensor in chosen}

    def ranges(self, units: Mapping[str, Quantiser]) -> dict[str, Quantiser]:
        """Return *units* and the best ranges of all other tensors, where they reduce the damage.

        All are tried together, then without some: the first half of the gains, the next quarter, and so on.
        """
        gains: dict[Quantiser, float] = {}
        for one in self.subject.mixture.quantisers:
            if one.tensor in self.free and one.tensor not in units and self.bench.takes(one.tensor):
                gains |= self._gain(one)
        ranked = [best for best, _ in sorted(gains.items(), key=lambda pair: -pair[1])]
        chosen, damage = dict(units), self.bench.damage(units)
        groups = [ranked, *_halves(ranked)] if len(ranked) > 1 else [ranked]
        for group in groups:
            if any(one.tensor in chosen and one.tensor not in units for one in group):
                tried = {tensor: one for tensor, one in chosen.items() if one not in group}
            else:
                tried = {**chosen, **{one.tensor: one for one in group}}
            found = self.bench.damage(tried)
            if found < damage:
                chosen, damage = tried, found
        return chosen

    def shifts(self, units: Mapping[str, Quantiser]) -> dict[str, NDArray[Any]]:
        """Return what to add to the biases with the *units*, so that no layer is wrong on average; none if no help."""
        found = {tensor: shift for tensor, shift in self.bench.corrections(units).items() if tensor in self.free}
        return found if self.bench.damage(units, found) < BETTER * self.bench.damage(units) else {}

    def rewritten(self, units: Mapping[str, Quantiser], diagnosis: Diagnosis) -> list[Rewrite]:
        """Return the *units* with their causes, and the damage without and with them.

        The ranges of tensors without a cause are measured together.
        """
        named = {one.tensor: one for one in diagnosis.tensors}
        alone = [tensor for tensor in units if named[tensor].cause is not None][:_TUNED]
        after = self.bench.damage(units) if units else 0.0
        rest = self.bench.damage({tensor: units[tensor] for tensor in alone}) if len(alone) < len(units) else 0.0
        before = {tensor: self.bench.damage({t: one for t, one in units.items() if t != tensor}) for tensor in alone}
        return [
            _rewrite(named[tensor], self._old[tensor], one, before.get(tensor, rest), after)
            for tensor, one in units.items()
        ]

    @cached_property
    def _old(self) -> dict[str, Quantiser]:
        return {one.tensor: one for one in self.subject.mixture.quantisers}

    def _candidates(self, tensor: str) -> list[Quantiser]:
        """Return the units to try for one tensor, the widest range first."""
        one = self._old[tensor]
        if one.kind == "bias":
            return [one]  # its scale follows from input and weights: the integers are made again
        if one.kind == "activation":
            sensitivity = self.bench.sensitivity
            tried = [] if is_joined(self.source, tensor) else [sensitivity.widest(one), sensitivity.best(one)]
        else:
            axes = dict.fromkeys((channel_axis(self.source, tensor), None))
            tried = [found for axis in axes for found in self._weight_units(one, axis)]
        return [units for units in tried if units is not None]

    def _weight_units(self, one: Quantiser, axis: int | None) -> list[Quantiser | None]:
        real = self.subject.mixture.originals[one.tensor]
        return [weight_units(one, real, axis), self.bench.sensitivity.best_weights(one, real, axis)]

    def _gain(self, one: Quantiser) -> dict[Quantiser, float]:
        """Return the best units of a tensor, and how much smaller its effect is with them; none if it is not."""
        cost = self.bench.sensitivity.cost
        gains = {units: cost(one) - cost(units) for units in self._candidates(one.tensor) if units is not one}
        best = max(gains, key=lambda units: gains[units], default=None)
        return {} if best is None or gains[best] <= (1 - _FALLS) * cost(one) else {best: gains[best]}


def _halves(ranked: Sequence[Quantiser]) -> Iterator[Sequence[Quantiser]]:
    """Yield the first half of *ranked*, the next quarter, … and the last one."""
    while ranked:
        half = -(-len(ranked) // 2)
        yield ranked[:half]
        ranked = ranked[half:]


def _rewrite(one: TensorDiagnosis, old: Quantiser, units: Quantiser, before: float, after: float) -> Rewrite:
    return Rewrite(
        one.tensor,
        one.name,
        one.kind,
        _why(old, units) if one.cause is None else one.cause.words,
        units.scale.reshape(-1).tolist(),
        units.zero.reshape(-1).tolist(),
        before,
        after,
    )


def _why(old: Quantiser, new: Quantiser) -> str:
    """Return why a tensor without a named cause has new units."""
    if old.scale.size > 1 or new.scale.size > 1:
        return "other scales change the outputs less"
    ranges = ["{:.3g} to {:.3g}".format(*(float(end) for end in units.range)) for units in (old, new)]
    if ranges[0] == ranges[1]:
        return "a slightly different scale changes the outputs less"
    return f"its range {ranges[0]} changes the outputs more than {ranges[1]}"
