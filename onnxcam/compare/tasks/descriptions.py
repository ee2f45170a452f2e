"""Comparison of vision-language decoders: the texts that they write, and the map of each word of the reference's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from onnxcam.compare.outcome import Outcome, Prediction
from onnxcam.compare.tasks.observation import Observation, Observed, PreparedImage, Wanted
from onnxcam.compare.tasks.text import CaptionPrediction, TextPrediction
from onnxcam.errors import TargetError
from onnxcam.metadata.reserved import SCORE
from onnxcam.targets import parse
from onnxcam.targets.descriptions import Descriptions
from onnxcam.targets.goal import Goal, Look
from onnxcam.targets.kinds import Text, Top

__all__ = ["DescriptionObservation", "DescriptionPrediction"]


@dataclass(frozen=True)
class DescriptionPrediction(CaptionPrediction):
    """Text that a decoder writes of one image.

    Attributes:
        written: The text, with its punctuation; *units* are its words, and there is no *alphabet*.
    """

    written: str = ""

    task = "description"
    forms: ClassVar[Mapping[str, str]] = {**TextPrediction.forms, "written": "text"}

    @property
    def text(self) -> str:
        """Return the text."""
        return self.written


class DescriptionObservation(Observation):
    """Decoders. The first words of the reference's text are explained in both, each after the words before it."""

    task = Descriptions
    prediction = DescriptionPrediction

    def predict(self, model: Observed, look: Look) -> DescriptionPrediction:
        """Return the text that the model writes of one image."""
        task = _task(model)
        text = task.written(look)
        return DescriptionPrediction(task.subwords.split(text).words, (), True, text)

    def targets(self, model: Observed, prediction: Prediction) -> Wanted:
        """Return the words of the text."""
        assert isinstance(prediction, DescriptionPrediction)
        return [Text(prediction.written, place) for place in range(len(prediction.units))]

    def check(self, model: Observed, target: int | str) -> None:
        """Raise TargetError for a target that is neither ``"top"`` nor a text, or whose words the tokenizer lacks."""
        wish = parse(target)
        if wish == Top():
            return
        if not isinstance(wish, Text):
            raise TargetError(
                f"target {target!r} is not for {model.network.task.name}: leave it out, or name a text whose words are "
                'explained, text="a red star"'
            )
        model.network.resolve(wish, model.network.probe_look())

    def score(self, prediction: Prediction, goal: Goal, outputs: Mapping[str, Any]) -> float | None:
        """Return the probability of the word, given those before it."""
        return float(np.exp(np.float64(outputs[SCORE].reshape(-1)[0]))) if SCORE in outputs else None

    def _outcome(self, model: Observed, image: PreparedImage, wanted: Wanted | None, only: int | None) -> Outcome:
        if wanted is not None:
            look, task = model.look(image), _task(model)
            kinds = [parse(target) for target in wanted]
            words = [word for one in kinds if isinstance(one, Text) for word in task.words(one, look)]
            wanted = words[: max(model.objects, len(wanted))]
        return super()._outcome(model, image, wanted, only)


def _task(model: Observed) -> Descriptions:
    task = model.network.task
    assert isinstance(task, Descriptions)
    return task
