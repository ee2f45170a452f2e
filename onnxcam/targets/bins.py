"""Bins: angles that a network puts out as scores of ranges of degrees, such as the yaw of a head."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from onnxcam.metadata.reading import Part
from onnxcam.targets.dense import who
from onnxcam.targets.evidence import Evidence
from onnxcam.targets.goal import Array, Goal, Look
from onnxcam.targets.kinds import Top
from onnxcam.targets.registry import Task, resolves
from onnxcam.targets.regression import Regression
from onnxcam.targets.vectors import Vector, vectors, words_of

__all__ = ["Bins"]

_DEGREES = {66: (3, -99), 90: (4, -180), 28: (3, -42), 120: (3, -180)}
"""Numbers of bins, degrees of each and degrees of the first one: HopeNet and WHENet, L2CS-Net (Gaze360, MPIIGaze)."""
_ANGLES = frozenset("yaw pitch roll gaze azimuth elevation angle".split())
_FEWEST = 12


@dataclass(frozen=True)
class Bins(Regression):
    """A network from images to angles, each as scores [N, bins] of equal ranges of degrees.

    An angle is Σ p_k v_k over the bins, with p the softmax. The weights of the scores are its derivatives,
    p_k (v_k − angle).
    """

    @classmethod
    def find(cls, evidence: Evidence, known: bool) -> Iterator[Task]:
        """Yield the bins of the first angle, or of the output that the user names.

        An angle has its name, or two or more outputs have equal, usual numbers of bins and no names of classes.
        """
        if evidence.names.of(None):
            return
        found = [one for one in vectors(evidence) if one.width >= _FEWEST]
        counts = Counter(one.width for one in found)
        order = [y.name for y in evidence.graph.outputs]
        for one in sorted(found, key=lambda one: order.index(one.name) if one.name in order else len(order)):
            source = _source(one, counts)
            if source is not None:
                yield cls(one.name, one.width, who(evidence, known) or source)
                return

    def parts(self) -> Iterator[Part]:
        """Yield which output has the bins, and what they mean."""
        what = "not known" if self._step is None else f"{self._step[0]} degrees each, from {self._step[1]}"
        yield Part("numbers", f"{self.output!r}, {self.count} bins: {what}", self.source, "scores_output names another")

    @property
    def values(self) -> Array:
        """The angle of each bin, in degrees or in bins."""
        step, first = self._step or (1, 0)
        return first + step * np.arange(self.count)

    @property
    def _step(self) -> tuple[int, int] | None:
        return _DEGREES.get(self.count)

    @resolves(Top)
    def top(self, target: Top, look: Look) -> Goal:
        """The angle, in degrees or in bins."""
        (y,) = look.tensors([self.output])
        p = _probabilities(y[0].reshape(-1).astype(np.float64))
        angle = float(p @ self.values)
        weights = (p * (self.values - angle)).astype(np.float32).reshape(y.shape[1:])
        unit = "bins; the degrees of a bin are not known" if self._step is None else "degrees"
        note = f"{self.output}: {angle:.1f} {unit}, the mean of {self.count} bins, which are no classes"
        return Goal(self.aim, weights, "top", note=note)


def _source(one: Vector, counts: Counter[int]) -> str | None:
    """Return how *one* is known to be bins of an angle; None where it is not."""
    if _ANGLES & words_of(one.value):
        return "names"
    return "shapes" if one.width in _DEGREES and counts[one.width] > 1 else None


def _probabilities(y: Array) -> Array:
    if y.min() >= 0 and abs(float(y.sum()) - 1) < 1e-3:
        return y
    powers = np.exp(y - y.max())
    return np.asarray(powers / powers.sum())
