"""Comparison of classifiers: the scores of all classes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onnxcam.compare import similarity
from onnxcam.compare.on_access import true_annotations
from onnxcam.compare.outcome import FEW, Agreement, Answer, ObjectMap, Outcome, Prediction
from onnxcam.compare.slices import SliceItem, TruthScores, truth_slices
from onnxcam.compare.tasks.observation import Observation, Observed, PreparedImage, Wanted
from onnxcam.errors import MetricError
from onnxcam.metadata.reserved import CHOSEN
from onnxcam.metrics.accuracy import FIRST, accuracy
from onnxcam.targets import ClassAim, parse
from onnxcam.targets.classification import Classes
from onnxcam.targets.goal import Goal, Look
from onnxcam.targets.groups import single_class
from onnxcam.targets.registry import TargetKind
from onnxcam.targets.scores import TOP, probabilities, real_scores

if TYPE_CHECKING:
    from onnxcam.compare.image_comparison import ImageComparison
    from onnxcam.metrics.truth import Truth

__all__ = ["DEFAULTS", "ClassObservation", "ClassScores", "class_map", "class_of", "class_target"]

DEFAULTS = "top1>=0.9, mapped>=0.95, pearson>=0.8, iou>=0.5"
"""Default requirements, for a quantised classifier against its float reference.

Post-training int8 quantisation of a sound classifier costs about 1 % accuracy (2004.09602); a top class that changes on
more than one image in ten is not rounding. Two maps with a Pearson correlation of 0.8 share 64 % of their variance;
with an IoU of 0.5 the hot spots share two thirds of their pixels, those of two random maps a fifth. `mapped` detects a
candidate whose gradient vanishes, so that it has no map.
"""


@dataclass(frozen=True)
class ClassScores(Prediction):
    """Scores of a classifier.

    Attributes:
        scores: Output of the model, float32 [K]; integers are dequantised, (q − zero) · scale, if the units are known.
        probabilities: float64 [K]; None if the scores are integers without known units.
        head: Last operator of the model: ``"softmax"``, ``"logsoftmax"``, ``"sigmoid"``, or None for plain scores.
        exclusive: Whether the classes exclude each other, so that the probabilities sum to 1.
    """

    scores: NDArray[np.float32]
    probabilities: NDArray[np.float64] | None
    head: str | None = None
    exclusive: bool = True

    task = "classification"
    metrics = ("top1", "top5", "cosine", "kl")
    truth_metrics = ("accuracy", "accuracy5", "energy")
    slice_metrics = ("top1", "pearson", "iou")
    defaults = DEFAULTS

    @property
    def top(self) -> int:
        """Return the class of the highest score."""
        return int(np.argmax(self.scores))

    @property
    def in_units(self) -> bool:
        """Return whether the scores are real numbers."""
        return self.probabilities is not None

    def answer(self, names: Sequence[str] | None) -> Answer:
        """Return the top class."""
        sure = math.nan if self.probabilities is None else float(self.probabilities[self.top])
        label = names[self.top] if names else None
        data = {"index": self.top, "label": label}
        return Answer(label or f"class {self.top}", sure if math.isfinite(sure) else None, data)

    @classmethod
    def conclude(cls, comparisons: Sequence[ImageComparison], names: Sequence[str] | None) -> list[str]:
        """Return a warning if the reference puts one class first in all images."""
        return _constant(comparisons, names)

    @classmethod
    def accuracy(
        cls, comparisons: Sequence[ImageComparison], truth: Truth, names: Sequence[str] | None, only: int | None = None
    ) -> TruthScores | None:
        """Return the accuracy of the top class and of the first five; None if the truth names no class."""
        own = true_annotations(comparisons, truth)
        if not any(one is not None and one.labels for one in own):
            return None
        details = [pair.details for pair in comparisons]
        known = truth.class_names(details[0]["classes"], names)
        first, second = (
            accuracy([one["first"][side] for one in details], own, details[0]["classes"], known) for side in (0, 1)
        )
        values = {"accuracy": (first.top1, second.top1)}
        if first.top5 is not None and second.top5 is not None:
            values["accuracy5"] = first.top5, second.top5
        classes = [one.by_class for one in (first, second)]
        return TruthScores(values, truth_slices("accuracy", "class", first.counts, classes, names or known))

    @classmethod
    def slice_items(cls, comparison: ImageComparison) -> Iterator[SliceItem]:
        """Yield the image, of the reference's top class."""
        own = {name: comparison.values[name] for name in cls.slice_metrics if name in comparison.values}
        yield SliceItem(comparison.tops[0], None, own)

    def compare(self, candidate: ClassScores) -> Agreement:
        """Compare the top classes, the scores and the probabilities."""
        counts = len(self.scores), len(candidate.scores)
        if counts[0] != counts[1]:
            raise MetricError(
                f"the reference has {counts[0]} classes and the candidate {counts[1]}: classes are compared by index, "
                "so both must have the same"
            )
        values, notes = {"top1": float(self.top == candidate.top)}, []
        if len(self.scores) > 5:
            values["top5"] = float(self.top in _first(candidate.scores))
        p, q = self.probabilities, candidate.probabilities
        if self.head == candidate.head:
            values["cosine"] = similarity.cosine(self.scores, candidate.scores)
        elif p is not None and q is not None:
            values["cosine"] = similarity.cosine(p, q)
        if p is not None and q is not None:
            values["kl"] = similarity.kl(p, q, self.exclusive)
        else:
            whose = "reference" if p is None else "candidate"
            notes.append(f"no KL: the {whose}'s scores are integers without known units, which give no probabilities")
        details = {"classes": counts[0], "first": [_first(one.scores) for one in (self, candidate)]}
        return Agreement(values, notes, details)


def _first(scores: NDArray[np.float32]) -> list[int]:
    """Return the best classes, the best first; of equal scores the lower index."""
    found: list[int] = np.argsort(-scores.astype(np.float64), kind="stable")[:FIRST].tolist()
    return found


def _constant(comparisons: Sequence[ImageComparison], names: Sequence[str] | None) -> list[str]:
    """Return a warning if the reference has one top class for all images."""
    tops = Counter(pair.tops[0] for pair in comparisons)
    ((top, often),) = tops.most_common(1)
    if not often == len(comparisons) > FEW:
        return []
    name = names[top] if names else str(top)
    return [
        f"the reference puts the same class, {name!r}, first in all {often} images: top1 says little; check "
        "--preprocess, or take other images"
    ]


class ClassObservation(Observation):
    """Classifiers. The class to explain is an input of the graph, so one pass gives scores and map."""

    task = Classes
    prediction = ClassScores

    def predict(self, model: Observed, look: Look) -> ClassScores:
        """Return the scores of one image."""
        task = _task(model)
        return _scores(model, dict(zip([task.scores.output], look.tensors([task.scores.output]), strict=True)))

    def targets(self, model: Observed, prediction: Prediction) -> Wanted:
        """Return the top class."""
        return ["top"]

    def check(self, model: Observed, target: int | str) -> None:
        """Raise TargetError if the model lacks the class *target*."""
        class_of(target, _task(model).scores.classes, model.network.class_names)

    def same(self, explained: ObjectMap) -> str:
        """Return the class by its index."""
        return "top" if explained.index is None else class_target(explained.index)

    def outcomes(
        self,
        model: Observed,
        images: Sequence[PreparedImage],
        wanted: Sequence[Wanted] | None = None,
        only: int | None = None,
    ) -> list[Outcome]:
        """Return the outcome for each image, with the map of one class."""
        classes = [TOP] * len(images) if wanted is None else [_index(model, one) for one in wanted]
        return [
            outcome
            for _, group in groupby(zip(images, classes, strict=True), lambda pair: pair[0].tensor.shape)
            for outcome in self._batch(model, list(group))
        ]

    def _batch(self, model: Observed, pairs: Sequence[tuple[PreparedImage, int]]) -> list[Outcome]:
        if model.external:
            return [self._apart(model, image, index) for image, index in pairs]
        goals = [Goal(model.network.task.aim or ClassAim(), np.asarray(index), str(index), index) for _, index in pairs]
        images = [image for image, _ in pairs]
        return [
            Outcome(
                image.picture,
                image.sha256,
                image.size,
                _scores(model, found.outputs),
                (class_map(int(found.outputs[CHOSEN][0]), found.map),),
                found.frame,
                image.spacing,
            )
            for image, found in zip(images, model.explain(images, goals), strict=True)
        ]

    def _apart(self, model: Observed, image: PreparedImage, index: int) -> Outcome:
        """Return the outcome with scores that do not come from the explanation graph."""
        scores = self.predict(model, model.look(image))
        index = scores.top if index == TOP else index
        if not model.objects:
            none = class_map(index, None, "none was asked for")
            return Outcome(image.picture, image.sha256, image.size, scores, (none,), spacing=image.spacing)
        goal = Goal(model.network.task.aim or ClassAim(), np.asarray(index), str(index), index)
        (found,) = model.explain([image], [goal])
        own = (class_map(index, found.map),)
        return Outcome(image.picture, image.sha256, image.size, scores, own, found.frame, image.spacing)


def class_map(index: int, raw: NDArray[np.float32] | None, why: str = "") -> ObjectMap:
    """Return the *raw* map of a class; None if there is none, and *why*."""
    return ObjectMap(class_target(index), index, raw, why)


def class_target(index: int) -> str:
    """Return the target that means class *index*, whatever the names of the classes."""
    return f"#{index}"


def class_of(target: int | str, count: int, names: Sequence[str] | None) -> int:
    """Return the index of *target* among *count* classes; `TOP` for ``"top"``. Raise TargetError if it is unknown."""
    if target == "top":
        return TOP
    return single_class(parse(target, names), count, names)


def _task(model: Observed) -> Classes:
    assert isinstance(model.network.task, Classes)
    return model.network.task


def _index(model: Observed, wanted: Wanted) -> int:
    (target,) = wanted
    if isinstance(target, TargetKind):
        raise MetricError(f"a classifier explains one class, not {target}")
    return class_of(target, _task(model).scores.classes, model.network.class_names)


def _scores(model: Observed, outputs: Mapping[str, NDArray[Any]]) -> ClassScores:
    scores, several = _task(model).scores, model.network.multi_label
    values = outputs[scores.output][0]
    real = real_scores(scores, values)
    return ClassScores(
        scores=np.asarray(values.reshape(-1) if real is None else real, np.float32),
        probabilities=probabilities(scores, values, several),
        head=scores.head,
        exclusive=scores.are_exclusive(several),
    )
