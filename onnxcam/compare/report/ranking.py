"""Rank image comparisons, worst first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from onnxcam.compare.agreement import AGREEMENT_METRICS
from onnxcam.errors import MetricError, nearest

__all__ = ["Columns", "columns", "order"]

Columns = Mapping[str, NDArray[np.float64]]


def columns(values: Iterable[Mapping[str, float]]) -> dict[str, NDArray[np.float64]]:
    """Return the values of each measured metric, float64 [N], NaN where missing."""
    rows = list(values)
    known = [metric for metric in AGREEMENT_METRICS if any(metric in row for row in rows)]
    return {metric: np.array([row.get(metric, np.nan) for row in rows], np.float64) for metric in known}


def order(table: Columns, by: str | None = None) -> NDArray[np.int64]:
    """Return the indices of the images, worst first, by the metric *by*, or by the mean rank over all metrics.

    Ranks make metrics with different units comparable. A missing value is the worst, as for a candidate without a map.
    Ties keep their order.

    Raises:
        MetricError: *by* was not measured.
    """
    if by is not None and by not in table:
        raise MetricError(
            f"no image has a value of {by!r} to sort by; there are {', '.join(table)}.{nearest(by, table)}"
        )
    badness = [_ranks(_badness(metric, table[metric])) for metric in ([by] if by else table)]
    if not badness:
        return np.arange(0)
    return np.argsort(-np.mean(badness, axis=0), kind="stable")


def _badness(metric: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
    worse = -values if AGREEMENT_METRICS[metric].better == "higher" else values
    return np.where(np.isnan(worse), np.inf, worse)


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ranks in [0, 1]; equal values get their mean rank."""
    ordered = np.sort(values)
    below, upto = np.searchsorted(ordered, values, "left"), np.searchsorted(ordered, values, "right")
    return (below + upto) / (2 * max(1, len(values)))
