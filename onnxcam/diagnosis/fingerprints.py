"""Fingerprints of tensors: moments that do not depend on the order of the elements.

Two tensors of two runs have the same fingerprint if they hold the same numbers, also in another layout (channels first
or last) or shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Fingerprint"]

_TOLERANCE = 1e-3
"""Moments of equal tensors differ by less than this share of the largest magnitude: runtimes add in another order."""

_NOISE = 1e-5  # the moments of one tensor differ by less between two places of a network that only move it


@dataclass(frozen=True)
class Fingerprint:
    """Number of elements, and moments: smallest and largest value, mean, root mean square, and mean cube's root."""

    size: int
    moments: tuple[float, ...]

    @classmethod
    def of(cls, x: NDArray[Any]) -> Fingerprint:
        """Return the fingerprint of a floating tensor."""
        values = x.astype(np.float64).ravel()
        if not values.size:
            return cls(0, (0.0,) * 5)
        cube = np.cbrt(np.mean(values**3))
        return cls(
            x.size, tuple(map(float, (values.min(), values.max(), values.mean(), np.sqrt(np.mean(values**2)), cube)))
        )

    def distance(self, other: Fingerprint) -> float:
        """Return the largest difference of the moments, as a share of the magnitude; infinite for other sizes."""
        if self.size != other.size:
            return float("inf")
        scale = max(map(abs, (*self.moments[:2], *other.moments[:2])), default=0.0)
        if not scale or not np.isfinite(scale):
            return 0.0 if self.moments == other.moments else float("inf")
        return max(abs(a - b) for a, b in zip(self.moments, other.moments, strict=True)) / scale

    def nearest(self, others: Sequence[Fingerprint]) -> list[int]:
        """Return the indices of the nearest of *others*, in order; none if none is the same."""
        distances = [self.distance(other) for other in others]
        best = min(distances, default=float("inf"))
        limit = best + _NOISE if best < _TOLERANCE else -1.0
        return [place for place, distance in enumerate(distances) if distance <= limit]
