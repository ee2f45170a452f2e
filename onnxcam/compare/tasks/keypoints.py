"""Comparison of keypoints: how far each one lies from the reference's."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from onnxcam.compare.on_access import true_annotations
from onnxcam.compare.outcome import Agreement, Answer, ObjectMap, Prediction
from onnxcam.compare.slices import TruthScores, TruthSlice
from onnxcam.compare.tasks.observation import Observation, Observed, Wanted
from onnxcam.errors import MetricError
from onnxcam.metrics.accuracy_keypoints import keypoint_accuracy
from onnxcam.targets.goal import Look
from onnxcam.targets.keypoints import HeatMaps, Keypoints
from onnxcam.targets.kinds import Keypoint
from onnxcam.targets.registry import TargetKind, Task

if TYPE_CHECKING:
    from onnxcam.compare.image_comparison import ImageComparison
    from onnxcam.metrics.truth import Truth

__all__ = ["DEFAULTS", "MOST", "NEAR", "SEEN", "HeatMapObservation", "KeypointObservation", "KeypointPrediction"]

DEFAULTS = "near_keypoints>=0.9, keypoint_shift<=0.02, mapped>=0.95, pearson>=0.5"
"""Default requirements, for a quantised keypoint model against its float reference.

The map of a peak may be one cell of the layer, so that a shift by one cell lowers the correlation to 0. Measured on the
vector of models/embedder as 16 points, and on the maps of models/segmenter as heat maps, as static int8 and with one
activation scale divided by 12: `near_keypoints` is 1.00 and 0.92 sound, 0.53 and 0.21 spoilt; `keypoint_shift` 0.001
and 0.009, 0.023 and 0.101; `pearson` 1.00 and 0.79, 0.93 and 0.15.
"""

NEAR = 0.02
"""Shift of a keypoint that counts as none, relative to the diagonal."""
SEEN = 0.3
"""Score, relative to the reference's best, from which on a keypoint is compared."""
MOST = 3
"""Maximum number of keypoints that a warning names."""


@dataclass(frozen=True)
class KeypointPrediction(Prediction):
    """Keypoints of one image.

    Attributes:
        points: float64 [P, 2], x and y as the model gives them.
        scores: float64 [P]; None if the model gives none.
        size: Width and height of the model's input.
        places: float64 [P, 2], x and y in pixels of the image, to draw them; None if unknown.
    """

    points: NDArray[np.float64]
    scores: NDArray[np.float64] | None
    size: tuple[int, int]
    places: NDArray[np.float64] | None = None

    task = "keypoints"
    metrics = ("near_keypoints", "keypoint_shift")
    truth_metrics = ("keypoint_distance", "oks")
    defaults = DEFAULTS
    forms: ClassVar[Mapping[str, str]] = {
        "points": "float [P, 2]",
        "scores": "float [P]?",
        "size": "index (2)",
        "places": "float [P, 2]?",
    }

    def answer(self, names: Sequence[str] | None) -> Answer:
        """Return the number of keypoints that are compared, and all of them as JSON."""
        scores = [None] * len(self.points) if self.scores is None else [_plain(one) for one in self.scores]
        shown = self.points if self.places is None else self.places
        points = [
            {"point": [_plain(x) for x in point], "score": score} for point, score in zip(shown, scores, strict=True)
        ]
        return Answer(f"{int(self.seen.sum())} of {len(self.points)} keypoints", None, {"keypoints": points})

    @property
    def seen(self) -> NDArray[np.bool_]:
        """Return the keypoints that are compared: those with a score that is not far below the best."""
        finite = np.asarray(np.isfinite(self.points).all(axis=1))
        if self.scores is None or not np.nanmax(self.scores, initial=0) > 0:
            return finite
        return np.asarray(finite & (self.scores >= SEEN * np.nanmax(self.scores, initial=0)))

    def compare(self, candidate: KeypointPrediction) -> Agreement:
        """Compare the places of the keypoints that the reference sees."""
        counts = len(self.points), len(candidate.points)
        if counts[0] != counts[1]:
            raise MetricError(
                f"the reference has {counts[0]} keypoints and the candidate {counts[1]}: keypoints are compared by "
                "index, so both must have the same"
            )
        unit, places = _unit(self.points), [_rows(one.places) for one in (self, candidate)]
        shifts = (_shares(candidate, unit) - _shares(self, unit)) * self.size
        far = np.nan_to_num(np.hypot(*shifts.T), nan=np.inf) / math.hypot(*self.size)
        seen = np.flatnonzero(self.seen)
        if not len(seen):
            return Agreement({}, ["the reference sees no keypoint"], {"shifts": [], "places": places})
        near = np.minimum(far[seen], 1)
        values = {"near_keypoints": float((near <= NEAR).mean()), "keypoint_shift": float(near.mean())}
        shifted = [[int(i), round(float(one), 6)] for i, one in zip(seen, near, strict=True)]
        return Agreement(values, [], {"shifts": shifted, "places": places})

    @classmethod
    def accuracy(
        cls, comparisons: Sequence[ImageComparison], truth: Truth, names: Sequence[str] | None, only: int | None = None
    ) -> TruthScores | None:
        """Return the distance of both from the true keypoints, and of 17 keypoints COCO's similarity."""
        known = [pair for pair in comparisons if None not in pair.details["places"]]
        if not known:
            return None
        own, sizes = true_annotations(known, truth), [(pair.size[0], pair.size[1]) for pair in known]
        first, second = (
            keypoint_accuracy([np.array(pair.details["places"][side], float) for pair in known], own, sizes)
            for side in (0, 1)
        )
        values = {"keypoint_distance": (first.distance, second.distance)}
        if first.similarity is not None and second.similarity is not None:
            values["oks"] = first.similarity, second.similarity
        slices = [
            TruthSlice(
                "keypoint",
                _name(index, names),
                first.images,
                "keypoint_distance",
                one,
                second.by_keypoint.get(index, 1.0),
            )
            for index, one in first.by_keypoint.items()
        ]
        return TruthScores(values, sorted(slices, key=lambda one: -one.lost))

    @classmethod
    def conclude(cls, comparisons: Sequence[ImageComparison], names: Sequence[str] | None) -> list[str]:
        """Return the keypoints that shift most.

        Raises:
            MetricError: the reference sees no keypoint in any image.
        """
        shifts = defaultdict[int, list[float]](list)
        for index, shift in (pair for one in comparisons for pair in one.details["shifts"]):
            shifts[index].append(shift)
        if not shifts:
            raise MetricError(
                f"the reference sees no keypoint in any of the {len(comparisons)} images: nothing can be compared; "
                "check --preprocess"
            )
        means = {index: float(np.mean(column)) for index, column in shifts.items()}
        worst = sorted((index for index in means if means[index] > NEAR), key=lambda index: -means[index])[:MOST]
        told = ", ".join(f"{_name(index, names)} by {means[index]:.1%}" for index in worst)
        return [f"the candidate's keypoints shift most at {told} of the diagonal"] if told else []


def _rows(places: NDArray[np.float64] | None) -> list[list[float | None]] | None:
    return None if places is None else [[_plain(x) for x in place] for place in places]


class KeypointObservation(Observation):
    """Tables of keypoints. The keypoints with the best scores are explained."""

    task: ClassVar[type[Task]] = Keypoints
    prediction = KeypointPrediction
    in_images = True

    def predict(self, model: Observed, look: Look) -> KeypointPrediction:
        """Return the keypoints of one image."""
        task = model.network.task
        assert isinstance(task, Keypoints | HeatMaps)
        height, width = look.size
        found = KeypointPrediction(*task.points(look), (width, height))
        pixels = _shares(found, _unit(found.points)) * found.size
        return replace(found, places=np.array([look.to_picture((*point, *point))[:2] for point in pixels]))

    def targets(self, model: Observed, prediction: Prediction) -> Wanted:
        """Return the keypoints that are compared, the best first."""
        assert isinstance(prediction, KeypointPrediction)
        seen = np.flatnonzero(prediction.seen)
        if prediction.scores is not None:
            seen = seen[np.argsort(-prediction.scores[seen], kind="stable")]
        return [Keypoint(int(index)) for index in seen]

    def same(self, explained: ObjectMap) -> TargetKind | str:
        """Return the keypoint by its index."""
        return explained.target if explained.index is None else Keypoint(explained.index)


class HeatMapObservation(KeypointObservation):
    """Heat maps of keypoints."""

    task = HeatMaps


def _unit(points: NDArray[np.float64]) -> str:
    """Return the unit of coordinates: the input's pixels, its size from 0 to 1, or its size from −1 to 1."""
    known = points[np.isfinite(points)]
    if not known.size or np.abs(known).max() > 2:
        return "pixels"
    return "signed" if known.min() < -0.1 else "shares"


def _shares(one: KeypointPrediction, unit: str) -> NDArray[np.float64]:
    """Return the points as shares of the input's width and height."""
    if unit == "pixels":
        return one.points / one.size
    return (one.points + 1) / 2 if unit == "signed" else one.points


def _plain(value: float) -> float | None:
    return round(float(value), 6) if math.isfinite(value) else None


def _name(index: int, names: Sequence[str] | None) -> str:
    return names[index] if names and index < len(names) else f"keypoint {index}"
