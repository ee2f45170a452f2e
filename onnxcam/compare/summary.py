"""Image comparisons → statistics, verdicts and warnings: the last step of `validate` and `compare`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import overload

import numpy as np

from onnxcam.compare.agreement import AGREEMENT_METRICS
from onnxcam.compare.checks import result_warnings
from onnxcam.compare.image_comparison import ImageComparison
from onnxcam.compare.outcome import ModelInfo, Prediction
from onnxcam.compare.tasks.classification import ClassScores
from onnxcam.compare.thresholds import Requirement
from onnxcam.compare.validation import Statistics, Validation
from onnxcam.metrics.base import Array
from onnxcam.metrics.bootstrap import bootstrap_interval

__all__ = ["completed", "conclude", "summarise"]


def conclude(
    reference: ModelInfo,
    candidate: ModelInfo,
    journal: Sequence[ImageComparison],
    requirements: Sequence[Requirement],
    unreadable: Sequence[tuple[str, str]] = (),
    warnings: Sequence[str] = (),
    labels: Sequence[str] | None = None,
    prediction: type[Prediction] = ClassScores,
) -> Validation:
    """Return the validation of the comparisons in *journal* against *requirements* (`thresholds.parse`).

    *prediction* is the type of what both models predict.

    Raises:
        MetricError: the reference is wrong on all images, by the ground truth.
    """
    journal = completed(journal, prediction)
    summaries = summarise(journal)
    return Validation(
        reference=reference,
        candidate=candidate,
        journal=journal,
        summaries=summaries,
        verdicts=[requirement.verdict(summaries) for requirement in requirements],
        unreadable=list(unreadable),
        warnings=[*warnings, *result_warnings(prediction, journal, summaries, labels)],
        labels=labels,
        seconds=0,
        task=prediction.task,
    )


def completed(pairs: Sequence[ImageComparison], prediction: type[Prediction]) -> Sequence[ImageComparison]:
    """Return *pairs* with the metrics that are measured over all images, see `Prediction.over_all`."""
    further = prediction.over_all(pairs)
    return _Completed(pairs, further) if further else pairs


@dataclass(frozen=True)
class _Completed(Sequence[ImageComparison]):
    """Image comparisons, each read on access, with *further* values by metric."""

    pairs: Sequence[ImageComparison]
    further: Mapping[str, Sequence[float]]

    def __len__(self) -> int:
        return len(self.pairs)

    @overload
    def __getitem__(self, at: int) -> ImageComparison: ...

    @overload
    def __getitem__(self, at: slice) -> list[ImageComparison]: ...

    def __getitem__(self, at: int | slice) -> ImageComparison | list[ImageComparison]:
        if isinstance(at, slice):
            return [self[each] for each in range(*at.indices(len(self)))]
        pair = self.pairs[at]
        own = {name: column[at] for name, column in self.further.items() if math.isfinite(column[at])}
        return replace(pair, values={**pair.values, **own})


def summarise(pairs: Sequence[ImageComparison]) -> Mapping[str, Statistics]:
    """Return statistics of each metric measured on any image, in the order of `AGREEMENT_METRICS`."""
    columns, names = np.full((len(AGREEMENT_METRICS), len(pairs)), np.nan), list[str]()
    rows = {name: row for row, name in enumerate(AGREEMENT_METRICS)}
    for at, pair in enumerate(pairs):
        names.append(pair.picture)
        for name, value in pair.values.items():
            columns[rows[name], at] = value
    alike: dict[bytes, list[str]] = {}  # metrics measured on the same images share bootstrap draws
    for name, row in rows.items():
        if np.isfinite(columns[row]).any():
            alike.setdefault(np.isfinite(columns[row]).tobytes(), []).append(name)
    found = {
        one.metric: one
        for group in alike.values()
        for one in _statistics(group, columns[[rows[name] for name in group]], names)
    }
    return {name: found[name] for name in AGREEMENT_METRICS if name in found}


def _statistics(metrics: Sequence[str], columns: Array, names: Sequence[str]) -> Iterator[Statistics]:
    """Yield statistics of *metrics*, values [metrics, images], all measured on the same images."""
    there = np.flatnonzero(np.isfinite(columns[0]))
    values = columns[:, there]
    found = bootstrap_interval(values.T, there.tolist())
    for row, metric in enumerate(metrics):
        at = int((np.argmin if AGREEMENT_METRICS[metric].better == "higher" else np.argmax)(values[row]))
        yield Statistics(
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
