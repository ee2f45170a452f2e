"""Image comparisons → statistics, verdicts and warnings: the last step of `validate` and `compare`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from onnxcam.compare.agreement import AGREEMENT_METRICS, loss_id, loss_of
from onnxcam.compare.checks import result_warnings
from onnxcam.compare.image_comparison import ImageComparison
from onnxcam.compare.on_access import OnAccess
from onnxcam.compare.outcome import ModelInfo, Prediction
from onnxcam.compare.slices import AgreementSlice, TruthScores, agreement_slices
from onnxcam.compare.tasks.classification import ClassScores
from onnxcam.compare.thresholds import Requirement
from onnxcam.compare.validation import Statistics, Validation
from onnxcam.metrics.base import Array
from onnxcam.metrics.bootstrap import bootstrap_interval
from onnxcam.metrics.truth import Truth

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
    truth: Truth | None = None,
    only: int | None = None,
) -> Validation:
    """Return the validation of the comparisons in *journal* against *requirements* (`thresholds.parse`).

    *prediction* is the type of what both models predict, *truth* the ground truth, and *only* the class that is
    compared, if one is.

    Raises:
        MetricError: the reference is wrong on all images, by the ground truth.
        TruthError: the *truth* does not fit the models.
    """
    journal = completed(journal, prediction)
    summaries = summarise(journal)
    found = result_warnings(prediction, journal, summaries, labels)
    scores = None if truth is None else prediction.accuracy(journal, truth, labels, only)
    measured = {**_totals(scores, len(journal)), **summaries}
    return Validation(
        reference=reference,
        candidate=candidate,
        journal=journal,
        summaries=summaries,
        verdicts=[requirement.verdict(measured) for requirement in requirements],
        unreadable=list(unreadable),
        warnings=[
            *warnings,
            *found,
            *_too_few(requirements, summaries),
            *_truth_notes(truth, scores, journal, prediction),
        ],
        labels=labels,
        seconds=0,
        task=prediction.task,
        truth=scores,
        slices=_slices(journal, prediction, labels),
    )


def _too_few(requirements: Sequence[Requirement], summaries: Mapping[str, Statistics]) -> list[str]:
    """Return a warning if all top classes are equal, on fewer images than could show the share that is required.

    By the rule of three, *n* equal ones of *n* have the lower 95 % bound 1 - 3/*n*.
    """
    found = summaries.get("top1")
    bounds = [one.bound for one in requirements if one.metric == "top1" and one.bound < 1]
    if found is None or found.mean < 1 or not bounds:
        return []
    bound, low = max(bounds), max(0.0, 1 - 3 / found.count)
    needed = math.ceil(round(3 / (1 - bound), 6))
    if found.count >= needed:
        return []
    return [
        f"{found.count} image{'s' * (found.count != 1)} cannot show a top1 of {bound:g}: with all equal, its 95 % "
        f"bound is {low:.2g}; give at least {needed}"
    ]


def _slices(
    journal: Sequence[ImageComparison], prediction: type[Prediction], labels: Sequence[str] | None
) -> Sequence[AgreementSlice]:
    """Return the agreement by class and size."""
    if not prediction.slice_metrics:
        return []
    items = (item for pair in journal for item in prediction.slice_items(pair))
    return agreement_slices(items, prediction.slice_metrics, labels)


def _totals(scores: TruthScores | None, images: int) -> dict[str, Statistics]:
    """Return the accuracy of the candidate, and what it lost, as statistics of one value."""
    found: dict[str, float] = {}
    for metric, (reference, candidate) in ({} if scores is None else scores.values).items():
        found[metric] = candidate
        found[loss_id(metric, AGREEMENT_METRICS[metric].better)] = loss_of(metric, reference, candidate)
    return {name: Statistics(name, x, None, None, x, x, "", images, 0) for name, x in found.items()}


def _truth_notes(
    truth: Truth | None, scores: TruthScores | None, journal: Sequence[ImageComparison], prediction: type[Prediction]
) -> list[str]:
    """Return what the user should know about the truth."""
    if truth is None:
        return []
    used = scores is not None or any("energy" in pair.values for pair in journal)
    unused = [] if used else [f"{truth.path}: is not used; there is no measure by it for {prediction.task}"]
    return [*unused, *truth.notes, *truth.coverage([pair.picture for pair in journal])]


def completed(pairs: Sequence[ImageComparison], prediction: type[Prediction]) -> Sequence[ImageComparison]:
    """Return *pairs* with the metrics that are measured over all images, see `Prediction.over_all`."""
    further = prediction.over_all(pairs)
    return OnAccess(partial(_completed, pairs, further), len(pairs)) if further else pairs


def _completed(pairs: Sequence[ImageComparison], further: Mapping[str, Sequence[float]], at: int) -> ImageComparison:
    """Return one of *pairs* with its *further* values, by metric."""
    own, pair = {name: column[at] for name, column in further.items() if math.isfinite(column[at])}, pairs[at]
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
