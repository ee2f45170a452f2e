"""How models of one task are observed: their prediction for an image, and the maps of what they predict."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from onnxcam.compare.outcome import ObjectMap, Outcome, Prediction
from onnxcam.errors import GradientError, OnnxcamError, TargetError
from onnxcam.media.frame import Frame
from onnxcam.model.description import ModelDescription
from onnxcam.targets.goal import Goal, Look
from onnxcam.targets.registry import TargetKind, Task

__all__ = ["Explained", "Observation", "Observed", "PreparedImage", "Wanted"]

Wanted: TypeAlias = "Sequence[TargetKind | str]"
"""What to explain in one image."""


@dataclass(frozen=True)
class PreparedImage:
    """One image, preprocessed for one model: the tensor [1, …], and the rectangle of the image that it covers."""

    picture: str
    sha256: str
    size: tuple[int, int]
    tensor: NDArray[Any]
    frame: Frame


@dataclass(frozen=True)
class Explained:
    """One pass for one image: the outputs [1, …], the raw map [h, w], and the rectangle of the image it covers."""

    outputs: Mapping[str, NDArray[Any]]
    map: NDArray[np.float32]
    frame: Frame


class Observed(Protocol):
    """A model that is observed, see `onnxcam.compare.observer.Observer`."""

    network: ModelDescription
    objects: int
    """Maximum number of things that are explained in an image."""

    @property
    def external(self) -> bool:
        """Return whether the predictions come from an engine of the user, not from the explanation graph."""

    def look(self, prepared: PreparedImage) -> Look:
        """Return the look at one image."""

    def explain(self, prepared_images: Sequence[PreparedImage], goals: Sequence[Goal]) -> list[Explained]:
        """Explain one goal in each image."""

    def explain_in(self, look: Look, prepared: PreparedImage, goals: Sequence[Goal]) -> list[Explained]:
        """Explain several goals in one image, at which *look* looks."""


class Observation(ABC):
    """How models of one task are observed. A subclass gives predictions and targets; `outcomes` runs the model.

    Attributes:
        task: The task.
        prediction: The type of its predictions.
    """

    task: ClassVar[type[Task]]
    prediction: ClassVar[type[Prediction]]

    @abstractmethod
    def predict(self, model: Observed, look: Look) -> Prediction:
        """Return the prediction for one image."""

    @abstractmethod
    def targets(self, model: Observed, prediction: Prediction) -> Wanted:
        """Return what a reference explains of its *prediction*, the best first."""

    def check(self, model: Observed, target: int | str) -> None:
        """Raise TargetError if no image can have the *target* that the user names."""
        if target != "top":
            raise TargetError(
                f"target {target!r} is not for {model.network.task.name}: the best of each image are explained; leave "
                "the target out"
            )

    def same(self, explained: ObjectMap) -> TargetKind | str:
        """Return the target that means the thing *explained* for another model."""
        return explained.target

    def own(self, model: Observed, target: TargetKind | str) -> TargetKind | str:
        """Return *target* of another model in the terms of *model*, such as its name of an output."""
        return target

    def outcomes(
        self, model: Observed, images: Sequence[PreparedImage], wanted: Sequence[Wanted] | None = None
    ) -> list[Outcome]:
        """Return the outcome for each image, with the maps of what is *wanted* there; None: the best."""
        return [
            self._outcome(model, image, None if wanted is None else wanted[number])
            for number, image in enumerate(images)
        ]

    def _outcome(self, model: Observed, image: PreparedImage, wanted: Wanted | None) -> Outcome:
        look = model.look(image)
        prediction = self.predict(model, look)
        if wanted is None:
            targets = self.targets(model, prediction)[: model.objects]
        else:
            targets = [self.own(model, target) for target in wanted]
        goals = [_goal(model.network, look, target) for target in targets]
        rows = iter(_explained(model, look, image, [goal for goal in goals if isinstance(goal, Goal)]))
        found = [next(rows) if isinstance(goal, Goal) else goal for goal in goals]
        maps = map(_object_map, targets, goals, found)
        frame = next((one.frame for one in found if isinstance(one, Explained)), image.frame)
        return Outcome(image.picture, image.sha256, image.size, prediction, tuple(maps), frame)


def _explained(
    model: Observed, look: Look, image: PreparedImage, goals: Sequence[Goal]
) -> list[Explained | GradientError]:
    """Return the explanation of each of *goals* in one image; the error where the gradient is zero."""
    try:
        return [*model.explain_in(look, image, goals)]
    except GradientError as error:
        return [error] if len(goals) == 1 else [one for goal in goals for one in _explained(model, look, image, [goal])]


def _object_map(target: TargetKind | str, goal: Goal | TargetError, found: Explained | OnnxcamError) -> ObjectMap:
    raw, why = (found.map, "") if isinstance(found, Explained) else (None, str(found))
    if isinstance(goal, TargetError):
        return ObjectMap(str(target), None, raw, why)
    return ObjectMap(goal.words, goal.index, raw, why, goal.probability, goal.box)


def _goal(network: ModelDescription, look: Look, target: TargetKind | str) -> Goal | TargetError:
    """Return what *target* means for the image of *look*; the error if it means nothing there."""
    try:
        return network.resolve(target, look)
    except TargetError as error:
        return error
