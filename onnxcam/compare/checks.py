"""What makes a validation void, or doubtful: models that do not belong together, a reference that knows nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol

from onnxcam.compare.observer import Observer
from onnxcam.compare.pairs import Pair
from onnxcam.compare.thresholds import Requirement
from onnxcam.compare.validation import Summary
from onnxcam.errors import MetricError
from onnxcam.metrics.truth import Truth

FEW = 5
"""So few pictures may all be hard, or all of one class, without anything being wrong."""


class Compared(Protocol):
    """What is compared: two models here and now, or their recordings."""

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def classes(self) -> int:
        """How many classes it has."""

    @property
    def class_names(self) -> Sequence[str] | None:
        """What they are called."""


def check(reference: Compared, candidate: Compared, requirements: Sequence[Requirement], truth: Truth | None) -> None:
    """MetricError where the two cannot be compared, or what is required cannot be measured."""
    counts = reference.classes, candidate.classes
    if counts[0] != counts[1]:
        raise MetricError(
            f"'{reference.name}' has {counts[0]} classes and '{candidate.name}' {counts[1]}: classes are compared by "
            "index, so both must put out the same"
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
            raise MetricError(f"'{requirement}' needs to know where the objects are; give --truth, masks or boxes")
        if requirement.metric == "top5" and counts[0] <= 5:
            raise MetricError(f"'{requirement}' says nothing of {counts[0]} classes; leave it out")


def differing(reference: Observer, candidate: Observer) -> list[str]:
    """Return a warning where one picture becomes different real numbers in the two models: most often a slip."""
    pair = reference.network.preprocessing, candidate.network.preprocessing
    numbers = [tuple(getattr(how, name, None) for name in ("range", "mean", "std", "order")) for how in pair]
    if numbers[0] == numbers[1]:
        return []
    return [
        f"the two models get different numbers of one picture: the reference by {pair[0]}, the candidate by {pair[1]}; "
        "if that is not meant, give one --preprocess for both"
    ]


def _plain(label: str) -> str:
    """Return the first synonym, in lower case."""
    return label.split(",")[0].replace("_", " ").strip().casefold()


def about(pairs: Sequence[Pair], summaries: Mapping[str, Summary], labels: Sequence[str] | None) -> list[str]:
    """Return what the user should know before believing the numbers.

    MetricError where the truth says that the reference is wrong on all of more than a `FEW` pictures.
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
                f"the reference itself is wrong on all {summaries['accuracy'].count} pictures: nothing can be measured "
                "by it; check --preprocess, --labels and --mask-values"
            )
        if right < 0.5:
            warnings.append(f"the reference itself is right on {right:.0%} of the pictures only; check --preprocess")
    (top, often), *_ = tops.most_common(1)
    if often == count > FEW:
        name = labels[top] if labels else str(top)
        warnings.append(
            f"the reference puts the same class, {name!r}, first in all {count} pictures: top1 says little of them; "
            "check --preprocess, or take other pictures"
        )
    if blank:
        warnings.append(
            f"the reference itself has no map of {blank} of {count} pictures; they are left out of the maps'"
        )
    return warnings
