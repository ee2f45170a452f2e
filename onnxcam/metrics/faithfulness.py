"""Faithfulness: does the model use the highlighted pixels? Insert, remove or keep them and measure the class."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from onnxcam.metrics.base import Array, Ask, Case, Curve, metric, order

__all__ = [
    "BLUR_SIGMA",
    "BLUR_SIZE",
    "average_drop",
    "average_gain",
    "average_increase",
    "blurred",
    "deletion",
    "insertion",
]

BLUR_SIZE, BLUR_SIGMA = 11, 5.0
"""Kernel size and σ of the blur in RISE's code, in pixels of the tensor."""


def _ask(case: Case) -> tuple[Array, Array, Ask]:
    return case.x, case.heat, case.network.probabilities


def _alone(case: Case) -> tuple[float, float]:
    return case.probability, case.explained


@metric("insertion", higher=True, takes=_ask)
def insertion(x: Array, heat: Array, ask: Ask, *, steps: int = 224, seed: int = 0) -> Curve:
    """Area under the curve p(share) as pixels are inserted into the blurred image, most important first.

    Petsiuk et al., RISE: Randomized Input Sampling for Explanation of Black-box Models, 1806.07421, algorithm 1. The
    start is blurred as in the authors' code, with a Gaussian of σ = 5 and 11 × 11 pixels.

    Args:
        x: Input tensor [C, h, w].
        heat: Map [h, w]; only the order of its pixels counts.
        ask: Function from perturbed copies of *x* to the probability of the class.
        steps: Number of steps; the paper has 224 steps of 224 pixels for images of 224 × 224.
        seed: Random seed for the order of equal pixels.

    Example:
        >>> insertion(x, heat, lambda samples: np.array([sample.mean() for sample in samples])).value
    """
    return _exchange(blurred(x), x, heat, ask, steps, seed)


@metric("deletion", higher=False, takes=_ask)
def deletion(x: Array, heat: Array, ask: Ask, *, steps: int = 224, seed: int = 0) -> Curve:
    """Area under the curve p(share) as pixels are set to 0 in the tensor, most important first.

    Petsiuk et al., RISE: Randomized Input Sampling for Explanation of Black-box Models, 1806.07421, algorithm 1.
    Arguments as for `insertion`.

    Example:
        >>> deletion(x, heat, lambda samples: np.array([sample.mean() for sample in samples])).value
    """
    return _exchange(x, np.zeros_like(x), heat, ask, steps, seed)


def _exchange(start: Array, end: Array, heat: Array, ask: Ask, steps: int, seed: int) -> Curve:
    """Return the curve of the class as pixels of *start* are replaced by those of *end*, in equal steps."""
    places, total = order(heat, seed), heat.size
    counts = np.rint(np.linspace(0, total, min(steps, total) + 1)).astype(int)

    def versions() -> Iterator[Array]:
        for count in counts:
            version = start.reshape(len(start), -1).copy()
            version[:, places[:count]] = end.reshape(len(end), -1)[:, places[:count]]
            yield version.reshape(start.shape)

    share, probability = counts / total, ask(versions())
    area = float((np.diff(share) * (probability[1:] + probability[:-1]) / 2).sum())
    return Curve(share, area, probability)


def blurred(x: Array) -> Array:
    """Return *x* [C, h, w] blurred as in RISE's code, with zero padding; other numbers of axes alike."""
    from scipy.ndimage import correlate1d, gaussian_filter1d

    kernel = gaussian_filter1d(np.eye(BLUR_SIZE)[BLUR_SIZE // 2], BLUR_SIGMA)
    for axis in range(1, x.ndim):
        x = correlate1d(x.astype(np.float32), kernel, axis, mode="constant")
    return x


@metric("average-drop", higher=False, takes=_alone)
def average_drop(p: float, o: float) -> float:
    """max(0, p − o) / p; p and o are the probabilities of the class for the image and for image × map in [0, 1].

    Chattopadhay et al., Grad-CAM++, 1710.11063, section 5.1. Where the map is 0, the tensor is 0. The result is 0 if
    p is 0.

    Example:
        >>> average_drop(0.5, 0.25)
        0.5
    """
    return max(0.0, p - o) / p if p > 0 else 0.0


@metric("average-increase", higher=True, takes=_alone)
def average_increase(p: float, o: float) -> float:
    """1 if o > p, else 0: whether the highlighted region alone scores higher than the image.

    Chattopadhay et al., Grad-CAM++, 1710.11063, section 5.1; p and o as in `average_drop`.

    Example:
        >>> average_increase(0.8, 0.9)
        1.0
    """
    return float(o > p)


@metric("average-gain", higher=True, takes=_alone)
def average_gain(p: float, o: float) -> float:
    """max(0, o − p) / (1 − p): gain of the highlighted region alone, relative to the possible gain.

    Zhang et al., Opti-CAM: Optimizing saliency maps for interpretability, 2301.07002; p and o as in
    `average_drop`. The result is 0 if p is 1.

    Example:
        >>> average_gain(0.5, 0.75)
        0.5
    """
    return max(0.0, o - p) / (1 - p) if p < 1 else 0.0
