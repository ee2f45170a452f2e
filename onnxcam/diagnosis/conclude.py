"""From effects and statistics of all images to one diagnosis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam.diagnosis.causes import find_cause
from onnxcam.diagnosis.damage import OBJECTIVES, Damage
from onnxcam.diagnosis.diagnosis import Diagnosis, Effect, TensorDiagnosis
from onnxcam.diagnosis.pairing import Pairing
from onnxcam.diagnosis.statistics import TensorStatistics
from onnxcam.graph.io import all_tensors

__all__ = ["conclude"]

_Floats = NDArray[np.float64]


def conclude(
    pairing: Pairing,
    statistics: Sequence[TensorStatistics],
    damages: Sequence[Damage],
    images: Sequence[str],
    warnings: Sequence[str] = (),
) -> Diagnosis:
    """Return the diagnosis.

    Args:
        pairing: The tensors of both models.
        statistics: Statistics of each quantised tensor, in the order of the quantisers.
        damages: The damage for each thing that was explained.
        images: The image of each.
        warnings: What the user should know.
    """
    tables = [
        _EffectTable.of(name, damages, images) for name in OBJECTIVES if any(name in one.effects for one in damages)
    ]
    shares = np.mean([table.shares for table in tables], axis=0)
    accumulated = np.abs([one.accumulated for one in damages]).mean(0)
    found = [
        _tensor(
            pairing,
            place,
            one,
            {table.name: table.effect(place) for table in tables},
            shares[place],
            accumulated[place],
        )
        for place, one in enumerate(statistics)
    ]
    return Diagnosis(
        sorted(found, key=lambda one: -one.share),
        {table.name: table.change for table in tables},
        list(dict.fromkeys(images)),
        list(pairing.unmatched),
        list(warnings),
        list(pairing.moved),
    )


@dataclass(frozen=True)
class _EffectTable:
    """The effects on one objective: of each quantiser in each row, [rows, S]."""

    name: str
    rows: _Floats
    images: Sequence[str]
    change: float

    @classmethod
    def of(cls, name: str, damages: Sequence[Damage], images: Sequence[str]) -> _EffectTable:
        pairs = [(one, image) for one, image in zip(damages, images, strict=True) if name in one.effects]
        change = float(np.mean([abs(one.change[name]) for one, _ in pairs]))
        return cls(name, np.array([one.effects[name] for one, _ in pairs]), [image for _, image in pairs], change)

    @property
    def shares(self) -> _Floats:
        """Return the mean magnitude of each quantiser's effect, as a share of that of all, [S]."""
        sizes: _Floats = np.abs(self.rows).mean(0)
        total = float(sizes.sum())
        return sizes / total if total else sizes

    def effect(self, place: int) -> Effect:
        """Return the effect of one quantiser."""
        values = self.rows[:, place]
        sizes = np.abs(values)
        return Effect(float(sizes.mean()), float(values.mean()), float(values.std()), self.images[int(sizes.argmax())])


def _tensor(
    pairing: Pairing,
    place: int,
    found: TensorStatistics,
    effects: dict[str, Effect],
    share: float,
    accumulated: float,
) -> TensorDiagnosis:
    quantiser, mixture = found.quantiser, pairing.mixture
    site = mixture.sites.get(quantiser.tensor)
    value = None if site is None else all_tensors(mixture.real.graph)[site.real]
    maker = None if value is None else value.producer()
    return TensorDiagnosis(
        tensor=quantiser.tensor,
        name=pairing.names.get(quantiser.tensor, quantiser.real),
        kind=quantiser.kind,
        place=place,
        node="" if maker is None else maker.op_type,
        shape=tuple(mixture.weights[quantiser.tensor].shape) if value is None else _shape(value),
        effects=effects,
        share=float(share),
        accumulated=None if np.isnan(accumulated) else float(accumulated),
        sqnr=None if np.isinf(found.sqnr) else found.sqnr,
        clipped=found.clipped,
        cause=find_cause(found),
    )


def _shape(value: ir.Value) -> tuple[int | str, ...]:
    return tuple(n if isinstance(n, int) else str(n) for n in value.shape or ())
