"""Classification: one class or several, the difference of two, or the evidence against one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from onnxcam.errors import TargetError
from onnxcam.metadata import labels as labelling
from onnxcam.metadata.card import CLASSIFIERS
from onnxcam.metadata.reading import Part
from onnxcam.targets.aim import ClassAim, ScoresAim
from onnxcam.targets.class_kinds import Against, Class, Contrast, Group, Side, Top
from onnxcam.targets.evidence import Evidence
from onnxcam.targets.goal import Goal, Look
from onnxcam.targets.group_aim import GroupAim
from onnxcam.targets.groups import class_index, members, offering_groups, said
from onnxcam.targets.heads import is_over_one_element
from onnxcam.targets.notation import Label
from onnxcam.targets.registry import TargetKind, Task, resolves
from onnxcam.targets.scores import TOP, Scores, ScoresAt, find_scores, real_scores
from onnxcam.targets.vectors import SCORES, Vector, vectors

__all__ = ["Classes", "class_index"]


@dataclass(frozen=True)
class Classes(Task):
    """A classifier: scores [N, classes], explained before softmax or sigmoid."""

    scores: Scores
    labels: Sequence[str] | None
    at: ScoresAt | None = None
    source: str = "shapes"
    taken: str = ""
    warnings: tuple[str, ...] = ()
    multi_label: bool = False
    name: str = "a classifier"
    method = "gradcam"
    sees_centre = True
    cards = (*CLASSIFIERS, "answer")

    @classmethod
    def find(cls, evidence: Evidence, known: bool) -> Iterator[Task]:
        """Yield a classifier for the likeliest vector of scores; for any vector if the task is *known*."""
        found = vectors(evidence)
        best = next((one for one in found if one.role == SCORES), None)
        if best is None and known and found:
            best = found[0]
        if best is None:
            return
        pair = best.width == 1 and _names_of_two(evidence) is not None
        at = ScoresAt.of(best, pair=pair)
        scores = find_scores(evidence.graph, at=at)
        warnings = (_WRONG_AXIS,) if is_over_one_element(best.value) else _in_parts(best)
        names, several = evidence.names.of(scores.classes), evidence.names.multi_label
        yield cls(scores, names, at, best.source, _said(best, found), warnings, several)

    @property
    def aim(self) -> ClassAim:
        """Return the score of one class."""
        return ClassAim(at=self.at)

    def parts(self) -> Iterator[Part]:
        """Yield which tensor holds the scores, and what its numbers are."""
        yield Part("scores", self.taken or repr(self.scores.output), self.source)

    def _examples(self, kind: type[TargetKind]) -> tuple[str, ...]:
        count, names = self.scores.classes, self.labels
        one, other = (281, 285) if count > 285 else (count - 1, 0)
        own: dict[type[TargetKind], tuple[str, ...]] = {
            Class: (str(one), names[one]) if names else (str(one),),
            Against: (f"not {one}",),
            Contrast: (f"{one}-{other}",) if one != other else (),
            Group: (f"any:0-{min(one, 4)}",) if count > 2 else (),
        }
        return own[kind] if kind in own else super()._examples(kind)

    @resolves(Class)
    def one(self, target: Class, look: Look | None) -> Goal:
        """The score of one class."""
        index = self._index(target.label, look)
        return Goal(self.aim, np.asarray(index), self.words(index), index, self._label(index))

    @resolves(Top)
    def top(self, target: Top, look: Look | None) -> Goal:
        """The score of the class with the highest score, selected inside the graph."""
        return Goal(self.aim, np.asarray(TOP), "top")

    def goals(self, target: TargetKind, look: Look) -> list[Goal]:
        """Resolve *target*; ``top=5`` to the five highest scores, of which the r-th has the input −r."""
        if not isinstance(target, Top):
            return [self.goal(target, look)]
        count = min(target.count, self.scores.classes)
        return [replace(self.top(target, look), feed=np.asarray(TOP - rank)) for rank in range(count)]

    @resolves(Group)
    def group(self, target: Group, look: Look | None) -> Goal:
        """The log-sum-exp of the scores of several classes."""
        return self._sides([target], str(target), look)

    @resolves(Contrast)
    def contrast(self, target: Contrast, look: Look | None) -> Goal:
        """The score of a class, or of several, minus that of another."""
        words = "-".join(self._side_words(side, look) for side in (target.label, target.against))
        return self._sides([target.label, target.against], words, look)

    @resolves(Against)
    def against(self, target: Against, look: Look | None) -> Goal:
        """The negative score of a class, or of several."""
        return self._sides([target.label], f"not {self._side_words(target.label, look)}", look, sign=-1)

    def goal(self, target: TargetKind, look: Look | None = None) -> Goal:
        """Resolve *target*. Class, Group, Against and Contrast of named classes, and Top, need no *look*."""
        return self.resolvers[type(target)](self, target, look)

    def check(self, target: TargetKind) -> None:
        """Raise TargetError if *target* names a class that the model does not have."""
        if isinstance(target, Class | Group | Contrast | Against) and "top" not in vars(target).values():
            self.goal(target)

    def _sides(self, sides: Sequence[Side], words: str, look: Look | None, sign: int = 1) -> Goal:
        """Return the goal of one side, times *sign*, or of the first minus the second."""
        found = tuple(self._classes(side, look) for side in sides)
        if len(found) > 1 and (both := set(found[0]) & set(found[1])):
            named = self.words(min(both))
            two = "two classes" if max(map(len, found)) == 1 else "groups that share none"
            raise TargetError(f"class {named!r} is compared with itself; name {two}")
        feed = np.zeros(self.scores.classes, np.float32)
        for classes, weight in zip(found, (sign, -sign), strict=False):
            feed[list(classes)] = weight
        several = any(isinstance(side, Group) for side in sides)
        index = None if isinstance(sides[0], Group) else found[0][0]
        return Goal(
            (GroupAim if several else ScoresAim)(at=self.at),
            feed,
            words,
            index,
            None if index is None else self._label(index),
            sides=found,
            note=said(sides, found, self.words, exclusive=self.scores.are_exclusive(self.multi_label)),
        )

    def _classes(self, side: Side, look: Look | None) -> tuple[int, ...]:
        if isinstance(side, Group):
            return members(side, self.scores.classes, self.labels)
        return (self._index(side, look),)

    def _side_words(self, side: Side, look: Look | None) -> str:
        return str(side) if isinstance(side, Group) else self.words(self._index(side, look))

    def ranked(self, look: Look) -> list[TargetKind]:
        """Return a target for each class, the highest score first."""
        return [Class(int(index)) for index in np.argsort(-self._values(look), kind="stable")]

    def _index(self, label: Label, look: Look | None) -> int:
        if label == "top" and look is not None:
            return int(np.argmax(self._values(look)))
        with offering_groups(label, self.labels):
            return class_index(label, self.scores.classes, self.labels)

    def _values(self, look: Look) -> NDArray[np.float64]:
        """Return the numbers of the output, one for each class."""
        (values,) = look.tensors([self.scores.output])
        real = real_scores(self.scores, values)
        return values.reshape(-1).astype(np.float64) if real is None else real

    def _label(self, index: int) -> str | None:
        return self.labels[index] if self.labels else None

    def words(self, index: int) -> str:
        """Return words that mean the class *index* again: its name, or ``#index`` if the name means another."""
        if not self.labels:
            return str(index)
        name = self.labels[index]
        means_itself = self._places.get(labelling.folded(name)) == index and name.strip() not in ("", "top")
        return name if means_itself else f"#{index}"

    @cached_property
    def _places(self) -> Mapping[str, int]:
        return labelling.places(self.labels or ())


def _names_of_two(evidence: Evidence) -> Sequence[str] | None:
    try:
        return evidence.names.of(2)
    except TargetError:
        return None


def _in_parts(one: Vector) -> tuple[str, ...]:
    """Return a warning of a vector that holds the probabilities of several classifiers."""
    count = one.width // one.parts
    what = f"{one.name!r} holds {one.parts} classifiers of {count} classes each, whose probabilities sum to 1 each"
    return () if one.parts == 1 else (f"{what}: target {count} is class 0 of the second one",)


_WRONG_AXIS = (
    "the model's softmax does not run over its classes: for one image each probability is 1; the scores before it are "
    "explained; export the model again with the softmax over the axis of classes"
)
_KINDS = {"softmax": "probabilities", "sigmoid": "probabilities", "logsoftmax": "logarithms of probabilities"}


def _said(best: Vector, found: Sequence[Vector]) -> str:
    """Return in words which vector holds the scores, and which others there are."""
    kind = _KINDS.get(best.head.name or "", "scores") if best.width > 1 else "number"
    kind = kind if best.parts == 1 else f"probabilities of {best.parts} classifiers"
    others = [repr(one.name) for one in found if one is not best]
    ranks = f", behind {' and '.join(map(repr, best.ranks))}" if best.ranks else ""
    also = f"; not {', '.join(others)} (scores_output names another)" if others else ""
    return f"{best.name!r}, {best.width} {kind}{ranks}{also}"
