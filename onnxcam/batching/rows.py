"""Explanations of one picture -> rows of a batch, with what the truth says of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxcam.batching.measures import measures
from onnxcam.batching.schema import BatchRow
from onnxcam.batching.sources import Picture
from onnxcam.errors import OnnxcamError, TargetError
from onnxcam.explainer.explainer import Explainer
from onnxcam.explainer.explanation import Explanation
from onnxcam.metrics.truth import Region, Truth
from onnxcam.metrics.truth.annotation import Annotation, regions
from onnxcam.targets.classification import Classes, class_index
from onnxcam.targets.notation import Label
from onnxcam.targets.scores import real_scores

__all__ = ["TrueContent", "failed_row", "row_of"]


@dataclass(frozen=True)
class TrueContent:
    """What is known to be in a picture.

    Attributes:
        labels: True labels; None where they are not known.
        regions: The pixels of each label.
        truth: The ground truth that says it; None for labels of a manifest.
    """

    labels: Sequence[Label] | None
    regions: dict[Label | None, Region]
    truth: Truth | None

    @classmethod
    def read(cls, picture: Picture, truth: Truth | None, size: tuple[int, int]) -> TrueContent:
        """Return what the source and the ground truth say of *picture* of *size* (H, W). TruthError."""
        annotation: Annotation | None = None if truth is None else truth.annotation(picture.path, size)
        if annotation is None:
            return cls(picture.truth, {}, None)
        own = annotation.labels or None
        return cls(own if picture.truth is None else picture.truth, regions(annotation, size), truth)

    def index(self, label: Label, network: Explainer) -> int | None:
        """Return the class index of a label; None where the model has no such class."""
        task = network.network.task
        if not isinstance(task, Classes):
            return None
        try:
            if self.truth is not None:
                return self.truth.index(label, task.scores.classes, network.class_names)
            return class_index(_number(label), task.scores.classes, network.class_names)
        except TargetError:
            return None

    def correct(self, predicted: int | None, network: Explainer) -> bool | None:
        """Return whether the class *predicted* is among the true labels; None where either is not known."""
        if predicted is None or not self.labels:
            return None
        known = [self.index(label, network) for label in self.labels]
        return None if all(one is None for one in known) else predicted in known

    def mask(self, explanation: Explanation, network: Explainer) -> NDArray[np.bool_] | None:
        """Return the pixels of the explained class, bool [H, W]; of all objects where it is none of them."""
        named = [
            region
            for label, region in self.regions.items()
            if label is not None
            and (label == explanation.label or self.index(label, network) == explanation.target is not None)
        ]
        found = named or list(self.regions.values())
        return np.logical_or.reduce([region.mask for region in found]) if found else None


def _number(label: Label) -> Label:
    return int(label) if isinstance(label, str) and label.isdecimal() else label


def row_of(explanation: Explanation, content: TrueContent, network: Explainer) -> BatchRow:
    """Return the row of an explanation, without the columns of its picture."""
    raw = np.ascontiguousarray(explanation.raw.astype("<f4", copy=False))
    predicted = _Predicted(explanation, network)
    return {
        "target": explanation.words,
        "index": explanation.target,
        "label": explanation.label,
        "score": explanation.score,
        "probability": explanation.probability,
        "detection": None if explanation.detection is None else [float(x) for x in explanation.detection],
        "predicted": predicted.index,
        "predicted_label": predicted.label,
        "predicted_probability": predicted.probability,
        "truth": None if content.labels is None else [str(label) for label in content.labels],
        "correct": content.correct(predicted.index, network),
        "layer": explanation.layer,
        "grid": list(raw.shape) if explanation.layer is not None else None,
        "map": raw.tobytes(),
        "map_shape": list(raw.shape),
        "map_dtype": "float32",
        "features": _halves(explanation.features),
        "note": explanation.note or None,
        "warnings": list(explanation.warnings),
        **measures(explanation, content.mask(explanation, network)),
    }


def failed_row(error: OnnxcamError, target: str | None) -> BatchRow:
    """Return the row of a picture that could not be explained."""
    return {"target": target, "error": str(error), "error_type": type(error).__name__}


@dataclass(frozen=True)
class _Predicted:
    """The class with the highest score in an explained picture, whatever was explained."""

    explanation: Explanation
    network: Explainer

    @cached_property
    def index(self) -> int | None:
        task = self.network.network.task
        if not isinstance(task, Classes):
            return None
        values = self.explanation.outputs[task.scores.output][0]
        real = real_scores(task.scores, values)
        return int(np.argmax(values.reshape(-1) if real is None else real))

    @property
    def label(self) -> str | None:
        names = self.network.class_names
        return names[self.index] if names and self.index is not None else None

    @property
    def probability(self) -> float | None:
        if self.index is None:
            return None
        if self.index == self.explanation.target:
            return self.explanation.probability
        found = self.network.network.probabilities(self.explanation.outputs, np.array([self.index]))
        return None if found is None else float(found[0])


def _halves(features: NDArray[np.float32] | None) -> bytes | None:
    if features is None:
        return None
    limited: Any = np.clip(features, -65504, 65504)
    return bytes(limited.astype("<f2").tobytes())
