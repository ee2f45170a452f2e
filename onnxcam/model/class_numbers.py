"""Probabilities and scores of classes, of the outputs of a classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxcam.errors import ModelError
from onnxcam.model.model_file import ModelFile
from onnxcam.targets import probability
from onnxcam.targets.classification import Classes
from onnxcam.targets.scores import group_probability, is_no_probability, real_scores

__all__ = ["ClassNumbers"]


class ClassNumbers(ModelFile):
    """What a classifier's outputs say of its classes."""

    @property
    def probability_outputs(self) -> list[str] | None:
        """The outputs from which `probabilities` computes; None where the model is no classifier."""
        return [self.task.scores.output] if isinstance(self.task, Classes) else None

    def probabilities(self, outputs: Mapping[str, NDArray[Any]], classes: NDArray[Any]) -> NDArray[np.float64] | None:
        """Return the probability of each of *classes* [N]; None where the model gives none.

        It gives none where it is no classifier, or its scores are integers of unknown scale. ModelError where the
        outputs do not have N rows.
        """
        if not isinstance(self.task, Classes):
            return None
        scores = self.task.scores
        if len(outputs[scores.output]) != len(classes):
            raise ModelError(
                f"output {scores.output!r} has {len(outputs[scores.output])} rows for {len(classes)} images; "
                "export the model with an open batch"
            )
        rows = zip(outputs[scores.output], classes, strict=True)
        found = [probability(scores, {scores.output: row}, int(index), self.multi_label) for row, index in rows]
        return None if None in found else np.asarray(found, np.float64)

    def group_probability(self, outputs: Mapping[str, NDArray[Any]], classes: Sequence[int]) -> float | None:
        """Return the probability that the first image has one of *classes*; None where the model gives none."""
        if not isinstance(self.task, Classes):
            return None
        return group_probability(self.task.scores, outputs, classes, self.multi_label)

    def highest(self, outputs: Mapping[str, NDArray[Any]]) -> float | None:
        """Return the highest score of the first image where it is above 1 and the graph calls it a probability."""
        scores = self.task.scores if isinstance(self.task, Classes) else None
        if scores is None or scores.head not in ("softmax", "sigmoid"):
            return None
        real = real_scores(scores, outputs[scores.output][0])
        return None if real is None or not is_no_probability(real.max(initial=0)) else float(real.max())
