"""Robustness: does the map change under small perturbations, and does it predict changes of the score?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from onnxcam.metrics.base import Array, Ask, Case, metric

__all__ = ["infidelity", "max_sensitivity", "relative_error"]


def _remade(case: Case) -> tuple[Array, Array, Array, Callable[[Iterable[Array]], Array]]:
    return case.x, case.raw, case.unit, case.remade


def _scores(case: Case) -> tuple[Array, Array, Ask, bool]:
    return case.x, case.attribution, case.network.scores, case.sensitivity


@metric("max-sensitivity", higher=False, takes=_remade)
def max_sensitivity(
    x: Array,
    raw: Array,
    unit: Array,
    remade: Callable[[Iterable[Array]], Array],
    *,
    radius: float = 0.02,
    samples: int = 10,
    seed: int = 0,
) -> float:
    """max_y ‖Φ(y) − Φ(x)‖ / ‖Φ(x)‖ for y within *radius* of x: largest relative change of the map.

    Yeh et al., On the (In)fidelity and Sensitivity of Explanations, 1901.09392, section 3, by Monte Carlo. The norm
    is Euclidean, and relative, so that maps with different units are comparable; y is uniform in the cube around x. For
    a map of zeros the denominator is 1.

    Args:
        x: Input tensor [C, h, w].
        raw: Its map Φ(x), of any shape.
        unit: Difference of white and black in the tensor, [C, 1, 1].
        remade: Function from perturbed copies of *x* to their maps.
        radius: Half of the side of the cube, in *unit*.
        samples: Number of samples y.
        seed: Random seed.

    Example:
        >>> max_sensitivity(x, explainer.attribute(x[None])[0], np.ones((3, 1, 1)), lambda ys: attribute(ys))
    """
    rng = np.random.default_rng(seed)
    near = ((x + radius * unit * rng.uniform(-1, 1, x.shape)).astype(np.float32) for _ in range(samples))
    changes = np.linalg.norm((remade(near) - raw).reshape(samples, -1), axis=1)
    return float(changes.max() / (np.linalg.norm(raw) or 1))


@metric("infidelity", higher=False, takes=_scores)
def infidelity(
    x: Array, attribution: Array, ask: Ask, sensitivity: bool = True, *, samples: int = 200, seed: int = 0
) -> float:
    """min_β E_I[(β IᵀΦ − (y(x) − y(x − I)))²] / E_I[(y(x) − y(x − I))²] for random squares I.

    Yeh et al., On the (In)fidelity and Sensitivity of Explanations, 1901.09392, section 2, with their square removal:
    x − I is the image with a square set to 0. CAM maps have no unit, so the map is used at its best scale β, and the
    error is relative to the variation of the score: a map of zeros has 1.

    Args:
        x: Input tensor [C, h, w].
        attribution: Signed map Φ, [C, h, w] or [1, h, w].
        ask: Function from perturbed copies of *x* to the score y of the class.
        sensitivity: Whether Φ is a gradient, which is multiplied by I = x; otherwise Φ is an attribution per pixel, and
            IᵀΦ is its sum over the square.
        samples: Number of squares.
        seed: Random seed.

    Example:
        >>> infidelity(x, gradient, lambda samples: scores(samples), samples=1000)
    """
    squares = list(_squares(x.shape[1:], samples, np.random.default_rng(seed)))
    shares = (attribution * x if sensitivity else attribution).sum(0, dtype=np.float64)
    predicted = np.array([shares[square].sum() for square in squares])
    asked = ask(_versions(x, squares))
    drops = asked[0] - asked[1:]
    return relative_error(predicted, drops)


def relative_error(predicted: Array, found: Array) -> float:
    """Return min_β Σ (β predicted − found)² / Σ found²; 0 if *found* is zero.

    Example:
        >>> relative_error(np.array([1.0, 0.0]), np.array([3.0, 4.0]))
        0.64
    """
    power, total = (predicted**2).sum(), (found**2).sum()
    scale = (predicted * found).sum() / power if power > 0 else 0.0
    return float(((scale * predicted - found) ** 2).sum() / total) if total > 0 else 0.0


def _squares(size: tuple[int, ...], samples: int, rng: np.random.Generator) -> Iterator[tuple[slice, ...]]:
    """Yield random squares; in volumes cubes, along time intervals."""
    for _ in range(samples):
        side = int(rng.integers(1, min(size), endpoint=True))
        starts = [int(rng.integers(0, length - side, endpoint=True)) for length in size]
        yield tuple(slice(start, start + side) for start in starts)


def _versions(x: Array, squares: Iterable[tuple[slice, ...]]) -> Iterator[Array]:
    yield x
    for square in squares:
        version = x.copy()
        version[:, *square] = 0
        yield version
