"""Does the network use what the map shows? Pixels come or go in the map's order, or only what it shows is left."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from onnxcam.metrics.base import Array, Ask, Case, Curve, metric, order

BLUR_SIZE, BLUR_SIGMA = 11, 5.0
"""The blur of RISE's authors, in pixels of the tensor."""


def _ask(case: Case) -> tuple[Array, Array, Ask]:
    return case.x, case.heat, case.network.probabilities


def _alone(case: Case) -> tuple[float, float]:
    return case.probability, case.explained


@metric("insertion", higher=True, takes=_ask)
def insertion(x: Array, heat: Array, ask: Ask, *, steps: int = 224, seed: int = 0) -> Curve:
    """The area under p(share) as pixels return to the blurred picture, the most important first.

    Petsiuk et al., RISE: Randomized Input Sampling for Explanation of Black-box Models, 1806.07421, algorithm 1. The
    start is blurred as the authors' code does, with a Gaussian of σ = 5 cut at 11 pixels.

    Args:
        x: The picture's tensor [C, h, w].
        heat: The map [h, w] whose order counts.
        ask: Gives the class's probability for versions of *x*.
        steps: How many: 224 of 224 pixels each in the paper, whose pictures are 224 × 224.
        seed: Decides among pixels that the map finds equal.

    Example:
        >>> insertion(x, heat, lambda samples: np.array([sample.mean() for sample in samples])).value
    """
    return _exchange(blurred(x), x, heat, ask, steps, seed)


@metric("deletion", higher=False, takes=_ask)
def deletion(x: Array, heat: Array, ask: Ask, *, steps: int = 224, seed: int = 0) -> Curve:
    """The area under p(share) as pixels become 0, in the tensor's own units, the most important first.

    Petsiuk et al., RISE: Randomized Input Sampling for Explanation of Black-box Models, 1806.07421, algorithm 1.
    Arguments as of `insertion`.

    Example:
        >>> deletion(x, heat, lambda samples: np.array([sample.mean() for sample in samples])).value
    """
    return _exchange(x, np.zeros_like(x), heat, ask, steps, seed)


def _exchange(start: Array, end: Array, heat: Array, ask: Ask, steps: int, seed: int) -> Curve:
    """Return what becomes of the class as the pixels of *start* are exchanged for those of *end*, in equal steps."""
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
    """Return *x* [C, h, w] blurred as RISE's authors do: beyond the edge is 0."""
    from scipy.ndimage import correlate1d, gaussian_filter1d

    kernel = gaussian_filter1d(np.eye(BLUR_SIZE)[BLUR_SIZE // 2], BLUR_SIGMA)
    for axis in (1, 2):
        x = correlate1d(x.astype(np.float32), kernel, axis, mode="constant")
    return x


@metric("average-drop", higher=False, takes=_alone)
def average_drop(p: float, o: float) -> float:
    """max(0, p − o) / p, p the class's probability for the picture, o for the picture times the map in [0, 1].

    Chattopadhay et al., Grad-CAM++, 1710.11063, section 5.1. Where the map is 0, the picture is 0 in the tensor's own
    units. A class of probability 0 can lose nothing.

    Example:
        >>> average_drop(0.5, 0.25)
        0.5
    """
    return max(0.0, p - o) / p if p > 0 else 0.0


@metric("average-increase", higher=True, takes=_alone)
def average_increase(p: float, o: float) -> float:
    """1 if o > p, else 0: how often the explanation alone convinces more than the picture.

    Chattopadhay et al., Grad-CAM++, 1710.11063, section 5.1; p and o as in `average_drop`.

    Example:
        >>> average_increase(0.8, 0.9)
        1.0
    """
    return float(o > p)


@metric("average-gain", higher=True, takes=_alone)
def average_gain(p: float, o: float) -> float:
    """max(0, o − p) / (1 − p): what the explanation alone adds, of what could be added.

    Zhang et al., Opti-CAM: Optimizing saliency maps for interpretability, 2301.07002; p and o as in
    `average_drop`. A class of probability 1 can gain nothing.

    Example:
        >>> average_gain(0.5, 0.75)
        0.5
    """
    return max(0.0, o - p) / (1 - p) if p < 1 else 0.0
