"""Several targets of one image: classes that share a pass, the best objects, the words of a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from onnxcam.errors import TargetError
from onnxcam.explainer.explanation import Explanation
from onnxcam.explainer.image_calls import Image, ImageCalls
from onnxcam.explainer.request import Arrays, ExplanationRequest, PreprocessedImage
from onnxcam.model.inputs import InputValue
from onnxcam.targets import Target, Top, parse
from onnxcam.targets.classification import Classes
from onnxcam.targets.descriptions import Descriptions
from onnxcam.targets.detection import Detections
from onnxcam.targets.kinds import Class, Text
from onnxcam.targets.registry import TargetKind

__all__ = ["TargetCalls", "listed"]


class TargetCalls(ImageCalls):
    """Explanations of several targets of one image. See `onnxcam.Explainer`."""

    def each(
        self,
        image: Image,
        target: Target | Sequence[Target] = None,
        inputs: Mapping[str, InputValue] | None = None,
    ) -> list[Explanation]:
        """Explain one image for *target*, or for each of a list.

        For ``top=5`` there are five explanations, for a text said of the image one for each word, else one. CAMs of
        several classes share one forward pass. Raises as a call does.
        """
        if self._is_of_frames(image):
            return [self(image, one, inputs) for one in listed(target)]
        self._require_videos([image])
        prepared = self.prepare(image)
        wishes = [parse(self.target if one is None else one, self.class_names) for one in listed(target)]
        found = self._of_classes(prepared, wishes, inputs)
        return [one for wish in wishes for one in self._wished(prepared, wish, inputs)] if found is None else found

    def _wished(
        self, prepared: PreprocessedImage, wish: TargetKind, inputs: Mapping[str, InputValue] | None
    ) -> list[Explanation]:
        if isinstance(self.network.task, Descriptions) and isinstance(wish, Text | Top):
            return self._each_word(self.network.task, prepared, wish, self.network.read_inputs(inputs or {}))
        if isinstance(wish, Top) and wish.count > 1:
            return self.best(prepared, wish.count, inputs)
        return [self(prepared, wish, inputs)]

    def _each_word(
        self, task: Descriptions, image: PreprocessedImage, wish: Text | Top, extra: Arrays
    ) -> list[Explanation]:
        """Explain the words of a text; of the model's own where *wish* names none."""
        look = self.network.look(image.tensor, image.content, extra)
        with self.network.telling_guess():
            return [one for word in task.words(wish, look) for one in self._explain([image], word, extra)]

    def best(self, image: Image, count: int, inputs: Mapping[str, InputValue] | None = None) -> list[Explanation]:
        """Explain the *count* classes, or detected objects, with the highest scores, in their order.

        TargetError where the model is neither a classifier nor a detector.
        """
        if not isinstance(self.network.task, Classes | Detections):
            raise TargetError(
                f"only classifiers and detectors have {count} best targets; this is {self.network.task.name}"
            )
        prepared = self.prepare(image)
        found = self._of_classes(prepared, [Top(count)], inputs)
        if found is not None:
            return found
        first = self(prepared, "top", inputs)
        look = self.network.look(prepared.tensor, prepared.content, self.network.read_inputs(inputs or {}))
        with self.network.telling_guess():
            order = self.network.task.ranked(replace(look, known=first.outputs))
        return [first, *(self(prepared, wish, inputs) for wish in order[1:count])]

    def _of_classes(
        self, prepared: PreprocessedImage, wishes: Sequence[TargetKind], inputs: Mapping[str, InputValue] | None
    ) -> list[Explanation] | None:
        """Explain several classes of one image in one run; None where *wishes* are no such classes."""
        task = self.network.task
        if isinstance(task, Classes):
            for wish in wishes:
                self._tell_count(task, wish)
        count = sum(wish.count if isinstance(wish, Top) else 1 for wish in wishes)
        if count < 2 or not (isinstance(task, Classes) and all(isinstance(wish, Top | Class) for wish in wishes)):
            return None
        extra = self.network.read_inputs(inputs or {})
        look = self.network.look(prepared.tensor, prepared.content, extra)
        with self.network.telling_guess():
            goals = [goal for wish in wishes for goal in task.goals(wish, look)]
            request = ExplanationRequest(prepared.tensor, goals[:1], extra)
            found = self._runner.classes(request, goals)
        if found is None:
            return None
        return [
            self._assembler.explanation(
                prepared.content, replace(request, goals=[goal]), compiled, one, name=prepared.name
            )
            for goal, (compiled, one) in zip(goals, found, strict=True)
        ]

    def _tell_count(self, task: Classes, wish: TargetKind) -> None:
        """Warn where *wish* is more classes than there are."""
        if isinstance(wish, Top) and wish.count > task.scores.classes:
            self.network.warn(f"top={wish.count}: the model has {task.scores.classes} classes, and all are explained")


def listed(wanted: Target | Sequence[Target], count: int = 1) -> list[Target]:
    """Return a list of targets as it is, one target *count* times."""
    alone = wanted is None or isinstance(wanted, str | int | np.integer | TargetKind)
    each: list[Any] = [wanted] * count if alone else list(wanted)  # type: ignore[arg-type]
    return each
