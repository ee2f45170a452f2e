"""Regression: numbers that are no classes, such as an age, a pose or coordinates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from onnxcam.metadata.reading import Part
from onnxcam.targets.aim import WeightsAim
from onnxcam.targets.evidence import Evidence
from onnxcam.targets.goal import Array, Goal, Look
from onnxcam.targets.graph_outputs import length, numeric_outputs
from onnxcam.targets.kinds import Top
from onnxcam.targets.registry import Task, resolves
from onnxcam.targets.vectors import NUMBERS, vectors

__all__ = ["Regression"]


@dataclass(frozen=True)
class Regression(Task):
    """A network from images to numbers [N, K] that are neither class scores nor an embedding."""

    output: str
    count: int
    source: str = "shapes"
    name: str = "a regression"
    method = "gradcam"
    cards = ("regression",)

    @classmethod
    def find(cls, evidence: Evidence, known: bool) -> Iterator[Task]:
        """Yield a regression for the first vector of numbers; for any vector if the task is *known*."""
        for one in vectors(evidence):
            if known or one.role == NUMBERS:
                yield cls(one.name, one.width, one.source)
                return
        for y in numeric_outputs(evidence.graph, 3):
            if [length(y, 1), length(y, 2)] == [3, 3]:
                yield cls(y.name or "", 9)  # a rotation

    def parts(self) -> Iterator[Part]:
        """Yield which output has the numbers."""
        yield Part("numbers", f"{self.output!r}, {self.count}", self.source)

    @property
    def aim(self) -> WeightsAim:
        """Return one of the numbers."""
        return WeightsAim(self.output)

    def numbers(self, look: Look) -> Array:
        """Return the numbers of the image, float64, of the shape of the output without the batch."""
        (y,) = look.tensors([self.output])
        return y[0].astype(np.float64)

    @resolves(Top)
    def top(self, target: Top, look: Look) -> Goal:
        """The first number."""
        (y,) = look.tensors([self.output])
        weights = np.zeros(y.shape[1:], np.float32)
        weights.reshape(-1)[0] = 1
        places = ", ".join("0" * y.ndim)
        what = "a number, no class" if self.count == 1 else f"one of {self.count} numbers that are no classes"
        note = f"{self.output}[{places}], {what}" + ("; name two labels for a classifier" if self.count == 1 else "")
        return Goal(self.aim, weights, f"{self.output}[{places}]", note=note)
