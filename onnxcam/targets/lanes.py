"""Lanes: a place in each of a few rows of the image for each lane, as scores of the places (Ultra-Fast-Lane)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from onnxcam.metadata.reading import Part
from onnxcam.targets.aim import WeightsAim
from onnxcam.targets.classification import class_index
from onnxcam.targets.dense import has_proportions, named, who
from onnxcam.targets.evidence import Evidence
from onnxcam.targets.goal import Goal, Look
from onnxcam.targets.graph_outputs import length, numeric_outputs
from onnxcam.targets.kinds import Class, Top
from onnxcam.targets.registry import Task, resolves

__all__ = ["Lanes"]

_NAMES = r"lane|loc_row"
_MOST = 8
_ROWS = (10, 100)
_PLACES = 50


@dataclass(frozen=True)
class Lanes(Task):
    """Scores [N, places, rows, lanes] (arXiv 2004.11757, 2206.07389).

    A lane is explained by the mean, over the rows, of the score of its best place.
    """

    output: str
    lanes: int
    source: str = "names"
    name: str = "a lane detector"
    cards = ("lanes",)

    @classmethod
    def find(cls, evidence: Evidence, known: bool) -> Iterator[Task]:
        """Yield the task for scores of a few lanes, of fewer rows than places."""
        wanted = evidence.output("scores")
        for y in numeric_outputs(evidence.graph, 4):
            places, rows, lanes = (length(y, axis) for axis in (1, 2, 3))
            if not (isinstance(places, int) and isinstance(rows, int) and isinstance(lanes, int)):
                continue
            fits = 1 < lanes <= _MOST and _ROWS[0] <= rows <= _ROWS[1] and places >= max(_PLACES, rows + 1)
            grid = any(has_proportions(size, evidence.image) for size in ((rows, lanes), (places, rows)))
            if fits and wanted in (None, y) and not grid:
                yield cls(y.name or "", lanes, who(evidence, known) or named(evidence, _NAMES, y) or "shapes")

    def parts(self) -> Iterator[Part]:
        """Yield the output of the scores."""
        yield Part("scores", f"{self.output!r}, the places of {self.lanes} lanes", self.source)

    @property
    def aim(self) -> WeightsAim:
        """Return weights over the scores."""
        return WeightsAim(self.output)

    def _examples(self, kind: type[object]) -> tuple[str, ...]:
        return (str(self.lanes - 1),) if kind is Class else ("top",)

    @resolves(Class)
    def lane(self, target: Class, look: Look) -> Goal:
        """The mean score of a lane's best places."""
        (y,) = look.tensors([self.output])
        index = class_index(target.label, self.lanes, None)
        best = y[0, :, :, index].argmax(axis=0)
        weights = np.zeros(y.shape[1:], np.float32)
        weights[best, np.arange(len(best)), index] = 1 / len(best)
        return Goal(self.aim, weights, str(index), index)

    @resolves(Top)
    def top(self, target: Top, look: Look) -> Goal:
        """The lane with the highest mean score."""
        (y,) = look.tensors([self.output])
        index = int(y[0].max(axis=0).mean(axis=0).argmax())
        return replace(self.lane(Class(index), look), note=f"the lane with the highest scores, {index}")
