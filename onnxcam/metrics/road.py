"""ROAD: remove pixels by imputation, so that the shape of the removed region does not leak into the image."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import product
from typing import TypeAlias

import numpy as np

from onnxcam.metrics.base import Array, Case, Curve, metric, order

__all__ = [
    "Answers",
    "neighbours",
    "noisy_linear_imputation",
    "road_lerf",
    "road_morf",
]

Answers: TypeAlias = Callable[[Iterable[Array]], tuple[Array, Array]]
"""Function from perturbed images to the probability of the class, and whether it is the top class."""

_EXACT = 2  # axes up to which the system is solved by elimination, which fills the memory of a volume
_NEAR = 1e-5  # residual of the solution of others, relative to the right-hand side


def neighbours(axes: int) -> dict[tuple[int, ...], float]:
    """Return the weights of the neighbours of a pixel, by offset: 1/6 along an axis, 1/12 across two of them.

    Those are the weights of the paper, which has two axes; across three axes the weight is 1/18.
    """
    offsets = (offset for offset in product((-1, 0, 1), repeat=axes) if any(offset))
    return {offset: 1 / (6 * sum(map(abs, offset))) for offset in offsets}


def _answers(case: Case) -> tuple[Array, Array, Array, Answers]:
    return case.x, case.heat, case.unit, case.network.answers


@metric("road-morf", higher=False, takes=_answers)
def road_morf(
    x: Array, heat: Array, unit: Array, answers: Answers, *, steps: int = 9, noise: float = 0.01, seed: int = 0
) -> Curve:
    """Mean of p as 10 to 90 % of the pixels are imputed, most relevant first.

    Rong et al., A Consistent and Efficient Evaluation Strategy for Attribution Methods, 2202.00449: the removed pixels
    are imputed by `noisy_linear_imputation`. The value is the mean probability, which the authors' code reports too and
    which is more precise on few images than the accuracy in the paper. The curve has both.

    Args:
        x: Input tensor [C, h, w].
        heat: Map [h, w]; only the order of its pixels counts.
        unit: Difference of white and black in the tensor, [C, 1, 1].
        answers: Function from perturbed copies of *x* to the probability of the class and whether it is the top class.
        steps: Number of fractions, spaced evenly between none and all pixels.
        noise: Standard deviation of the noise, in *unit*.
        seed: Random seed for the order of equal pixels and for the noise.

    Example:
        >>> road_morf(x, heat, np.ones((3, 1, 1)), lambda samples: model(samples)).value
    """
    return _removed(x, order(heat, seed), noise * unit, answers, steps, seed)


@metric("road-lerf", higher=True, takes=_answers)
def road_lerf(
    x: Array, heat: Array, unit: Array, answers: Answers, *, steps: int = 9, noise: float = 0.01, seed: int = 0
) -> Curve:
    """Mean of p as 10 to 90 % of the pixels are imputed, least relevant first.

    Rong et al., A Consistent and Efficient Evaluation Strategy for Attribution Methods, 2202.00449. Arguments as for
    `road_morf`.

    Example:
        >>> road_lerf(x, heat, np.ones((3, 1, 1)), lambda samples: model(samples)).value
    """
    return _removed(x, order(heat, seed)[::-1], noise * unit, answers, steps, seed)


def _removed(x: Array, places: Array, noise: Array, answers: Answers, steps: int, seed: int) -> Curve:
    shares = np.arange(1, steps + 1) / (steps + 1)
    rng = np.random.default_rng(seed)

    def versions() -> Iterator[Array]:
        for share in shares:
            missing = np.zeros(places.size, bool)
            missing[places[: int(share * places.size)]] = True
            yield noisy_linear_imputation(x, missing.reshape(x.shape[1:]), noise, rng)

    probability, accuracy = answers(versions())
    known = accuracy if np.isfinite(accuracy).all() else None
    return Curve(shares, float(probability.mean()), probability, known)


def noisy_linear_imputation(x: Array, missing: Array, noise: Array, rng: np.random.Generator) -> Array:
    """Replace each missing pixel by the weighted mean of its neighbours (also missing ones), plus noise.

    x_i = Σ_n w_n x_n / Σ_n w_n + ε, with w = 1/6 for horizontal and vertical and 1/12 for diagonal neighbours: a sparse
    linear system (2202.00449, noisy linear imputation). Other numbers of axes: `neighbours`.

    Args:
        x: Tensor [C, h, w].
        missing: Mask of missing pixels, bool [h, w]; not all.
        noise: Standard deviation of ε, [C, 1, 1].
        rng: Random generator for the noise.

    Example:
        >>> noisy_linear_imputation(x, heat > 0.5, np.full((3, 1, 1), 0.01), np.random.default_rng(0))
    """
    matrix, right = _system(x.astype(np.float64), missing)
    if not len(right):
        return x
    imputed = _solved(matrix, right, missing.ndim).T
    filled = x.astype(np.float32)
    filled[:, missing] = imputed + noise.reshape(-1, 1) * rng.standard_normal(imputed.shape)
    return filled


def _solved(matrix: tuple[Array, tuple[Array, Array]], right: Array, axes: int) -> Array:
    """Return the solution, [M, C], of a system that is symmetric and diagonally dominant."""
    from scipy.sparse import csc_matrix, diags
    from scipy.sparse.linalg import cg, splu

    sparse = csc_matrix(matrix)
    if axes <= _EXACT:  # no pivoting is needed
        options = {"SymmetricMode": True}
        return np.asarray(splu(sparse, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0, options=options).solve(right))
    scale = diags(1 / sparse.diagonal())
    return np.stack([cg(sparse, column, rtol=_NEAR, M=scale)[0] for column in right.T], axis=1)


def _system(x: Array, missing: Array) -> tuple[tuple[Array, tuple[Array, Array]], Array]:
    """Return the linear system of the M missing pixels: (values, (rows, columns)) and the right-hand side [M, C]."""
    places = np.argwhere(missing)
    number = np.full(missing.shape, -1)
    number[missing] = np.arange(len(places))
    right, total = np.zeros((len(places), len(x))), np.zeros(len(places))
    links = []
    for offset, weight in neighbours(missing.ndim).items():
        beside = places + offset
        here = np.flatnonzero(((beside >= 0) & (beside < missing.shape)).all(axis=1))
        there = tuple(beside[here].T)
        total[here] += weight
        at = number[there]
        known = at < 0
        right[here[known]] += weight * x[(slice(None), *(one[known] for one in there))].T
        links.append((np.full((~known).sum(), -weight), here[~known], at[~known]))
    diagonal = np.arange(len(places))
    values, i, j = (np.concatenate(parts) for parts in zip(*links, (total, diagonal, diagonal), strict=True))
    return (values, (i, j)), right
