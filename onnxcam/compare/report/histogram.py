"""Histogram of values as bars of an SVG drawing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["BINS", "HEIGHT", "WIDTH", "Bar", "Histogram", "histogram"]

WIDTH, HEIGHT = 240, 64
"""Size of the drawing in SVG units."""
BINS = 24
"""Approximate maximum number of bars; with few images, twice the square root of their number."""


@dataclass(frozen=True)
class Bar:
    """Number of values in [low, high), and the rectangle drawn for it."""

    x: float
    y: float
    width: float
    height: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Histogram:
    """Bars from *low* to *high*; *bounds* and *mean* are the x positions of thresholds and of the mean."""

    low: float
    high: float
    bars: tuple[Bar, ...]
    mean: float
    bounds: tuple[float, ...]


def histogram(
    values: NDArray[np.float64], bounds: Sequence[float] = (), *, yes_or_no: bool = False
) -> Histogram | None:
    """Return the histogram of the finite *values*, with edges at round numbers; None if there are none.

    It spans the thresholds *bounds* too. A *yes_or_no* metric has two bars.
    """
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    inside = [float(values.min()), float(values.max()), *bounds]
    edges = (
        np.array([0, 0.5, 1])
        if yes_or_no
        else _edges(min(inside), max(inside), min(BINS, 2 * math.isqrt(len(values)) + 2))
    )
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
    low, high = float(edges[0]), float(edges[-1])

    def at(value: float) -> float:
        return WIDTH * (value - low) / (high - low)

    width, tall = WIDTH / len(counts), HEIGHT / counts.max()
    bars = tuple(
        Bar(i * width, HEIGHT - count * tall, width, count * tall, float(edges[i]), float(edges[i + 1]), int(count))
        for i, count in enumerate(counts)
        if count
    )
    return Histogram(low, high, bars, at(float(values.mean())), tuple(map(at, bounds)))


def _edges(low: float, high: float, bins: int) -> NDArray[np.float64]:
    least = 1e-12 * max(abs(low), abs(high))  # closer edges would be the same float
    step = _round_step(max(high - low, least) if high > low else 0, bins)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return np.arange(first, max(last, first + 1) + 1, dtype=np.float64) * step


def _round_step(span: float, bins: int) -> float:
    """Return the smallest step of 1, 2 or 5 times a power of ten that covers *span* with at most *bins* steps."""
    if span <= 0:
        return 0.1
    power: float = 10.0 ** math.floor(math.log10(span / bins))
    return next(power * each for each in (1, 2, 5, 10) if power * each * bins >= span)
