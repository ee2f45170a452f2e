"""Slices of a comparison: results by class and by size of the objects, of agreement and by the ground truth."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from onnxcam.compare.agreement import AGREEMENT_METRICS, loss_of
from onnxcam.metrics.object_sizes import size_of

__all__ = [
    "ENOUGH",
    "AgreementSlice",
    "SliceItem",
    "SliceKind",
    "TruthScores",
    "TruthSlice",
    "agreement_slices",
    "as_dict",
    "sentence",
    "told",
    "truth_slices",
]

SliceKind: TypeAlias = Literal["class", "size", "number", "keypoint"]
ENOUGH = 10
"""Number of objects from which on a slice is named as the worst: of fewer, the values vary by chance."""
_SMALL = 0.02
"""Smaller losses are not named."""
_OF_IMAGES = {"accuracy", "recall1", "top1", "absolute_error", "keypoint_distance"}
"""Metrics whose slices count images."""


@dataclass(frozen=True)
class SliceItem:
    """One object of the reference in one image.

    Attributes:
        index: Its class.
        area: Its area in pixels of the image; None if unknown.
        values: Values of metrics. An item without the first metric of a task adds values, and is not counted.
    """

    index: int
    area: float | None
    values: Mapping[str, float]


@dataclass(frozen=True)
class AgreementSlice:
    """Agreement on the objects of one class or size.

    Attributes:
        kind: What the objects have in common.
        name: Name of the class, or of the size.
        objects: Number of objects of the reference; of classifiers, of images.
        values: Mean of each metric.
    """

    kind: SliceKind
    name: str
    objects: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class TruthSlice:
    """Accuracy of both models on the objects of one class or size.

    Attributes:
        kind: What the objects have in common.
        name: Name of the class, or of the size.
        objects: Number of objects by the truth; of classifiers and embeddings, of images.
        metric: Id of the metric.
        reference: Value of the reference.
        candidate: Value of the candidate.
    """

    kind: SliceKind
    name: str
    objects: int
    metric: str
    reference: float
    candidate: float

    @property
    def lost(self) -> float:
        """By how much the candidate is worse."""
        return loss_of(self.metric, self.reference, self.candidate)


@dataclass(frozen=True)
class TruthScores:
    """Accuracy of both models by the ground truth.

    Attributes:
        values: Values of reference and candidate over all images, by the id of a metric.
        slices: Values by class and size, the worst loss first.
    """

    values: Mapping[str, tuple[float, float]]
    slices: Sequence[TruthSlice] = ()


def truth_slices(
    metric: str,
    kind: SliceKind,
    counts: Mapping[Any, int],
    sides: Sequence[Mapping[Any, float]],
    names: Sequence[str] | None = None,
) -> list[TruthSlice]:
    """Return the slices of *metric*, by the number of objects and the values of both *sides*, the worst first.

    Keys are indices of classes with *names*, or names of slices.
    """
    found = [
        TruthSlice(kind, _name(key, names), count, metric, sides[0].get(key, 0.0), sides[1].get(key, 0.0))
        for key, count in counts.items()
    ]
    return sorted(found, key=lambda one: -one.lost)


def agreement_slices(
    items: Iterable[SliceItem], metrics: Sequence[str], names: Sequence[str] | None
) -> list[AgreementSlice]:
    """Return the means of *metrics* over *items*, by class and by size; the worst first, by the first metric."""
    groups: dict[tuple[SliceKind, str], list[Mapping[str, float]]] = {}
    for item in items:
        groups.setdefault(("class", _name(item.index, names)), []).append(item.values)
        if item.area is not None:
            groups.setdefault(("size", size_of(item.area)), []).append(item.values)
    found = [_agreement(kind, name, rows, metrics) for (kind, name), rows in groups.items()]
    counted = [one for one in found if one.objects]
    return sorted(counted, key=lambda one: (one.kind, one.values.get(metrics[0], 0.0)))


def _agreement(
    kind: SliceKind, name: str, rows: Sequence[Mapping[str, float]], metrics: Sequence[str]
) -> AgreementSlice:
    columns = {metric: [row[metric] for row in rows if metric in row] for metric in metrics}
    values = {metric: float(np.mean(column)) for metric, column in columns.items() if column}
    return AgreementSlice(kind, name, len(columns[metrics[0]]), values)


def _name(key: int | str, names: Sequence[str] | None) -> str:
    if isinstance(key, str):
        return key
    return names[key] if names and key < len(names) else f"class {key}"


def as_dict(agreement: Sequence[AgreementSlice], truth: TruthScores | None) -> dict[str, Any]:
    """Return the slices as JSON."""
    own = () if truth is None else truth.slices
    return {
        "truth": [{**asdict(one), "lost": one.lost} for one in own],
        "agreement": [asdict(one) for one in agreement],
    }


def sentence(agreement: Sequence[AgreementSlice], truth: TruthScores | None) -> str:
    """Return which slice of at least `ENOUGH` objects is the worst, in one line; empty if none stands out."""
    known = [one for one in (() if truth is None else truth.slices) if one.kind != "number"]  # those have units
    own = [one for one in known if one.objects >= ENOUGH and one.lost > _SMALL]
    if own:
        worst = max(own, key=lambda one: one.lost)
        title = AGREEMENT_METRICS[worst.metric].title
        return (
            f"the candidate loses most on {told(worst)}, by the truth: {title} is {worst.candidate:.3f}, the "
            f"reference's {worst.reference:.3f}"
        )
    return "" if known else _worst_agreement(agreement)


def _worst_agreement(agreement: Sequence[AgreementSlice]) -> str:
    known = [one for one in agreement if one.objects >= ENOUGH and one.values]
    if not known:
        return ""
    metric = next(iter(known[0].values))
    total = sum(one.objects for one in known if one.kind == "class")
    mean = sum(one.objects * one.values[metric] for one in known if one.kind == "class") / total if total else math.nan
    worst = min(known, key=lambda one: one.values[metric])
    if not worst.values[metric] < mean - _SMALL:
        return ""
    return f"the two agree least on {told(worst)}: {metric} is {worst.values[metric]:.3f}, over all {mean:.3f}"


def told(one: AgreementSlice | TruthSlice) -> str:
    """Return a slice in words."""
    metric = one.metric if isinstance(one, TruthSlice) else next(iter(one.values), "")
    unit = "images" if metric in _OF_IMAGES else "objects"
    return f"{one.name} objects ({one.objects})" if one.kind == "size" else f"{one.name!r} ({one.objects} {unit})"
