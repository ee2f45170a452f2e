"""Preprocessed tensors: their raw maps, scores, classes and probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxcam.errors import MethodError, ModelError, TargetError
from onnxcam.explainer.image_calls import ImageCalls
from onnxcam.explainer.request import Arrays, ExplanationRequest, select_rows
from onnxcam.explainer.target_calls import listed
from onnxcam.metadata.reserved import CHOSEN, MAP, SCORE
from onnxcam.targets import ClassAim, Target
from onnxcam.targets.classification import Classes

__all__ = ["TensorCalls"]


class TensorCalls(ImageCalls):
    """What an explainer says of batches of preprocessed tensors. See `onnxcam.Explainer`."""

    def attribute(self, x: NDArray[Any] | Arrays, target: Target | Sequence[Target] = None) -> NDArray[np.float32]:
        """Return the raw maps of preprocessed tensors.

        Args:
            x: The image input [N, …], or a dict of the image input and other inputs by name.
            target: The target of all, or a list of N. Boxes and points are in pixels of the tensor.

        Returns:
            For CAM methods float32 [N, h, w] at the layer's size (volumes [N, d, h, w]); for gradient methods float32
            in the input's shape, signed. Neither normalised nor enlarged.

        Raises:
            ModelError: *x* does not have the rank or the type of the model's input, or another input is missing.
            TargetError: a target means nothing for the model.
        """
        found = (self._tiled or self._runner).run(self._request(x, target))
        return np.concatenate([outputs[MAP] for _, outputs in found])

    def scores(self, x: NDArray[Any] | Arrays, target: Target | Sequence[Target] = None) -> NDArray[np.float64]:
        """Return the score of *target*, before softmax or sigmoid, float64 [N]. The arguments are `attribute`'s."""
        return (self._tiled or self._runner).outputs(self._request(x, target), [SCORE])[SCORE].astype(np.float64)

    def classes(self, x: NDArray[Any] | Arrays, target: Target | Sequence[Target] = None) -> NDArray[np.int64]:
        """Return the class index of *target*, int64 [N]: the model's top class for None and ``"top"``.

        TargetError where the target is no class.
        """
        return self._about_classes(x, target, [])[CHOSEN]

    def probabilities(self, x: NDArray[Any] | Arrays, target: Target | Sequence[Target] = None) -> NDArray[np.float64]:
        """Return the probability of the class *target*, float64 [N].

        MethodError where the model's scores are integers of unknown scale, TargetError where the target is no class.
        """
        outputs = self._about_classes(x, target, self.network.probability_outputs or [])
        found = self.network.probabilities(outputs, outputs[CHOSEN])
        if found is None:
            raise MethodError(
                "the model's scores are integers of unknown meaning, or above 1: there are no probabilities"
            )
        return found

    @property
    def class_count(self) -> int | None:
        """The number of classes; None where the model is no classifier."""
        task = self.network.task
        return task.scores.classes if isinstance(task, Classes) else None

    def _about_classes(
        self, x: NDArray[Any] | Arrays, target: Target | Sequence[Target], outputs: Sequence[str]
    ) -> Arrays:
        """Return the class indices and *outputs*, of one pass; TargetError where a target is no class."""
        request = self._request(x, target)
        if not all(isinstance(goal.aim, ClassAim) for goal in request.goals):
            raise TargetError(
                f"target {request.goals[0].words!r} is no class of a classifier; give an index or a label"
            )
        return self._runner.outputs(request, [CHOSEN, *outputs])

    def _request(self, x: NDArray[Any] | Arrays, target: Target | Sequence[Target]) -> ExplanationRequest:
        """Return the batch of tensors *x*, with what *target* means for each."""
        given = dict(x) if isinstance(x, Mapping) else {self.network.picture: x}
        tensor = self._checked(np.asarray(given.pop(self.network.picture)))
        each = self._each(target, len(tensor))
        looks = (
            self.network.look(tensor[row : row + 1], None, select_rows(given, [row], len(tensor)))
            for row in range(len(tensor))
        )
        return ExplanationRequest(tensor, [self._goal(one, look) for one, look in zip(each, looks, strict=True)], given)

    def _checked(self, tensor: NDArray[Any]) -> NDArray[Any]:
        """Return *tensor*; ModelError where its rank or its type is not that of the model's input."""
        shape = self.network.image.shape
        if tensor.ndim == 0 or (shape is not None and tensor.ndim != len(shape)):
            raise ModelError(
                f"the model takes {self.network.picture!r} {shape}, not an array {list(tensor.shape)}; "
                "give a batch of preprocessed tensors"
            )
        dtype = None if self.network.image.dtype is None else self.network.image.dtype.numpy()
        if dtype is not None and tensor.dtype != dtype:
            raise ModelError(
                f"the model takes {self.network.picture!r} as {dtype}, and this tensor is {tensor.dtype}; give "
                f"{_other_type(dtype)}, or the tensor of Explainer.prepare(image)"
            )
        return tensor

    def _each(self, wanted: Target | Sequence[Target], count: int) -> list[Target]:
        each = listed(wanted, count)
        if len(each) != count:
            raise TargetError(f"{len(each)} targets for {count} images; give one for all, or one each")
        return each


def _other_type(dtype: np.dtype[Any]) -> str:
    """Return what to give for an input of *dtype*: quantised integers, or a cast."""
    return "its quantised integers" if np.issubdtype(dtype, np.integer) else f"x.astype(np.{dtype})"
