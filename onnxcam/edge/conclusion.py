"""Pairs -> a summary of each metric, and what must be said of them: the end of `validate` and of `compare`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from onnxcam.edge.cautions import about
from onnxcam.edge.comparison import METRICS, Pair
from onnxcam.edge.thresholds import Requirement
from onnxcam.edge.validation import Side, Summary, Validation
from onnxcam.metrics.base import Array
from onnxcam.metrics.summary import interval


def conclude(
    reference: Side,
    candidate: Side,
    journal: Sequence[Pair],
    requirements: Sequence[Requirement],
    unreadable: Sequence[tuple[str, str]] = (),
    warnings: Sequence[str] = (),
    labels: Sequence[str] | None = None,
    seconds: float = 0,
) -> Validation:
    """Return the validation of *journal*, held against *requirements* (`thresholds.parse`).

    MetricError where the reference itself is wrong on everything, as far as the truth tells.
    """
    summaries = summarise(journal)
    return Validation(
        reference=reference,
        candidate=candidate,
        journal=journal,
        summaries=summaries,
        verdicts=[requirement.verdict(summaries) for requirement in requirements],
        unreadable=list(unreadable),
        warnings=[*warnings, *about(journal, summaries, labels)],
        labels=labels,
        seconds=seconds,
    )


def summarise(pairs: Sequence[Pair]) -> Mapping[str, Summary]:
    """Return the summary of each metric that any of *pairs* has, in the order of `METRICS`."""
    columns = {name: np.full(len(pairs), np.nan) for name in METRICS}
    names = []
    for row, pair in enumerate(pairs):
        names.append(pair.picture)
        for name, value in pair.values.items():
            columns[name][row] = value
    return {name: _summary(name, column, names) for name, column in columns.items() if np.isfinite(column).any()}


def _summary(metric: str, column: Array, names: Sequence[str]) -> Summary:
    there = np.flatnonzero(np.isfinite(column))
    values = column[there]
    found = interval(values, there.tolist())
    low, high = (None if end is None else float(end) for end in (found.low, found.high))
    at = int(there[(np.argmin if METRICS[metric].better == "higher" else np.argmax)(values)])
    return Summary(
        metric=metric,
        mean=float(found.mean),
        low=low,
        high=high,
        median=float(np.median(values)),
        worst=float(column[at]),
        worst_picture=names[at],
        count=len(there),
        missing=len(names) - len(there),
    )
