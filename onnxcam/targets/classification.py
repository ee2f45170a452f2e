"""Classification: one class, the difference of two, or the evidence against one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnxcam.errors import TargetError
from onnxcam.metadata import labels as labelling
from onnxcam.metadata.card import CLASSIFIERS
from onnxcam.targets.aim import ClassAim, ScoresAim
from onnxcam.targets.evidence import Evidence
from onnxcam.targets.goal import Goal, Look
from onnxcam.targets.kinds import Against, Class, Contrast, Top
from onnxcam.targets.notation import Label
from onnxcam.targets.registry import TargetKind, Task, resolves
from onnxcam.targets.scores import TOP, Scores, find_scores

__all__ = ["Classes", "class_index"]


@dataclass(frozen=True)
class Classes(Task):
    """A classifier: scores [N, classes], explained before softmax or sigmoid."""

    scores: Scores
    labels: Sequence[str] | None
    name: str = "a classifier"
    cards = (*CLASSIFIERS, "answer")
    aim = ClassAim()

    @classmethod
    def find(cls, evidence: Evidence, known: bool) -> Iterator[Task]:
        """Yield a classifier for the first output that is a vector of scores."""
        try:
            scores = find_scores(evidence.graph)
        except TargetError:
            return
        yield cls(scores, evidence.names.of(scores.classes))

    def _examples(self, kind: type[TargetKind]) -> tuple[str, ...]:
        count, names = self.scores.classes, self.labels
        one, other = (281, 285) if count > 285 else (count - 1, 0)
        own: dict[type[TargetKind], tuple[str, ...]] = {
            Class: (str(one), names[one]) if names else (str(one),),
            Against: (f"not {one}",),
            Contrast: (f"{one}-{other}",) if one != other else (),
        }
        return own[kind] if kind in own else super()._examples(kind)

    @resolves(Class)
    def one(self, target: Class, look: Look | None) -> Goal:
        """The score of one class."""
        index = self._index(target.label, look)
        return Goal(self.aim, np.asarray(index), self._name(index), index, self._label(index))

    @resolves(Top)
    def top(self, target: Top, look: Look | None) -> Goal:
        """The score of the class with the highest score, selected inside the graph."""
        return Goal(self.aim, np.asarray(TOP), "top")

    @resolves(Contrast)
    def contrast(self, target: Contrast, look: Look | None) -> Goal:
        """The score of one class minus that of another."""
        index, other = self._index(target.label, look), self._index(target.against, look)
        if index == other:
            raise TargetError(f"class {self._name(index)!r} is compared with itself; name two classes")
        words = f"{self._name(index)}-{self._name(other)}"
        return self._weighted({index: 1, other: -1}, words, index)

    @resolves(Against)
    def against(self, target: Against, look: Look | None) -> Goal:
        """The negative score of one class."""
        index = self._index(target.label, look)
        return self._weighted({index: -1}, f"not {self._name(index)}", index)

    def goal(self, target: TargetKind, look: Look | None = None) -> Goal:
        """Resolve *target*. Class, Against and Contrast of named classes, and Top, need no *look*."""
        return self.resolvers[type(target)](self, target, look)

    def check(self, target: TargetKind) -> None:
        """Raise TargetError if *target* names a class that the model does not have."""
        if isinstance(target, Class | Contrast | Against) and "top" not in vars(target).values():
            self.goal(target)

    def _weighted(self, weights: Mapping[int, float], words: str, index: int) -> Goal:
        feed = np.zeros(self.scores.classes, np.float32)
        feed[list(weights)] = list(weights.values())
        return Goal(ScoresAim(), feed, words, index, self._label(index))

    def ranked(self, look: Look) -> list[TargetKind]:
        """Return a target for each class, the highest score first."""
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
    """Return the index of the class *label*; TargetError for an index out of range or an unknown name."""
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
