"""ROAD: pixels are removed so that what is put in their place does not give away where they were."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

import numpy as np

from onnxcam.metrics.base import Array, Case, Curve, metric, order

Answers: TypeAlias = Callable[[Iterable[Array]], tuple[Array, Array]]
"""Versions of a picture to the class's probability, and whether the network puts the class first."""

NEIGHBOURS = {
    (dy, dx): 1 / 6 if dy == 0 or dx == 0 else 1 / 12 for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)
}
"""How much each of the eight pixels around one counts."""


def _answers(case: Case) -> tuple[Array, Array, Array, Answers]:
    return case.x, case.heat, case.unit, case.network.answers


@metric("road-morf", higher=False, takes=_answers)
def road_morf(
    x: Array, heat: Array, unit: Array, answers: Answers, *, steps: int = 9, noise: float = 0.01, seed: int = 0
) -> Curve:
    """The mean of p as 10 to 90 % of the pixels are imputed, the most relevant first.

    Rong et al., A Consistent and Efficient Evaluation Strategy for Attribution Methods, 2202.00449: the removed pixels
    are imputed by `noisy_linear_imputation`. The paper's curve is the accuracy, whether the class stays the first; its
    code gives the probability too, which tells more of few pictures and is what the value is made of. The curve has
    both.

    Args:
        x: The picture's tensor [C, h, w].
        heat: The map [h, w] whose order counts.
        unit: What black and white differ by in the tensor, [C, 1, 1].
        answers: Gives the class's probability, and whether it is the first, for versions of *x*.
        steps: How many shares, evenly between none and all of the pixels.
        noise: The deviation of the noise, in *unit*.
        seed: Decides among pixels that the map finds equal, and makes the noise.

    Example:
        >>> road_morf(x, heat, np.ones((3, 1, 1)), lambda samples: model(samples)).value
    """
    return _removed(x, order(heat, seed), noise * unit, answers, steps, seed)


@metric("road-lerf", higher=True, takes=_answers)
def road_lerf(
    x: Array, heat: Array, unit: Array, answers: Answers, *, steps: int = 9, noise: float = 0.01, seed: int = 0
) -> Curve:
    """The mean of p as 10 to 90 % of the pixels are imputed, the least relevant first.

    Rong et al., A Consistent and Efficient Evaluation Strategy for Attribution Methods, 2202.00449. Arguments as of
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
    return Curve(shares, float(probability.mean()), probability, accuracy)


def noisy_linear_imputation(x: Array, missing: Array, noise: Array, rng: np.random.Generator) -> Array:
    """Return *x* with each missing pixel the weighted mean of the eight around it, missing ones included, plus noise.

    x_i = Σ_n w_n x_n / Σ_n w_n + ε, n the neighbours in the picture, w = 1/6 beside and 1/12 at the corners: a sparse
    linear system (2202.00449, noisy linear imputation).

    Args:
        x: [C, h, w].
        missing: Which pixels, bool [h, w]; not all.
        noise: The deviation of ε, [C, 1, 1].
        rng: Makes the noise.

    Example:
        >>> noisy_linear_imputation(x, heat > 0.5, np.full((3, 1, 1), 0.01), np.random.default_rng(0))
    """
    from scipy.sparse import csc_matrix
    from scipy.sparse.linalg import splu

    matrix, right = _system(x.astype(np.float64), missing)
    if not len(right):
        return x
    # The matrix is symmetric, and each pivot on the diagonal is as good as any.
    solver = splu(csc_matrix(matrix), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0, options={"SymmetricMode": True})
    imputed = solver.solve(right).T
    filled = x.astype(np.float32)
    filled[:, missing] = imputed + noise.reshape(-1, 1) * rng.standard_normal(imputed.shape)
    return filled


def _system(x: Array, missing: Array) -> tuple[tuple[Array, tuple[Array, Array]], Array]:
    """Return the equations of the missing pixels: (values, (rows, columns)), and the right side [M, C]."""
    rows, columns = np.nonzero(missing)
    number = np.full(missing.shape, -1)
    number[rows, columns] = np.arange(len(rows))
    right, total = np.zeros((len(rows), len(x))), np.zeros(len(rows))
    links = []
    for (dy, dx), weight in NEIGHBOURS.items():
        y, z = rows + dy, columns + dx
        here = np.flatnonzero((y >= 0) & (y < missing.shape[0]) & (z >= 0) & (z < missing.shape[1]))
        y, z = y[here], z[here]
        total[here] += weight
        known = number[y, z] < 0
        right[here[known]] += weight * x[:, y[known], z[known]].T
        links.append((np.full((~known).sum(), -weight), here[~known], number[y, z][~known]))
    diagonal = np.arange(len(rows))
    values, i, j = (np.concatenate(parts) for parts in zip(*links, (total, diagonal, diagonal), strict=True))
    return (values, (i, j)), right
