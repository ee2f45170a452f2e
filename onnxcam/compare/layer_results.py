"""What `--layers` found: how far two models agree at each layer, and where they begin to look elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

ELSEWHERE = 0.5
"""Below this IoU of the top fifth, as in the default thresholds, two maps are said to look elsewhere."""


@dataclass(frozen=True)
class Level:
    """One layer that both have: its two names, its size, and means over the pictures; None where there is none."""

    reference: str
    candidate: str
    size: str
    activations: float | None  # cosine
    pearson: float | None
    iou: float | None

    @property
    def elsewhere(self) -> bool:
        """Whether the two look at different places here."""
        return self.iou is not None and self.iou < ELSEWHERE


def begin(levels: Sequence[Level]) -> Level | None:
    """Return the layer from which on, up to the last, the two look elsewhere; None where at the last they do not.

    What differs on the way and is mended before the end does not count.
    """
    found = None
    for level in reversed(levels):
        if not level.elsewhere:
            break
        found = level
    return found


def told(levels: Sequence[Level]) -> str:
    """Return in a sentence where the two begin to look elsewhere."""
    first, last = begin(levels), levels[-1]
    if first is None:
        agreement = "no map to compare" if last.iou is None else f"IoU {last.iou:.2f}"
        return f"they look at the same place up to the last layer, {last.reference} ({agreement})"
    at = levels.index(first)
    before = "the first layer" if at == 0 else f"after {levels[at - 1].reference}"
    return f"they begin to look elsewhere at {first.reference} (IoU {first.iou:.2f}), {before}"
