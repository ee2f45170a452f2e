"""Pairs -> a summary of each metric, and what must be said of them: the end of `validate` and of `compare`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from onnxcam.compare.checks import about
from onnxcam.compare.outcome import Side
from onnxcam.compare.pairs import METRICS, Pair
from onnxcam.compare.thresholds import Requirement
from onnxcam.compare.validation import Summary, Validation
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
        seconds=0,
    )


def summarise(pairs: Sequence[Pair]) -> Mapping[str, Summary]:
    """Return the summary of each metric that any of *pairs* has, in the order of `METRICS`."""
    columns, names = np.full((len(METRICS), len(pairs)), np.nan), list[str]()
    rows = {name: row for row, name in enumerate(METRICS)}
    for at, pair in enumerate(pairs):
        names.append(pair.picture)
        for name, value in pair.values.items():
            columns[rows[name], at] = value
    alike: dict[bytes, list[str]] = {}  # metrics that the same pictures have: their intervals come of the same draws
    for name, row in rows.items():
        if np.isfinite(columns[row]).any():
            alike.setdefault(np.isfinite(columns[row]).tobytes(), []).append(name)
    found = {
        one.metric: one
        for group in alike.values()
        for one in _summaries(group, columns[[rows[name] for name in group]], names)
    }
    return {name: found[name] for name in METRICS if name in found}


def _summaries(metrics: Sequence[str], columns: Array, names: Sequence[str]) -> Iterator[Summary]:
    """Yield the summaries of *metrics*, [metrics, pictures], which are there for the same pictures."""
    there = np.flatnonzero(np.isfinite(columns[0]))
    values = columns[:, there]
    found = interval(values.T, there.tolist())
    for row, metric in enumerate(metrics):
        at = int((np.argmin if METRICS[metric].better == "higher" else np.argmax)(values[row]))
        yield Summary(
            metric=metric,
            mean=float(found.mean[row]),
            low=None if found.low is None else float(found.low[row]),
            high=None if found.high is None else float(found.high[row]),
            median=float(np.median(values[row])),
            worst=float(values[row, at]),
            worst_picture=names[there[at]],
            count=len(there),
            missing=len(names) - len(there),
        )
