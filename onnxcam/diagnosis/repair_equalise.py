"""Equalise the channels of layers in a quantised file, if this reduces the measured change of the outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from onnxcam.diagnosis.diagnosis import Diagnosis
from onnxcam.diagnosis.repair_tuning import BETTER, Tuning
from onnxcam.diagnosis.rewrite_equalise import LayerPair, equalise, find_pairs
from onnxcam.graph.quantisers import Quantiser

__all__ = ["Equalised", "equalised"]

_CAUSES = frozenset(("per-tensor", "outlier-channels", "dead-channels", "coarse"))
"""Causes that equalised channels may remove."""
_TRIED = 6
"""Number of sets of pairs that are tried."""


@dataclass(frozen=True)
class Equalised:
    """A file with equalised channels.

    Attributes:
        tuning: The file, to tune it further.
        units: New units of its tensors.
        activations: The activations between the equalised layers.
    """

    tuning: Tuning
    units: Mapping[str, Quantiser]
    activations: Sequence[str]


def equalised(tuning: Tuning, units: Mapping[str, Quantiser], diagnosis: Diagnosis) -> Equalised | None:
    """Return the file of *tuning* with equalised channels and *units*; None if the damage does not fall.

    The pairs of layers are those with a tensor whose cause equalised channels may remove: all of them, then each alone.
    """
    named = {one.tensor for one in diagnosis.tensors if one.cause is not None and one.cause.id in _CAUSES}
    found = [(one, set(_tensors([one]))) for one in find_pairs(tuning.subject.mixture)]
    pairs = [one for one, tensors in found if tensors & named and tensors <= set(tuning.free)]
    groups = [pairs, *([one] for one in pairs if len(pairs) > 1)][:_TRIED]
    tries = [_tried(tuning, units, group) for group in groups if group]
    best = min(tries, key=lambda one: one.tuning.bench.damage(one.units), default=None)
    if best is None or best.tuning.bench.damage(best.units) >= BETTER * tuning.bench.damage(units):
        return None
    return best


def _tried(tuning: Tuning, units: Mapping[str, Quantiser], pairs: Sequence[LayerPair]) -> Equalised:
    """Return the file with the channels of *pairs* equalised; the other tensors keep their *units*."""
    subject = tuning.subject
    made = equalise(tuning.source, subject.mixture, pairs, subject.probe.statistics)
    own = replace(subject, pairing=replace(subject.pairing, mixture=made.mixture))
    kept = {name: one for name, one in units.items() if name not in _tensors(pairs) and one.kind != "bias"}
    return Equalised(Tuning(own, made.model, tuning.free), kept, made.activations)


def _tensors(pairs: Sequence[LayerPair]) -> list[str]:
    """Return the tensors that change."""
    return [tensor for one in pairs for tensor in (one.activation, one.first, one.second)]
