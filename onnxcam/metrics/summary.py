"""Many cases -> one number: the mean, and how sure it is."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from onnxcam.metrics.base import Array

RESAMPLES = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean over cases, and its 95 % bootstrap interval: None where there is only one picture to draw from."""

    mean: Array
    low: Array | None
    high: Array | None


def interval(values: Array, pictures: Sequence[Hashable], seed: int = 0) -> Interval:
    """Return the mean of *values* [cases, …] with its percentile bootstrap interval (Efron 1979), 2,000 resamples.

    What is drawn anew are the *pictures* [cases], with all cases of each: the classes of one picture hang together.

    Example:
        >>> float(interval(np.array([0.0, 1.0, 0.5, 0.5]), ["a.png", "a.png", "b.png", "c.png"]).mean)
        0.5
    """
    values = np.asarray(values, np.float64)
    names = list(dict.fromkeys(pictures))
    member = np.array([[picture == name for picture in pictures] for name in names], np.float64)
    if len(names) < 2:
        return Interval(values.mean(0), None, None)
    draws = np.random.default_rng(seed).integers(0, len(names), (RESAMPLES, len(names)))
    weights = np.stack([np.bincount(draw, minlength=len(names)) for draw in draws]) @ member
    flat = values.reshape(len(values), -1)
    means = (weights @ flat) / weights.sum(1, keepdims=True)
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(means, [tail, 100 - tail], axis=0).reshape(2, *values.shape[1:])
    return Interval(values.mean(0), low, high)
