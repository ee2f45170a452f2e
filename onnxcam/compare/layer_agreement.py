"""Results of `--layers`: agreement of two models at each layer, and the first layer where they disagree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["DISAGREEMENT", "LayerAgreement", "first_disagreeing", "sentence"]

DISAGREEMENT = 0.5
"""Two maps disagree if the IoU of their top fifth is below this value, as in the default requirements."""


@dataclass(frozen=True)
class LayerAgreement:
    """Agreement at one common layer: names in both models, size, and means over the images; None if undefined."""

    reference: str
    candidate: str
    size: str
    activations: float | None  # cosine similarity
    pearson: float | None
    iou: float | None

    @property
    def disagrees(self) -> bool:
        """Whether the maps disagree at this layer."""
        return self.iou is not None and self.iou < DISAGREEMENT


def first_disagreeing(levels: Sequence[LayerAgreement]) -> LayerAgreement | None:
    """Return the first layer of the final run of layers that disagree; None if the last layer agrees.

    A disagreement that later layers correct does not count.
    """
    found = None
    for level in reversed(levels):
        if not level.disagrees:
            break
        found = level
    return found


def sentence(levels: Sequence[LayerAgreement]) -> str:
    """Return a sentence that names the first disagreeing layer."""
    first, last = first_disagreeing(levels), levels[-1]
    if first is None:
        agreement = "no map to compare" if last.iou is None else f"IoU {last.iou:.2f}"
        return f"they look at the same place up to the last layer, {last.reference} ({agreement})"
    at = levels.index(first)
    before = "the first layer" if at == 0 else f"after {levels[at - 1].reference}"
    return f"they begin to look elsewhere at {first.reference} (IoU {first.iou:.2f}), {before}"
