"""A model opened as `Explainer` opens it, and the scalar that a target means with its gradient."""

from __future__ import annotations

from typing import Any

import onnx
from numpy.typing import NDArray

from onnxcam.model.description import ModelDescription
from onnxcam.model.diagnose import GradientSession
from onnxcam.model.prepared import PreparedModel
from onnxcam.targets import Goal, Look, Target
from onnxcam.testing import run

Array = NDArray[Any]


class Opened:
    """A model and what is known of it."""

    def __init__(self, model: onnx.ModelProto, **settings: Any) -> None:
        self.model = model
        self.network = ModelDescription(model, **settings)
        self.subject = PreparedModel.open(model, settings.get("wrt"))

    def look(self, x: Array, picture: Array | None = None, **others: Array) -> Look:
        """Return the look at the tensor *x* [1, …]."""
        return self.network.look(x, picture, others)

    def goal(self, target: Target, x: Array, picture: Array | None = None, **others: Array) -> Goal:
        """Return what *target* means for the tensor *x*."""
        return self.network.resolve(target, self.look(x, picture, **others))

    def gradient(self, goal: Goal, x: Array, **others: Array) -> Array:
        """Return the gradient of *goal*'s scalar at the image."""
        extra = {**others, **{name: value[None] for name, value in goal.inputs.items()}}
        feeds = {**self.network.feeds(x, extra), goal.aim.input: goal.feed[None]}
        (found,) = GradientSession(self.subject, goal.aim, [self.network.image.name or ""])(feeds)
        assert found is not None
        return found

    def outputs(self, x: Array, **others: Array) -> dict[str, Array]:
        """Return what the plain model puts out."""
        return run(self.model, {self.network.image.name or "": x, **others})
