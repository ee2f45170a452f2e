"""A batch of images with what is to be explained in each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from onnxcam.model.description import ModelDescription
from onnxcam.targets import Goal

__all__ = ["Array", "Arrays", "ExplanationRequest", "PreprocessedImage", "select_rows"]

Array: TypeAlias = NDArray[Any]
Arrays: TypeAlias = Mapping[str, Array]


@dataclass(frozen=True, eq=False)
class PreprocessedImage:
    """An image that was read and preprocessed for one model.

    Attributes:
        content: What the model's modality reads: uint8 [H, W, 3] RGB, or a volume.
        tensor: The model's input tensor, [1, …].
        name: The name of its file without the suffix; empty for an array.
    """

    content: Any
    tensor: Array
    name: str = ""

    def __repr__(self) -> str:
        """Return one line: the name and the shape of the tensor, without arrays."""
        return f"PreprocessedImage({self.name or 'an array'}: {' × '.join(map(str, self.tensor.shape))})"


@dataclass(frozen=True)
class ExplanationRequest:
    """A batch of preprocessed images, what is explained in each, and the model's other inputs.

    Attributes:
        tensor: The images' tensors, [N, …].
        goals: What is explained in each, N.
        extra: The other inputs by name, [1, …] for all images or [N, …] each.
    """

    tensor: Array
    goals: Sequence[Goal]
    extra: Arrays = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.tensor)

    def of(self, rows: Sequence[int]) -> ExplanationRequest:
        """Return some rows of the batch; all of them without a copy."""
        chosen, count = list(rows), len(self)
        if chosen == list(range(count)):
            return self
        extra = select_rows(self.extra, chosen, count)
        return ExplanationRequest(self.tensor[chosen], [self.goals[row] for row in chosen], extra)

    def feeds(self, network: ModelDescription) -> dict[str, Array]:
        """Return every input of the explanation graph; all goals must have the same aim."""
        inputs = {name: np.stack([goal.inputs[name] for goal in self.goals]) for name in self.goals[0].inputs}
        own = network.feeds(self.tensor, {**self.extra, **inputs})
        return {**own, self.goals[0].aim.input: np.stack([goal.feed for goal in self.goals])}


def select_rows(arrays: Arrays, rows: Sequence[int], count: int) -> dict[str, Array]:
    """Return *rows* of the arrays that have one row for each of *count* images; the others as they are."""
    chosen = list(rows)
    return {name: array[chosen] if array.shape[:1] == (count,) else array for name, array in arrays.items()}
