"""Mean over cases with a bootstrap confidence interval."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from onnxcam.metrics.base import Array

__all__ = ["CHUNK", "CONFIDENCE", "RESAMPLES", "Interval", "bootstrap_interval"]

RESAMPLES = 2000
CONFIDENCE = 0.95
CHUNK = 2**18  # random draws in memory at a time


@dataclass(frozen=True)
class Interval:
    """Mean over cases and its 95 % bootstrap interval; *low* and *high* are None with a single image."""

    mean: Array
    low: Array | None
    high: Array | None


@np.errstate(invalid="ignore")  # a value may be infinite
def bootstrap_interval(values: Array, pictures: Sequence[Hashable], seed: int = 0) -> Interval:
    """Return the mean of *values* [cases, …] with its percentile bootstrap interval (Efron 1979), 2,000 resamples.

    *pictures* [cases] names the image of each case. Images are resampled, each with all its cases, because the classes
    of one image are not independent.

    Example:
        >>> float(bootstrap_interval(np.array([0.0, 1.0, 0.5, 0.5]), ["a.png", "a.png", "b.png", "c.png"]).mean)
        0.5
    """
    values = np.asarray(values, np.float64)
    numbers: dict[Hashable, int] = {}
    member = np.array([numbers.setdefault(picture, len(numbers)) for picture in pictures])
    if len(numbers) < 2:
        return Interval(values.mean(0), None, None)
    flat = values.reshape(len(values), -1)
    sums = np.stack([np.bincount(member, column) for column in flat.T], axis=1)
    means = _resampled(sums, np.bincount(member), np.random.default_rng(seed))
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(means, [tail, 100 - tail], axis=0).reshape(2, *values.shape[1:])
    return Interval(values.mean(0), low, high)


def _resampled(sums: Array, counts: Array, rng: np.random.Generator) -> Array:
    """Return the means [resamples, …] of resampled images, given the sum [images, …] and count of cases per image.

    Works in chunks of a few megabytes.
    """
    pictures, means = len(counts), []
    step = max(1, CHUNK // pictures)
    for start in range(0, RESAMPLES, step):
        draws = rng.integers(0, pictures, (min(step, RESAMPLES - start), pictures))
        weights = np.stack([np.bincount(draw, minlength=pictures) for draw in draws]).astype(np.float64)
        means.append((weights @ sums) / (weights @ counts)[:, None])
    return np.concatenate(means)
