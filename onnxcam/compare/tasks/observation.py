"""How models of one task are observed: their prediction for an image, and the maps of what they predict."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from onnxcam.compare.outcome import ObjectMap, Outcome, Prediction
from onnxcam.compare.prediction_arrays import LARGEST
from onnxcam.errors import GradientError, OnnxcamError, TargetError
from onnxcam.media.frame import Covered
from onnxcam.model.description import ModelDescription
from onnxcam.targets.classification import class_index
from onnxcam.targets.goal import Goal, Look
from onnxcam.targets.registry import TargetKind, Task

__all__ = ["Explained", "Observation", "Observed", "PreparedImage", "Wanted", "only_class"]

Wanted: TypeAlias = "Sequence[TargetKind | str]"
"""What to explain in one image."""


@dataclass(frozen=True)
class PreparedImage:
    """One image, preprocessed for one model: the tensor [1, …], and the part of the image that it covers.

    *size* and *spacing* are those of an `Outcome`.
    """

    picture: str
    sha256: str
    size: tuple[int, ...]
    tensor: NDArray[Any]
    frame: Covered
    spacing: tuple[float, ...] | None = None

    def spaced(self, spacing: Sequence[float]) -> PreparedImage:
        """Return the same with a *spacing*; None for one that is no length."""
        known = all(math.isfinite(length) and length > 0 for length in spacing)
        return replace(self, spacing=tuple(map(float, spacing)) if known else None)


@dataclass(frozen=True)
class Explained:
    """One pass for one image: the outputs [1, …], the raw map [h, w], and the part of the image it covers."""

    outputs: Mapping[str, NDArray[Any]]
    map: NDArray[np.float32]
    frame: Covered


class Observed(Protocol):
    """A model that is observed, see `onnxcam.compare.observer.Observer`."""

    network: ModelDescription
    objects: int
    """Maximum number of things that are explained in an image."""
    task: Task
    """What the outputs are read as."""

    @property
    def external(self) -> bool:
        """Return whether the predictions do not come from the explanation graph."""

    def look(self, prepared: PreparedImage) -> Look:
        """Return the look at one image."""

    def resolve(self, target: TargetKind | str, look: Look) -> Goal:
        """Return what *target* means for the image of *look*; TargetError if it means nothing."""

    def explain(self, prepared_images: Sequence[PreparedImage], goals: Sequence[Goal]) -> list[Explained]:
        """Explain one goal in each image."""

    def explain_in(self, look: Look, prepared: PreparedImage, goals: Sequence[Goal]) -> list[Explained]:
        """Explain several goals in one image, at which *look* looks."""


class Observation(ABC):
    """How models of one task are observed. A subclass gives predictions and targets; `outcomes` runs the model.

    Attributes:
        task: The task.
        prediction: The type of its predictions.
        in_images: Whether its predictions have places on two axes, so that models of volumes have none.
    """

    task: ClassVar[type[Task]]
    prediction: ClassVar[type[Prediction]]
    in_images: ClassVar[bool] = False

    @abstractmethod
    def predict(self, model: Observed, look: Look) -> Prediction:
        """Return the prediction for one image."""

    @abstractmethod
    def targets(self, model: Observed, prediction: Prediction) -> Wanted:
        """Return what a reference explains of its *prediction*, the best first."""

    def targets_of(self, model: Observed, prediction: Prediction, only: int) -> Wanted:
        """Return what a reference explains of its *prediction* of all classes, if class *only* is compared alone."""
        return self.targets(model, prediction.only(only))

    def check(self, model: Observed, target: int | str) -> None:
        """Raise TargetError if no image can have the *target* that the user names."""
        if target != "top":
            raise TargetError(
                f"target {target!r} is not for {model.network.task.name}: the best of each image are explained; leave "
                "the target out"
            )

    def only(self, model: Observed, target: int | str) -> int | None:
        """Return the class that is compared alone, if *target* means one; None for all.

        Raises:
            TargetError: no image can have the *target*.
        """
        self.check(model, target)
        return None

    def same(self, explained: ObjectMap) -> TargetKind | str:
        """Return the target that means the thing *explained* for another model."""
        return explained.target

    def score(self, prediction: Prediction, goal: Goal, outputs: Mapping[str, NDArray[Any]]) -> float | None:
        """Return the score of what is explained, by the *prediction* of its image and the *outputs* beside its map.

        None if there is none.
        """
        return goal.probability

    def own(self, model: Observed, target: TargetKind | str) -> TargetKind | str:
        """Return *target* of another model in the terms of *model*, such as its name of an output."""
        return target

    def outcomes(
        self,
        model: Observed,
        images: Sequence[PreparedImage],
        wanted: Sequence[Wanted] | None = None,
        only: int | None = None,
    ) -> list[Outcome]:
        """Return the outcome for each image, with the maps of what is *wanted* there; None: the best.

        *only* is the class to which predictions are limited, if they are.
        """
        return [
            self._outcome(model, image, None if wanted is None else wanted[number], only)
            for number, image in enumerate(images)
        ]

    def _outcome(self, model: Observed, image: PreparedImage, wanted: Wanted | None, only: int | None) -> Outcome:
        look = model.look(image)
        whole = self.predict(model, look)
        prediction = whole if only is None else whole.only(only)
        if wanted is not None:
            targets: Wanted = [self.own(model, target) for target in wanted]
        else:
            best = self.targets(model, whole) if only is None else self.targets_of(model, whole, only)
            targets = best[: model.objects]
        goals = [_goal(model, look, target) for target in targets]
        rows = iter(_explained(model, look, image, [goal for goal in goals if isinstance(goal, Goal)]))
        found = [next(rows) if isinstance(goal, Goal) else goal for goal in goals]
        outputs = [one.outputs if isinstance(one, Explained) else {} for one in found]
        scores = [
            self.score(prediction, goal, beside) if isinstance(goal, Goal) else None
            for goal, beside in zip(goals, outputs, strict=True)
        ]
        maps = map(_object_map, targets, goals, found, scores)
        frame = next((one.frame for one in found if isinstance(one, Explained)), image.frame)
        return Outcome(image.picture, image.sha256, image.size, prediction, tuple(maps), frame, image.spacing)


def only_class(target: int | str, classes: int | None, names: Sequence[str] | None) -> int | None:
    """Return the index of the class *target* among *classes* (None: unknown) with *names*; None for ``"top"``.

    Raises:
        TargetError: there is no such class.
    """
    if target == "top":
        return None
    label, count = target.strip() if isinstance(target, str) else target, classes or len(names or ())
    if count:
        return class_index(label, count, names)
    try:
        return class_index(label, LARGEST, None)
    except TargetError:
        raise TargetError(
            f"target {target!r}: the names of the model's classes are not known; give an index, or --labels FILE"
        ) from None


def _explained(
    model: Observed, look: Look, image: PreparedImage, goals: Sequence[Goal]
) -> list[Explained | GradientError]:
    """Return the explanation of each of *goals* in one image; the error where the gradient is zero."""
    try:
        return [*model.explain_in(look, image, goals)]
    except GradientError as error:
        return [error] if len(goals) == 1 else [one for goal in goals for one in _explained(model, look, image, [goal])]


def _object_map(
    target: TargetKind | str, goal: Goal | TargetError, found: Explained | OnnxcamError, score: float | None
) -> ObjectMap:
    raw, why = (found.map, "") if isinstance(found, Explained) else (None, str(found))
    if isinstance(goal, TargetError):
        return ObjectMap(str(target), None, raw, why)
    return ObjectMap(goal.words, goal.index, raw, why, score, goal.box)


def _goal(model: Observed, look: Look, target: TargetKind | str) -> Goal | TargetError:
    """Return what *target* means for the image of *look*; the error if it means nothing there."""
    try:
        return model.resolve(target, look)
    except TargetError as error:
        return error
