"""Scope of a validation: all that its conclusion needs besides the comparisons, as JSON for the merge of shards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from onnxcam.compare.doubt import PROBED, InputTrials
from onnxcam.compare.image_comparison import ImageComparison
from onnxcam.compare.outcome import ModelInfo, Prediction
from onnxcam.compare.summary import conclude
from onnxcam.compare.tasks import OBSERVATIONS
from onnxcam.compare.thresholds import Requirement
from onnxcam.compare.validation import Validation
from onnxcam.errors import ImageError, MetricError
from onnxcam.metrics.truth import Truth

__all__ = ["ValidationScope"]


@dataclass(frozen=True)
class ValidationScope:
    """What is compared with what, and by which requirements.

    Attributes:
        reference: Description of the reference.
        candidate: Description of the candidate.
        images: Number of images, also of those that cannot be read.
        requirements: What is required.
        target: The class that is explained, as given.
        only: The class that is compared alone, of detectors and segmentations.
        labels: Names of the classes.
        prediction: Type of what both models predict.
        truth: Ground truth.
        warnings: Warnings that precede the comparison.
    """

    reference: ModelInfo
    candidate: ModelInfo
    images: int
    requirements: Sequence[Requirement]
    target: str
    only: int | None
    labels: Sequence[str] | None
    prediction: type[Prediction]
    truth: Truth | None
    warnings: Sequence[str]

    def conclude(
        self,
        journal: Sequence[ImageComparison],
        unreadable: Sequence[tuple[str, str]],
        warnings: Sequence[str],
        trials: InputTrials,
    ) -> Validation:
        """Return the validation of all comparisons in *journal*.

        Raises:
            ImageError: no image could be read.
            MetricError: there is no object of the class that is compared alone, or as for `conclude`.
        """
        if not len(journal):
            raise ImageError(f"none of the {self.images} images could be read; the first: {unreadable[0][1]}")
        if self.only is not None and not any(pair.objects for pair in journal):
            raise MetricError(
                f"the reference finds no object of class {self.target!r} in any of the {len(journal)} images: nothing "
                "can be compared; give images that hold one, or leave --target out"
            )
        found = conclude(
            self.reference,
            self.candidate,
            journal,
            self.requirements,
            unreadable,
            [*self.warnings, *warnings],
            self.labels,
            self.prediction,
            self.truth,
            self.only,
        )
        found.doubt = trials.doubt(journal[:PROBED], self.prediction, found.meets)
        if trials.differing is not None and not found.doubt:
            found.warnings = [*found.warnings, trials.differing.warning]
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return the scope as JSON."""
        truth = self.truth
        return {
            "reference": asdict(self.reference),
            "candidate": asdict(self.candidate),
            "images": self.images,
            "requirements": [asdict(one) for one in self.requirements],
            "target": self.target,
            "only": self.only,
            "labels": None if self.labels is None else list(self.labels),
            "task": self.prediction.task,
            "truth": None if truth is None else [str(truth.path), truth.values, truth.format],
            "warnings": list(self.warnings),
        }

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> Self:
        """Return the scope in *entry*, the inverse of `as_dict`; TruthError if its truth cannot be read."""
        tasks = {one.prediction.task: one.prediction for one in OBSERVATIONS}
        return cls(
            reference=ModelInfo(**entry["reference"]),
            candidate=ModelInfo(**entry["candidate"]),
            images=entry["images"],
            requirements=[Requirement(**one) for one in entry["requirements"]],
            target=entry["target"],
            only=entry["only"],
            labels=entry["labels"],
            prediction=tasks[entry["task"]],
            truth=None if entry["truth"] is None else Truth(*entry["truth"]),
            warnings=entry["warnings"],
        )
