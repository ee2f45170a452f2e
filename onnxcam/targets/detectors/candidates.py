"""The candidates of a detector for one image, and the protocol of the decoders that give them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np

from onnxcam.metadata.reading import Part
from onnxcam.targets.aim import WeightsAim
from onnxcam.targets.detectors.coordinates import BoxElements
from onnxcam.targets.goal import Array

__all__ = ["Aimer", "Candidates", "Decoder", "Element", "Elements", "looked_up", "one_hot", "unit_of"]


@dataclass(frozen=True)
class Element:
    """An element that the score of a candidate is made of.

    Attributes:
        tensor: Its place in `Aimer.tensors`.
        index: Its flat index in the tensor, without the batch axis.
        weight: Its weight; 0 where the candidate is not of this tensor.
    """

    tensor: int
    index: Any
    weight: Any


Elements: TypeAlias = "Callable[[Any, Any], Sequence[Element]]"
"""From candidates and their classes, numbers or arrays of one shape, to the elements of their scores."""


@dataclass(frozen=True)
class Aimer:
    """From a candidate and a class to the aim and its weights.

    Attributes:
        tensors: The tensors of scores, and their shapes without the batch axis.
        elements: The elements with weights; all others weigh 0.
    """

    tensors: Sequence[tuple[WeightsAim, tuple[int, ...]]]
    elements: Elements

    def __call__(self, candidate: int, category: int) -> tuple[WeightsAim, Array]:
        """Return the aim, and its weights without the batch axis."""
        found = self.elements(candidate, category)
        own = next((one.tensor for one in found if one.weight), found[0].tensor)
        aim, shape = self.tensors[own]
        weights = np.zeros(int(np.prod(shape)), np.float32)
        for one in found:
            if one.tensor == own:
                weights[one.index] = one.weight
        return aim, weights.reshape(shape)


@dataclass(frozen=True)
class Candidates:
    """All candidates of a detector for one image: B boxes of C classes."""

    corners: Array  # [B, 4] in the tensor's pixels; NaN where the place of a box is unknown
    scores: Array  # [B, C], probabilities
    aim: Aimer
    complete: bool = True  # the columns are all classes of the model
    objectness: Array | None = None  # [B], the probability of any object; None where the model has none
    cells: Array | None = None  # [B, 4], the corners of the cell of each candidate, where they are on a grid


class Decoder(Protocol):
    """The tensors of a detector's boxes and scores, and how they are decoded."""

    @property
    def tensors(self) -> tuple[str, ...]:
        """Return the tensors that `read` takes."""

    @property
    def aim(self) -> WeightsAim:
        """Return weights over the tensor of scores, or the first of several."""

    def read(self, tensors: Sequence[Array], size: tuple[int, ...]) -> Candidates:
        """Decode the *tensors* of one image whose tensor has *size* (height, width)."""

    def box(self, tensors: Sequence[Array], size: tuple[int, ...], candidate: int) -> BoxElements:
        """Return the elements of the *tensors* from which the box of *candidate* is decoded."""

    @property
    def source(self) -> str:
        """Return how the layout is known, a key of `onnxcam.metadata.reading.SOURCES`."""

    def parts(self) -> Iterator[Part]:
        """Yield the parts ``"boxes"`` and ``"scores"`` of the reading."""


def one_hot(scores: Array, classes: Array) -> Array:
    """Return [K, C] with the *scores* [K] at their *classes* [K], and 0 elsewhere."""
    columns = np.nan_to_num(classes).astype(int).clip(0)
    every = np.arange(columns.max(initial=0) + 1, like=columns)
    return np.where(columns[:, None] == every, scores[:, None], 0.0)


def looked_up(table: Array, index: Any) -> Any:
    """Return the elements of *table* [n] at *index*, a number or numbers [k]."""
    return np.take_along_axis(table, np.atleast_1d(index), 0)


def unit_of(samples: Sequence[Array]) -> float:
    """Return 100 where *samples*, scores for a few images, are percent, else 1."""
    scores = np.concatenate([np.zeros(0), *(sample.reshape(-1) for sample in samples)])
    percent = len(scores) and scores.min() >= 0 and 1.5 < scores.max() <= 100 and (scores % 1 != 0).any()
    return 100 if percent else 1
