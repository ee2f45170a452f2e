"""Comparison of numbers: regressions, and angles that are scores of bins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from onnxcam.compare.on_access import true_annotations
from onnxcam.compare.outcome import FEW, Agreement, Answer, Prediction
from onnxcam.compare.slices import TruthScores, TruthSlice
from onnxcam.compare.tasks.observation import Observation, Observed, Wanted
from onnxcam.errors import MetricError
from onnxcam.metrics.accuracy_numbers import number_error
from onnxcam.targets.bins import Bins
from onnxcam.targets.goal import Look
from onnxcam.targets.kinds import TensorElement
from onnxcam.targets.parser import parse
from onnxcam.targets.registry import TargetKind
from onnxcam.targets.regression import Regression

if TYPE_CHECKING:
    from onnxcam.compare.image_comparison import ImageComparison
    from onnxcam.metrics.truth import Truth

__all__ = ["BIAS", "DEFAULTS", "SHOWN", "NumbersObservation", "NumbersPrediction", "spreads"]

DEFAULTS = "number_error<=0.2, mapped>=0.95, pearson>=0.7, iou>=0.4"
"""Default requirements, for a quantised regression against its float reference.

Measured on the vector of models/embedder as 32 numbers, as static int8 and with one activation scale divided by 12:
`number_error` is 0.02 sound and 0.72 spoilt, `pearson` 1.00 and 0.76, `mapped` 1.00 and 0.69.
"""

BIAS = 0.25
"""Mean difference, by the spread, from which on a warning names a number."""
SHOWN = 4
"""Numbers that an answer shows."""


@dataclass(frozen=True)
class NumbersPrediction(Prediction):
    """Numbers that a model puts out for one image, float64, of the shape of the output without the batch."""

    values: NDArray[np.float64]

    task = "regression"
    metrics = ("number_error",)
    truth_metrics = ("absolute_error",)
    defaults = DEFAULTS
    forms: ClassVar[Mapping[str, str]] = {
        "values": "float [...]",
    }

    def answer(self, names: Sequence[str] | None) -> Answer:
        """Return the numbers."""
        flat = self.values.reshape(-1)
        words = ", ".join(f"{value:.4g}" for value in flat[:SHOWN])
        return Answer(words + (", …" if len(flat) > SHOWN else ""), None, {"numbers": _plain(flat)})

    def compare(self, candidate: NumbersPrediction) -> Agreement:
        """Keep the numbers for `over_all`."""
        if self.values.shape != candidate.values.shape:
            sizes = self.values.size, candidate.values.size
            raise MetricError(
                f"the reference puts out {sizes[0]} numbers and the candidate {sizes[1]}, of the shapes "
                f"{list(self.values.shape)} and {list(candidate.values.shape)}: numbers are compared by their place"
            )
        notes = [
            f"the {side}'s numbers hold NaN or infinity"
            for side, one in (("reference", self), ("candidate", candidate))
            if not np.isfinite(one.values).all()
        ]
        pair = [_plain(one.values.reshape(-1)) for one in (self, candidate)]
        return Agreement({}, notes, {} if notes else {"numbers": pair})

    @classmethod
    def accuracy(
        cls, comparisons: Sequence[ImageComparison], truth: Truth, names: Sequence[str] | None, only: int | None = None
    ) -> TruthScores | None:
        """Return the mean absolute error of both, over the images where the numbers of both are finite."""
        sound = [pair for pair in comparisons if "numbers" in pair.details]
        if not sound:
            return None
        own = true_annotations(sound, truth)
        first, second = (number_error([pair.details["numbers"][side] for pair in sound], own) for side in (0, 1))
        several = len(first.by_number) > 1
        slices = [
            TruthSlice("number", f"number {place}", first.images, "absolute_error", *pair)
            for place, pair in enumerate(zip(first.by_number, second.by_number, strict=True))
        ]
        worst = sorted(slices, key=lambda one: -one.lost)
        return TruthScores({"absolute_error": (first.mean, second.mean)}, worst if several else ())

    @classmethod
    def over_all(cls, comparisons: Sequence[ImageComparison]) -> Mapping[str, Sequence[float]]:
        """Return for each image the mean difference of the numbers, each divided by its spread over the images."""
        reference, candidate = _numbers(comparisons)
        errors = np.abs(candidate - reference) / spreads(reference)
        return {"number_error": errors.mean(axis=1).tolist()}

    @classmethod
    def conclude(cls, comparisons: Sequence[ImageComparison], names: Sequence[str] | None) -> list[str]:
        """Return the numbers that the candidate gives too high or too low."""
        reference, candidate = _numbers(comparisons)
        sound = np.isfinite(reference).all(axis=1)
        if not sound.any():
            raise MetricError(f"the numbers hold NaN or infinity in all {len(comparisons)} images: check --preprocess")
        reference, candidate = reference[sound], candidate[sound]
        scales, shifts = spreads(reference), (candidate - reference).mean(axis=0)
        worst = int(np.abs(shifts / scales).argmax())
        found = []
        if len(reference) > FEW and not np.ptp(reference, axis=0).any():
            found.append(f"the reference puts out the same numbers for all {len(reference)} images; check --preprocess")
        if abs(shifts[worst] / scales[worst]) >= BIAS:
            which = "number" if reference.shape[1] == 1 else f"number {worst}"
            found.append(
                f"the candidate's {which} is {abs(shifts[worst]):.3g} {'higher' if shifts[worst] > 0 else 'lower'} on "
                f"average; the reference's varies by {scales[worst]:.3g} (standard deviation)"
            )
        return found


class NumbersObservation(Observation):
    """Regressions. Each number is explained."""

    task = Regression
    prediction = NumbersPrediction

    def predict(self, model: Observed, look: Look) -> NumbersPrediction:
        """Return the numbers of one image."""
        return NumbersPrediction(_task(model).numbers(look))

    def targets(self, model: Observed, prediction: Prediction) -> Wanted:
        """Return each number; of bins the angle."""
        assert isinstance(prediction, NumbersPrediction)
        task = _task(model)
        if isinstance(task, Bins):
            return ["top"]
        return [TensorElement(task.output, (0, *place)) for place in np.ndindex(prediction.values.shape)]

    def own(self, model: Observed, target: TargetKind | str) -> TargetKind | str:
        """Return the number at the same place of the model's own output."""
        found = parse(target, None)
        return replace(found, tensor=_task(model).output) if isinstance(found, TensorElement) else found


def spreads(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the standard deviation over the images of *numbers* [N, K]; the magnitude of a number that is constant."""
    found = np.isfinite(numbers).all(axis=1)
    sound = numbers[found] if found.any() else np.ones((1, numbers.shape[1]))
    deviations, sizes = sound.std(axis=0), np.abs(sound).mean(axis=0)
    return np.where(deviations > 1e-6 * sizes, deviations, np.where(sizes > 0, sizes, 1.0))


def _numbers(comparisons: Sequence[ImageComparison]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the numbers of reference and candidate, [N, K] each; NaN where they cannot be compared."""
    pairs = [one.details.get("numbers") for one in comparisons]
    count = next((len(pair[0]) for pair in pairs if pair), 1)
    blank = [[np.nan] * count] * 2
    found = np.array([pair or blank for pair in pairs], np.float64)
    return found[:, 0], found[:, 1]


def _plain(values: NDArray[np.float64]) -> list[float | None]:
    """Return numbers for JSON."""
    return [float(f"{value:.7g}") if np.isfinite(value) else None for value in values]


def _task(model: Observed) -> Regression:
    assert isinstance(model.network.task, Regression)
    return model.network.task
