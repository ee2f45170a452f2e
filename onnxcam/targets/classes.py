"""Classifiers: one class, the difference of two, or what speaks against one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnxcam.errors import TargetError
from onnxcam.metadata import labels as labelling
from onnxcam.targets.aim import ClassAim, ScoresAim
from onnxcam.targets.kinds import Against, Class, Contrast, Label, Top, Wish
from onnxcam.targets.scores import TOP, Scores
from onnxcam.targets.task import Goal, Look


@dataclass(frozen=True)
class Classes:
    """A classifier. Classes are explained by their scores before softmax or sigmoid."""

    scores: Scores
    labels: Sequence[str] | None
    name: str = "a classifier"
    wishes = (Top, Class, Contrast, Against)
    examples = "281, a label, top, 281-285, not 281"
    aim = ClassAim()

    def goal(self, wish: Wish, look: Look | None = None) -> Goal:
        """Resolve *wish*; only a contrast with the model's own top class needs a *look*."""
        match wish:
            case Class(label) | Against(label):
                index = self._index(label, look)
            case Contrast(label, against):
                index, other = self._index(label, look), self._index(against, look)
            case _:
                return Goal(self.aim, np.asarray(TOP), "top")
        name = self._name(index)
        if isinstance(wish, Class):
            return Goal(self.aim, np.asarray(index), name, index, self._label(index))
        weights = np.zeros(self.scores.classes, np.float32)
        if isinstance(wish, Against):
            weights[index] = -1
            return Goal(ScoresAim(), weights, f"not {name}", index, self._label(index))
        weights[index], weights[other] = 1, -1
        if index == other:
            raise TargetError(f"class {name!r} is compared with itself; name two classes")
        return Goal(ScoresAim(), weights, f"{name}-{self._name(other)}", index, self._label(index))

    def ranked(self, look: Look) -> list[Wish]:
        """Return the classes, the best first."""
        scores = look.outputs[self.scores.output].reshape(-1).astype(np.float64)
        return [Class(int(index)) for index in np.argsort(-scores, kind="stable")]

    def _index(self, label: Label, look: Look | None) -> int:
        if label == "top" and look is not None:
            return int(np.argmax(look.outputs[self.scores.output].reshape(-1)))
        return class_index(label, self.scores.classes, self.labels)

    def _label(self, index: int) -> str | None:
        return self.labels[index] if self.labels else None

    def _name(self, index: int) -> str:
        return self.labels[index] if self.labels else str(index)


def class_index(label: Label, classes: int, labels: Sequence[str] | None) -> int:
    """Return the index of the class called *label*.

    TargetError for an index out of range, or a label that is unknown (the nearest are offered).
    """
    if isinstance(label, str):
        if labels is None:
            raise TargetError(
                f"target {label!r} is a label, but the model's labels are not known; "
                f"give a class index from 0 to {classes - 1}, or --labels FILE"
            )
        return labelling.index(label, labels)
    if not 0 <= label < classes:
        raise TargetError(f"class {label} is out of range: the model has {classes} classes, 0 to {classes - 1}")
    return label
