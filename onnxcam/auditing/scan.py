"""A part of a class with a property that other classes lack: a scan over balls, tested on rows held out.

The scan statistic of Kulldorff (1997) in the space of a view: of all balls, the one that holds more of a class than
of the other classes by the largest likelihood ratio. It is searched on one half of the rows and counted on the other,
so its p-value there is that of one test (Fisher's exact test), however many balls were searched.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import hypergeom

__all__ = ["AS_GOOD", "Ball", "distances", "excess", "held_out_p", "recentred", "search"]

_ViewPoints = NDArray[np.float32]

AS_GOOD = 0.7
"""Score from which on a simpler ball is taken, relative to the best: one around a mean, one of a shared look."""
_FEWEST = 3  # rows that are a part of a class
_MOST = 0.5  # share of a class above which it is no part but the class itself


@dataclass(frozen=True)
class Ball:
    """All points within *radius* of *centre*.

    Attributes:
        score: Logarithm of its likelihood ratio.
        tried: Number of centres that it is the best of.
    """

    centre: _ViewPoints
    radius: float
    score: float
    tried: int

    @property
    def evidence(self) -> float:
        """The score that is left after a correction for the centres tried, as that of Bonferroni for p-values."""
        return self.score - float(np.log(self.tried))

    def holds(self, points: _ViewPoints) -> NDArray[np.bool_]:
        """Return which of *points* [N, D] lie in it, bool [N]."""
        return np.asarray(np.linalg.norm(points - self.centre, axis=1) <= self.radius)


def search(own: _ViewPoints, others: _ViewPoints, centres: _ViewPoints, largest: float) -> Ball | None:
    """Return the ball that holds more of the points *own* of a class than of *others*, as surely as possible.

    Args:
        own: [N, D].
        others: [M, D].
        centres: Where balls may be centred, [K, D].
        largest: Bound of their radius.

    Returns:
        None where no ball holds a larger share of *own*.
    """
    most = int(_MOST * len(own))
    if most < _FEWEST or not len(others) or not len(centres):
        return None
    count = np.arange(_FEWEST, most + 1)
    near = np.sort(distances(centres, own), axis=1)
    far = np.sort(distances(centres, others), axis=1)
    edges = near[:, count - 1]
    held = np.stack([np.searchsorted(row, edge, side="right") for row, edge in zip(far, edges, strict=True)])
    score = np.where(edges <= largest, excess(count, held, len(own), len(others)), 0.0)
    row, k = (int(at) for at in np.unravel_index(int(score.argmax()), score.shape))
    if score[row, k] <= 0:
        return None
    edge = float(edges[row, k])
    following = min(float(each[each > edge].min(initial=np.inf)) for each in (near[row], far[row]))
    return Ball(centres[row], min((edge + following) / 2, largest), float(score[row, k]), len(centres))


def recentred(ball: Ball, own: _ViewPoints, others: _ViewPoints, largest: float) -> Ball:
    """Return the best ball around the mean of what *ball* holds of *own*: held out rows are nearer to it."""
    mean = own[ball.holds(own)].mean(axis=0, keepdims=True)
    found = search(own, others, mean, largest)
    return ball if found is None or found.score < AS_GOOD * ball.score else replace(found, tried=ball.tried)


def excess(held: NDArray[np.int64], strange: NDArray[np.int64], total: int, others: int) -> NDArray[np.float64]:
    """Return the logarithm of the likelihood ratio of two shares to one; zero where the first is not larger."""
    p, q = held / total, strange / others
    both = (held + strange) / (total + others)
    ratio = _likelihood(p, total) + _likelihood(q, others) - _likelihood(both, total + others)
    return np.where(p > q, ratio, 0.0)


def _likelihood(share: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    with np.errstate(divide="ignore", invalid="ignore"):
        found = share * np.log(share) + (1 - share) * np.log1p(-share)
    return count * np.nan_to_num(found, nan=0.0, neginf=0.0)


def held_out_p(ball: Ball, own: _ViewPoints, others: _ViewPoints) -> float:
    """Return the probability of as many of *own* in the ball, or more, if they were drawn as *others* are."""
    held, strange = int(ball.holds(own).sum()), int(ball.holds(others).sum())
    return float(hypergeom.sf(held - 1, len(own) + len(others), held + strange, len(own)))


def distances(one: _ViewPoints, other: _ViewPoints) -> _ViewPoints:
    """Return the Euclidean distances [N, M] of the points *one* [N, D] and *other* [M, D]."""
    squares = (one**2).sum(1)[:, None] + (other**2).sum(1) - 2 * one @ other.T
    found: _ViewPoints = np.sqrt(np.maximum(squares, 0))
    return found
