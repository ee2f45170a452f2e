"""Does the map hold still when the picture hardly moves, and does it foretell what the score does when it moves?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from onnxcam.metrics.base import Array, Ask, Case, metric


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
    """max_y ‖Φ(y) − Φ(x)‖ / ‖Φ(x)‖, y within *radius* of x: by how much the map can change.

    Yeh et al., On the (In)fidelity and Sensitivity of Explanations, 1901.09392, section 3, by Monte Carlo. The norms
    are Euclidean, and relative, so that maps of different units compare; y is uniform in the cube around x. A map
    that is zero everywhere has nothing to compare with: 0 if it stays so, else infinite; here the norm below is then 1.

    Args:
        x: The picture's tensor [C, h, w].
        raw: Its map Φ(x), of any shape.
        unit: What black and white differ by in the tensor, [C, 1, 1].
        remade: Gives the maps of versions of *x*.
        radius: Half of the cube's side, in *unit*.
        samples: How many y.
        seed: Makes the y.

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
    """min_β E_I[(β IᵀΦ − (y(x) − y(x − I)))²] / E_I[(y(x) − y(x − I))²], I a square of random size and place.

    Yeh et al., On the (In)fidelity and Sensitivity of Explanations, 1901.09392, section 2, after their square removal:
    x − I is the picture with a square set to 0. Maps such as CAM's have no unit, so each is taken at its
    best scale β, and the error as a share of what there is to explain: 1 is what a map of nothing has.

    Args:
        x: The picture's tensor [C, h, w].
        attribution: The map Φ, signed, [C, h, w] or [1, h, w].
        ask: Gives the class's score y for versions of *x*.
        sensitivity: Whether Φ is a gradient, which I = x multiplies; else it is a share of the score at each pixel, and
            IᵀΦ its sum over the square.
        samples: How many squares.
        seed: Places the squares.

    Example:
        >>> infidelity(x, gradient, lambda samples: scores(samples), samples=1000)
    """
    squares = list(_squares(x.shape[1:], samples, np.random.default_rng(seed)))
    shares = (attribution * x if sensitivity else attribution).sum(0, dtype=np.float64)
    foretold = np.array([shares[square].sum() for square in squares])
    asked = ask(_versions(x, squares))
    drops = asked[0] - asked[1:]
    return relative_error(foretold, drops)


def relative_error(foretold: Array, found: Array) -> float:
    """Return min_β Σ (β foretold − found)² / Σ found²; 0 where there is nothing to foretell.

    Example:
        >>> relative_error(np.array([1.0, 0.0]), np.array([3.0, 4.0]))
        0.64
    """
    power, total = (foretold**2).sum(), (found**2).sum()
    scale = (foretold * found).sum() / power if power > 0 else 0.0
    return float(((scale * foretold - found) ** 2).sum() / total) if total > 0 else 0.0


def _squares(size: tuple[int, ...], samples: int, rng: np.random.Generator) -> Iterator[tuple[slice, slice]]:
    for _ in range(samples):
        side = int(rng.integers(1, min(size), endpoint=True))
        top, left = (int(rng.integers(0, length - side, endpoint=True)) for length in size)
        yield slice(top, top + side), slice(left, left + side)


def _versions(x: Array, squares: Iterable[tuple[slice, slice]]) -> Iterator[Array]:
    yield x
    for square in squares:
        version = x.copy()
        version[:, *square] = 0
        yield version
