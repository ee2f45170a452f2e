"""Better units and corrected biases for a quantised file, as far as they reduce the change of its outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam.diagnosis.diagnose import Subject
from onnxcam.diagnosis.diagnosis import Diagnosis, TensorDiagnosis
from onnxcam.diagnosis.repair_result import Rewrite
from onnxcam.diagnosis.repair_units import Bench, activation_units, weight_units
from onnxcam.diagnosis.rewrite import is_joined
from onnxcam.diagnosis.rewrite_units import channel_axis
from onnxcam.graph.quantisers import Quantiser

__all__ = ["Tuning"]

_UNITS = frozenset(("clipped", "zero-point", "coarse", "dead-channels", "outlier-channels", "per-tensor", "scale"))
"""Causes that other scales or zero points may remove."""
_TUNED = 32
"""Number of tensors whose units are tried, the worst first."""
_BETTER = 0.99
"""A change is kept if the damage falls at least to this share."""


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
        named = [one for one in diagnosis.tensors if one.cause is not None and one.cause.id in _UNITS]
        named = [one for one in named if one.tensor in self.free][:_TUNED]
        tried = {tensor: units for tensor, units in self._candidates(named).items() if units} if named else {}
        if not tried:
            return {}
        chosen = {tensor: units[0] for tensor, units in tried.items()}
        damage, before = self.bench.damage(chosen), self.bench.damage({})
        if not damage < before:
            chosen, damage = {}, before
        for tensor in (one.tensor for one in named if one.tensor in tried):
            others = {other: units for other, units in chosen.items() if other != tensor}
            without = self.bench.damage(others) if tensor in chosen else damage
            damages = [self.bench.damage({**others, tensor: units}) for units in tried[tensor]]
            damage, chosen = without, others
            if min(damages) < _BETTER * without:
                damage = min(damages)
                chosen = {**others, tensor: tried[tensor][damages.index(damage)]}
        return {one.tensor: chosen[one.tensor] for one in named if one.tensor in chosen}

    def shifts(self, units: Mapping[str, Quantiser]) -> dict[str, NDArray[Any]]:
        """Return what to add to the biases with the *units*, so that no layer is wrong on average; none if no help."""
        found = {tensor: shift for tensor, shift in self.bench.corrections(units).items() if tensor in self.free}
        return found if self.bench.damage(units, found) < _BETTER * self.bench.damage(units) else {}

    def rewritten(self, units: Mapping[str, Quantiser], diagnosis: Diagnosis) -> list[Rewrite]:
        """Return the *units* with their causes, and the damage without and with them."""
        named = {one.tensor: one for one in diagnosis.tensors}
        after = self.bench.damage(units) if units else 0.0
        return [
            _rewrite(
                named[tensor],
                one,
                self.bench.damage({other: each for other, each in units.items() if other != tensor}),
                after,
            )
            for tensor, one in units.items()
        ]

    def _candidates(self, named: Sequence[TensorDiagnosis]) -> dict[str, list[Quantiser]]:
        """Return the units to try for each tensor."""
        mixture = self.subject.mixture
        free = [one for one in named if self.bench.takes(one.tensor)]
        moving = [one.tensor for one in free if one.kind == "activation" and not is_joined(self.source, one.tensor)]
        values = self.bench.values(moving)
        found: dict[str, list[Quantiser]] = {}
        for quantiser in mixture.quantisers:
            tensor = quantiser.tensor
            if tensor in values:
                found[tensor] = list(activation_units(quantiser, values[tensor]))
            elif quantiser.kind == "bias" and any(one.tensor == tensor for one in free):
                found[tensor] = [quantiser]  # its scale follows from input and weights: the integers are made again
            elif quantiser.kind == "weight" and any(one.tensor == tensor for one in free):
                axes = dict.fromkeys((channel_axis(self.source, tensor), None))
                units = [weight_units(quantiser, mixture.originals[tensor], axis) for axis in axes]
                found[tensor] = [one for one in units if one is not None]
        return found


def _rewrite(one: TensorDiagnosis, units: Quantiser, before: float, after: float) -> Rewrite:
    assert one.cause is not None
    return Rewrite(
        one.tensor,
        one.name,
        one.kind,
        one.cause.words,
        units.scale.reshape(-1).tolist(),
        units.zero.reshape(-1).tolist(),
        before,
        after,
    )
