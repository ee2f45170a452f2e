"""Checks of a comparison: errors for models that cannot be compared, warnings for results that say little."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from onnxcam.compare.agreement import AGREEMENT_METRICS, MAP_METRICS, TRUTH_METRICS, loss_id
from onnxcam.compare.image_comparison import ImageComparison
from onnxcam.compare.outcome import FEW, Prediction
from onnxcam.compare.pairing import OTHER_THINGS
from onnxcam.compare.thresholds import Requirement
from onnxcam.compare.validation import Statistics
from onnxcam.errors import MetricError
from onnxcam.metrics.truth import Truth

__all__ = ["Comparable", "require_comparable", "result_warnings"]


class Comparable(Protocol):
    """Model or recording that can be compared."""

    @property
    def name(self) -> str:
        """Name for messages."""

    @property
    def prediction(self) -> type[Prediction]:
        """Type of the predictions."""

    @property
    def classes(self) -> int | None:
        """Number of classes of a classifier."""

    @property
    def class_names(self) -> Sequence[str] | None:
        """Names of the classes."""


def require_comparable(
    reference: Comparable, candidate: Comparable, requirements: Sequence[Requirement], truth: Truth | None
) -> None:
    """Raise MetricError if the two cannot be compared, or if a requirement cannot be measured."""
    tasks = reference.prediction.task, candidate.prediction.task
    if tasks[0] != tasks[1]:
        raise MetricError(
            f"'{reference.name}' is read as a model for {tasks[0]} and '{candidate.name}' as one for {tasks[1]}: only "
            "models of one task are compared; `onnxcam inspect` shows how each is read, and a card states it "
            "(docs/card.md)"
        )
    counts = reference.classes, candidate.classes
    if counts[0] != counts[1]:
        raise MetricError(
            f"'{reference.name}' has {counts[0]} classes and '{candidate.name}' {counts[1]}: classes are compared by "
            "index, so both must have the same"
        )
    names = reference.class_names, candidate.class_names
    for index, pair in enumerate(zip(names[0] or (), names[1] or (), strict=False)):
        if _plain(pair[0]) != _plain(pair[1]):
            raise MetricError(
                f"the labels differ: class {index} is {pair[0]!r} in '{reference.name}' and {pair[1]!r} in "
                f"'{candidate.name}'; if the classes are the same, name them for both with --labels FILE"
            )
    if truth is not None:
        reference.prediction.require_truth()
    measured = (*reference.prediction.metrics, *MAP_METRICS, *_truth_metrics(reference.prediction))
    for requirement in requirements:
        if requirement.metric not in measured:
            raise MetricError(f"'{requirement}' cannot be measured for {tasks[0]}; what can: {', '.join(measured)}")
        if requirement.metric in TRUTH_METRICS and truth is None:
            raise MetricError(f"'{requirement}' needs ground truth; give --truth")
        if requirement.metric == "top5" and (counts[0] or 0) <= 5:
            raise MetricError(f"'{requirement}' is meaningless for {counts[0]} classes; leave it out")


def _truth_metrics(prediction: type[Prediction]) -> Iterator[str]:
    """Yield the metrics by the ground truth, each with that of the candidate's loss."""
    for name in prediction.truth_metrics:
        yield name
        yield loss_id(name, AGREEMENT_METRICS[name].better)


def _plain(label: str) -> str:
    """Return the first synonym of *label*, in lower case."""
    return label.split(",")[0].replace("_", " ").strip().casefold()


def result_warnings(
    prediction: type[Prediction],
    pairs: Sequence[ImageComparison],
    summaries: Mapping[str, Statistics],
    names: Sequence[str] | None,
) -> list[str]:
    """Return warnings about results that say little, and findings over all images.

    Raises:
        MetricError: the reference is wrong on all images, by the ground truth, and there are more than `FEW`; or the
            images say nothing (`Prediction.conclude`).
    """
    warnings, count = [], len(pairs)
    if "accuracy" in summaries:
        right = summaries["accuracy"].mean + summaries["accuracy_lost"].mean
        if right <= 0 and summaries["accuracy"].count > FEW:
            raise MetricError(
                f"the reference itself is wrong on all {summaries['accuracy'].count} images: nothing can be measured "
                "by it; check --preprocess, --labels and --mask-values"
            )
        if right < 0.5:
            warnings.append(f"the reference itself is right on {right:.0%} of the images only; check --preprocess")
    warnings += prediction.conclude(pairs, names)
    blank = sum(_is_blank(pair) for pair in pairs)
    if blank:
        warnings.append(
            f"the reference itself has no map of {blank} of {count} images; they are left out of the metrics of maps"
        )
    return warnings


def _is_blank(pair: ImageComparison) -> bool:
    """Whether the reference has no map of the image; a map of another thing than the candidate's is one too."""
    if "mapped" in pair.values or OTHER_THINGS in pair.notes:
        return False
    return all(one.maps[0] is None for one in pair.objects)
