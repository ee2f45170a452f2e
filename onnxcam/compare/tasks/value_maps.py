"""Comparison of maps of values: depth, density, anomaly, optical flow."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from onnxcam.compare import similarity
from onnxcam.compare.drawing import drawn_values
from onnxcam.compare.outcome import FEW, Agreement, Answer, Prediction
from onnxcam.compare.tasks.numbers import spreads
from onnxcam.compare.tasks.observation import Observation, Observed, Wanted
from onnxcam.errors import MetricError
from onnxcam.media.image import RgbImage
from onnxcam.targets.goal import Look
from onnxcam.targets.value_maps import Anomaly, Depth

if TYPE_CHECKING:
    from onnxcam.compare.image_comparison import ImageComparison

__all__ = [
    "ANOMALY_DEFAULTS",
    "DEFAULTS",
    "AnomalyObservation",
    "AnomalyPrediction",
    "ValueMapObservation",
    "ValueMapPrediction",
]

DEFAULTS = "value_correlation>=0.95, value_error<=0.03, mapped>=0.95, pearson>=0.7, iou>=0.4"
"""Default requirements, for a quantised model of depth against its float reference.

Measured on one map of models/segmenter, as static int8 and with one activation scale divided by 12: `value_correlation`
is 1.00 sound and 0.92 spoilt, `value_error` 0.006 and 0.040.
"""
ANOMALY_DEFAULTS = "mapped>=0.95, pearson>=0.7, iou>=0.4"
"""Default requirements, for a quantised anomaly detector against its float reference.

A detector puts out a score, a map or both, so neither is required: state `number_error` or `value_correlation` as well.
Measured on one map of models/segmenter and its maximum, as static int8 and with one activation scale divided by 12:
`number_error` is 0.01 sound and 0.59 spoilt, `value_correlation` 1.00 and 0.80, `pearson` 0.89 and 0.00.
"""


@dataclass(frozen=True)
class ValueMapPrediction(Prediction):
    """Values of each cell of one image, float32 [C, h, w]: C is 1, or the number of components of a vector.

    Of a volume, [C, d, h, w].
    """

    values: NDArray[np.float32]

    task = "depth"
    metrics = ("value_correlation", "value_error")
    defaults = DEFAULTS
    forms: ClassVar[Mapping[str, str]] = {
        "values": "float [c, h, w] | float [c, d, h, w]",
    }

    def answer(self, names: Sequence[str] | None) -> Answer:
        """Return the range of the values."""
        known = self.values[np.isfinite(self.values)]
        if not known.size:
            return Answer("no number")
        low, high = float(known.min()), float(known.max())
        return Answer(f"{low:.3g} to {high:.3g}", None, {"low": _plain(low), "high": _plain(high)})

    def drawing(self, reference: ValueMapPrediction) -> RgbImage | None:
        """Return the values of an image in grey, from the lowest to the highest of the reference."""
        return _drawn(self.values, reference.values)

    def compare(self, candidate: ValueMapPrediction) -> Agreement:
        """Compare the values of all cells."""
        values, notes = _map_agreement(self.values, candidate.values)
        return Agreement(values, notes, {"varies": bool(np.isfinite(self.values).all() and np.ptp(self.values))})

    @classmethod
    def conclude(cls, comparisons: Sequence[ImageComparison], names: Sequence[str] | None) -> list[str]:
        """Raise MetricError if the reference puts out one value, or none, in all images."""
        if not any(one.details["varies"] for one in comparisons):
            raise MetricError(
                f"the reference puts out one value for all cells of each of the {len(comparisons)} images, or NaN: "
                "nothing can be compared; check --preprocess"
            )
        return []


@dataclass(frozen=True)
class AnomalyPrediction(Prediction):
    """Score of one image, and a map of scores [1, h, w]; None for what the model does not put out."""

    score: float | None
    values: NDArray[np.float32] | None

    task = "anomaly"
    metrics = ("number_error", "value_correlation", "value_error")
    defaults = ANOMALY_DEFAULTS
    forms: ClassVar[Mapping[str, str]] = {
        "score": "float []?",
        "values": "float [c, h, w] | float [c, d, h, w]?",
    }

    def answer(self, names: Sequence[str] | None) -> Answer:
        """Return the score, or the highest value of the map."""
        found = self.score if self.score is not None else float(np.max(self.values if self.values is not None else 0))
        return Answer(f"{found:.4g}", None, {"score": _plain(found)})

    def drawing(self, reference: AnomalyPrediction) -> RgbImage | None:
        """Return the map in grey."""
        both = self.values is not None and reference.values is not None
        return _drawn(self.values, reference.values) if both else None  # type: ignore[arg-type]

    def compare(self, candidate: AnomalyPrediction) -> Agreement:
        """Compare the maps; the scores are kept for `over_all`."""
        parts = [(one.score is None, one.values is None) for one in (self, candidate)]
        if parts[0] != parts[1]:
            told = [" and ".join(["a score"] * (not no) + ["a map"] * (not none)) for no, none in parts]
            raise MetricError(f"the reference puts out {told[0]} and the candidate {told[1]}: export both alike")
        values, notes = dict[str, float](), list[str]()
        if self.values is not None and candidate.values is not None:
            values, notes = _map_agreement(self.values, candidate.values)
        scores = [one.score for one in (self, candidate) if one.score is not None and math.isfinite(one.score)]
        return Agreement(values, notes, {"scores": scores if len(scores) == 2 else None})

    @classmethod
    def over_all(cls, comparisons: Sequence[ImageComparison]) -> Mapping[str, Sequence[float]]:
        """Return for each image the difference of the scores, divided by their spread over the images."""
        pairs = np.array([one.details["scores"] or [np.nan] * 2 for one in comparisons], np.float64)
        if np.isnan(pairs).all():
            return {}
        return {"number_error": (np.abs(pairs[:, 1] - pairs[:, 0]) / spreads(pairs[:, :1])).tolist()}

    @classmethod
    def conclude(cls, comparisons: Sequence[ImageComparison], names: Sequence[str] | None) -> list[str]:
        """Return whether the reference gives all images one score."""
        scores = [one.details["scores"][0] for one in comparisons if one.details["scores"]]
        if len(scores) <= FEW or np.ptp(scores):
            return []
        return [f"the reference gives all {len(scores)} images the same score: number_error says little"]


class ValueMapObservation(Observation):
    """Maps of values. The default region of `onnxcam explain` is explained."""

    task = Depth
    prediction = ValueMapPrediction

    def predict(self, model: Observed, look: Look) -> ValueMapPrediction:
        """Return the map of one image."""
        assert isinstance(model.network.task, Depth)
        return ValueMapPrediction(model.network.task.values.read(look).astype(np.float32))

    def targets(self, model: Observed, prediction: Prediction) -> Wanted:
        """Return the default target."""
        return ["top"]


class AnomalyObservation(Observation):
    """Anomaly detectors. The score is explained, or the highest value of the map."""

    task = Anomaly
    prediction = AnomalyPrediction

    def predict(self, model: Observed, look: Look) -> AnomalyPrediction:
        """Return the score and the map of one image."""
        task = model.network.task
        assert isinstance(task, Anomaly)
        score = None if task.score is None else float(look.tensors([task.score])[0].reshape(-1)[0])
        return AnomalyPrediction(score, None if task.values is None else task.values.read(look).astype(np.float32))

    def targets(self, model: Observed, prediction: Prediction) -> Wanted:
        """Return the default target."""
        return ["top"]


def _map_agreement(
    reference: NDArray[np.float32], candidate: NDArray[np.float32]
) -> tuple[dict[str, float], list[str]]:
    """Return the metrics of two maps [C, h, w], and notes."""
    if reference.shape != candidate.shape:
        shapes = [" × ".join(map(str, one.shape)) for one in (reference, candidate)]
        raise MetricError(
            f"the reference puts out a map of {shapes[0]} values and the candidate one of {shapes[1]}: maps are "
            "compared cell by cell; export both with one size"
        )
    wrong = [
        f"the {side}'s values hold NaN or infinity"
        for side, one in (("reference", reference), ("candidate", candidate))
        if not np.isfinite(one).all()
    ]
    if wrong:
        return {}, wrong
    spread = float(np.ptp(reference))
    if not spread:
        return {}, ["the reference puts out one value for all cells"]
    a, b = (one.reshape(1, -1).astype(np.float64) for one in (reference, candidate))
    even = similarity.is_constant(b)
    values = {"value_error": float(np.abs(a - b).mean()) / spread}
    values["value_correlation"] = 0.0 if even else similarity.pearson(a, b)
    return values, ["the candidate puts out one value for all cells"] if even else []


def _drawn(values: NDArray[np.float32], reference: NDArray[np.float32]) -> RgbImage | None:
    if values.ndim != 3:  # of a volume
        return None
    known = reference[np.isfinite(reference)]
    return drawn_values(values, float(known.min(initial=0)), float(known.max(initial=0)))


def _plain(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None
