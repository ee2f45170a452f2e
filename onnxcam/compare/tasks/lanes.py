"""Comparison of lane detectors: the place of each lane in each row of the image."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from onnxcam.compare.outcome import Agreement, Answer, Prediction
from onnxcam.compare.tasks.observation import Observation, Observed, Wanted
from onnxcam.errors import MetricError
from onnxcam.targets.goal import Look
from onnxcam.targets.kinds import Class
from onnxcam.targets.lanes import Lanes

if TYPE_CHECKING:
    from onnxcam.compare.image_comparison import ImageComparison

__all__ = ["DEFAULTS", "NEAR", "LanesObservation", "LanesPrediction"]

DEFAULTS = "near_points>=0.75, lane_shift<=0.02, mapped>=0.95, pearson>=0.7, iou>=0.4"
"""Default requirements, for a quantised lane detector against its float reference.

models/ has no lane detector. Measured on rows of models/segmenter as lanes, as static int8 and with one activation
scale divided by 12, at five places: `near_points` is 0.86 sound and 0.00 to 0.60 spoilt, `lane_shift` 0.008 and 0.04 to
0.10.
"""

NEAR = 0.02
"""Distance of places that count as the same, as a share of the width; TuSimple's benchmark takes 20 of 1280 pixels."""


@dataclass(frozen=True)
class LanesPrediction(Prediction):
    """Place of each lane in each row, from 0 (left) to 1 (right), float64 [rows, lanes]; NaN where there is none."""

    places: NDArray[np.float64]

    task = "lanes"
    metrics = ("near_points", "lane_shift")
    defaults = DEFAULTS
    forms: ClassVar[Mapping[str, str]] = {
        "places": "float [r, l]",
    }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.float64]]) -> Self:
        """Return the lanes in the *arrays* of a recording."""
        found = super().from_arrays(arrays)
        known = found.places[~np.isnan(found.places)]
        if known.size and not 0 <= float(known.min()) <= float(known.max()) <= 1:
            raise ValueError("'places' holds a place outside 0 to 1")
        return found

    def answer(self, names: Sequence[str] | None) -> Answer:
        """Return the number of rows of each lane."""
        rows = np.isfinite(self.places).sum(axis=0).tolist()
        seen = [f"lane {lane} in {count} rows" for lane, count in enumerate(rows) if count]
        return Answer(", ".join(seen) or "no lane", None, {"rows": rows})

    def compare(self, candidate: LanesPrediction) -> Agreement:
        """Compare the places row by row."""
        if self.places.shape != candidate.places.shape:
            sizes = ["{} lanes in {} rows".format(*one.places.shape[::-1]) for one in (self, candidate)]
            raise MetricError(f"the reference has {sizes[0]} and the candidate {sizes[1]}: they are compared by number")
        apart = np.abs(self.places - candidate.places)
        both, either = np.isfinite(apart), np.isfinite(self.places) | np.isfinite(candidate.places)
        values = {
            "near_points": float((apart[both] <= NEAR).sum() / either.sum()) if either.any() else math.nan,
            "lane_shift": float(apart[both].mean()) if both.any() else math.nan,
        }
        rows = [np.isfinite(one.places).sum(axis=0).tolist() for one in (self, candidate)]
        return Agreement(values, [] if either.any() else ["neither model finds a lane"], {"rows": rows})

    @classmethod
    def conclude(cls, comparisons: Sequence[ImageComparison], names: Sequence[str] | None) -> list[str]:
        """Return the lanes that the candidate loses.

        Raises:
            MetricError: the reference finds no lane in any image.
        """
        own, other = np.array([one.details["rows"] for one in comparisons], np.int64).sum(axis=0)
        if not own.any():
            raise MetricError(
                f"the reference finds no lane in any of the {len(comparisons)} images: nothing can be compared; give "
                "other images, or check --preprocess"
            )
        lost = [lane for lane in range(len(own)) if own[lane] and 2 * other[lane] < own[lane]]
        return [
            f"the candidate finds lane {x} in {other[x]} rows of all images, the reference in {own[x]}" for x in lost
        ]


class LanesObservation(Observation):
    """Lane detectors (Ultra-Fast-Lane). Each lane is explained that has a place, the one of most rows first."""

    task = Lanes
    prediction = LanesPrediction
    in_images = True

    def predict(self, model: Observed, look: Look) -> LanesPrediction:
        """Return the best place of each lane in each row.

        A lane is missing where an output [N, 2, rows, lanes] says so (2206.07389); if there is no such output, where
        the last place is the best one (2004.11757).
        """
        (scores,) = look.tensors([_task(model).output])
        places, rows, lanes = scores.shape[1:]
        best = scores[0].argmax(axis=0)
        exists = next((y for y in look.outputs.values() if np.shape(y)[1:] == (2, rows, lanes)), None)
        if exists is not None:
            count, absent = places, exists[0, 1] <= exists[0, 0]
        else:
            count, absent = places - 1, best == places - 1
        found = np.where(absent, np.nan, np.minimum(best, count - 1) / max(count - 1, 1))
        return LanesPrediction(found)

    def targets(self, model: Observed, prediction: Prediction) -> Wanted:
        """Return the lanes."""
        assert isinstance(prediction, LanesPrediction)
        rows = np.isfinite(prediction.places).sum(axis=0)
        return [Class(int(lane)) for lane in np.argsort(-rows, kind="stable") if rows[lane]]


def _task(model: Observed) -> Lanes:
    found = model.network.task
    assert isinstance(found, Lanes)
    return found
