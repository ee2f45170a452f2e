"""Checks of a comparison: errors for models that cannot be compared, warnings for results that say little."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol

from onnxcam.compare.image_comparison import ImageComparison
from onnxcam.compare.thresholds import Requirement
from onnxcam.compare.validation import Statistics
from onnxcam.errors import MetricError
from onnxcam.metrics.truth import Truth

__all__ = ["FEW", "Comparable", "require_comparable", "result_warnings"]

FEW = 5
"""With this many images or fewer, a constant prediction or no correct prediction is no cause for a warning."""


class Comparable(Protocol):
    """Model or recording that can be compared."""

    @property
    def name(self) -> str:
        """Name for messages."""

    @property
    def classes(self) -> int:
        """Number of classes."""

    @property
    def class_names(self) -> Sequence[str] | None:
        """Names of the classes."""


def require_comparable(
    reference: Comparable, candidate: Comparable, requirements: Sequence[Requirement], truth: Truth | None
) -> None:
    """Raise MetricError if the two cannot be compared, or if a requirement cannot be measured."""
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
    for requirement in requirements:
        if requirement.metric.startswith(("energy", "accuracy")) and truth is None:
            raise MetricError(f"'{requirement}' needs ground truth; give --truth, masks or boxes")
        if requirement.metric == "top5" and counts[0] <= 5:
            raise MetricError(f"'{requirement}' is meaningless for {counts[0]} classes; leave it out")


def _plain(label: str) -> str:
    """Return the first synonym of *label*, in lower case."""
    return label.split(",")[0].replace("_", " ").strip().casefold()


def result_warnings(
    pairs: Sequence[ImageComparison], summaries: Mapping[str, Statistics], labels: Sequence[str] | None
) -> list[str]:
    """Return warnings about results that say little.

    Raises:
        MetricError: the reference is wrong on all images, by the ground truth, and there are more than `FEW`.
    """
    warnings, count = [], len(pairs)
    tops, confident, blank = Counter[int](), [], 0
    for pair in pairs:
        tops[pair.tops[0]] += 1
        confident += [] if pair.confidence[0] is None else [pair.confidence[0]]
        blank += "mapped" not in pair.values
    if "accuracy" in summaries:
        right = summaries["accuracy"].mean + summaries["accuracy_lost"].mean
        if right <= 0 and summaries["accuracy"].count > FEW:
            raise MetricError(
                f"the reference itself is wrong on all {summaries['accuracy'].count} images: nothing can be measured "
                "by it; check --preprocess, --labels and --mask-values"
            )
        if right < 0.5:
            warnings.append(f"the reference itself is right on {right:.0%} of the images only; check --preprocess")
    (top, often), *_ = tops.most_common(1)
    if often == count > FEW:
        name = labels[top] if labels else str(top)
        warnings.append(
            f"the reference puts the same class, {name!r}, first in all {count} images: top1 says little; "
            "check --preprocess, or take other images"
        )
    if blank:
        warnings.append(
            f"the reference itself has no map of {blank} of {count} images; they are left out of the metrics of maps"
        )
    return warnings
