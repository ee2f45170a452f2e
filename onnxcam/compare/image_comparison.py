"""Compare the outcomes of reference and candidate for one image."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxcam.compare.agreement import AGREEMENT_METRICS, MAP_METRICS, TRUTH_METRICS, AgreementMetric
from onnxcam.compare.drawing import packed
from onnxcam.compare.map_comparison import Kept, ObjectComparison, compare_maps
from onnxcam.compare.outcome import Answer, Outcome, Prediction
from onnxcam.errors import MetricError

__all__ = ["AGREEMENT_METRICS", "AgreementMetric", "ImageComparison", "Kept", "ObjectComparison", "compare_outcomes"]


@dataclass(frozen=True)
class ImageComparison:
    """Comparison of reference and candidate for one image.

    Attributes:
        picture: Path of the image, as given.
        sha256: SHA-256 of the image file.
        size: (H, W) of the image; (1, T) of a signal, (D, H, W) of a volume.
        answers: What reference and candidate say of the image.
        objects: What was explained, with the maps of both; of a classifier one class.
        values: Value of each metric of `AGREEMENT_METRICS` that can be computed; of maps the mean over *objects*.
        notes: Reasons why other metrics cannot be computed.
        details: Further results of the task, as JSON.
    """

    picture: str
    sha256: str
    size: tuple[int, ...]
    answers: tuple[Answer, Answer]
    objects: tuple[ObjectComparison, ...]
    values: Mapping[str, float]
    notes: tuple[str, ...]
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def diagonal(self) -> tuple[float, str]:
        """The length that distances of maps are fractions of, and its unit: mm where the file says, else pixels."""
        spacing = self.details.get("spacing")
        lengths = self.size if spacing is None else [n * unit for n, unit in zip(self.size, spacing, strict=True)]
        return math.hypot(*lengths), "mm" if spacing is not None else "voxels" if len(self.size) > 2 else "pixels"

    @property
    def target(self) -> int | None:
        """Explained class of the first object; None if there is none."""
        return self.objects[0].index if self.objects else None

    @property
    def tops(self) -> tuple[int, int]:
        """Top classes of reference and candidate, both classifiers."""
        first, second = (int(answer.data["index"]) for answer in self.answers)
        return first, second

    @property
    def confidence(self) -> tuple[float | None, float | None]:
        """Probabilities of both answers; None if the model gives no probability."""
        return self.answers[0].confidence, self.answers[1].confidence

    @property
    def maps(self) -> tuple[Kept, Kept]:
        """Maps of reference and candidate of the first object."""
        return self.objects[0].maps if self.objects else (None, None)


def compare_outcomes(
    reference: Outcome,
    candidate: Outcome,
    mask: NDArray[np.bool_] | None = None,
    classes: Collection[int] | None = None,
    why: str = "",
    names: Sequence[str] | None = None,
) -> ImageComparison:
    """Compare two outcomes of one image.

    Args:
        reference: Outcome of the reference.
        candidate: Outcome of the candidate, of the same task; its maps are of the same things, in the same order.
        mask: Ground-truth mask of the explained class, bool [H, W]; None if unknown.
        classes: Ground-truth classes in the image; None if unknown.
        why: Note that explains a missing mask.
        names: Names of the classes, for the answers.

    Raises:
        MetricError: the outcomes are of different images, or of models that cannot be compared.
    """
    if reference.sha256 != candidate.sha256:
        raise MetricError(
            f"{reference.picture} of the reference and {candidate.picture} of the candidate are different images; "
            "give both the same files"
        )
    if type(reference.prediction) is not type(candidate.prediction):
        tasks = reference.prediction.task, candidate.prediction.task
        raise MetricError(f"the reference predicts for {tasks[0]} and the candidate for {tasks[1]}; give two of a task")
    found = reference.prediction.compare(candidate.prediction)
    values = dict(found.values)
    first, second = (outcome.prediction.answer(names) for outcome in (reference, candidate))
    if classes:
        right = [float(answer.data["index"] in classes) for answer in (first, second)]
        values |= {"accuracy": right[1], "accuracy_lost": right[0] - right[1]}
    pairs = zip(reference.maps, candidate.maps, strict=True)
    objects = tuple(compare_maps((reference, candidate), pair, mask) for pair in pairs)
    values |= _means(objects)
    told = dict.fromkeys(note for one in objects for note in one.notes)
    return ImageComparison(
        picture=reference.picture,
        sha256=reference.sha256,
        size=reference.size,
        answers=(first, second),
        objects=objects,
        values={name: value for name, value in values.items() if math.isfinite(value)},
        notes=(*([why] if why else ()), *found.notes, *told),
        details=found.details | _drawings(reference.prediction, candidate.prediction) | _spacing(reference),
    )


def _drawings(reference: Prediction, candidate: Prediction) -> dict[str, list[str]]:
    """Return both predictions drawn, for reports; empty if they are not."""
    drawn = [one.drawing(reference) for one in (reference, candidate)]
    found = [packed(one) for one in drawn if one is not None]
    return {"drawings": found} if len(found) == len(drawn) else {}


def _spacing(outcome: Outcome) -> dict[str, list[float]]:
    """Return the millimetres from voxel to voxel, where they are known."""
    return {} if outcome.spacing is None else {"spacing": list(outcome.spacing)}


def _means(objects: Sequence[ObjectComparison]) -> dict[str, float]:
    """Return the mean of each metric of maps over the *objects* that have it."""
    columns = {name: [x.values[name] for x in objects if name in x.values] for name in (*MAP_METRICS, *TRUTH_METRICS)}
    return {name: float(np.mean(column)) for name, column in columns.items() if column}
