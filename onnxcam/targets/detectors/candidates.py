"""The candidates of a detector for one image, and the protocol of the decoders that give them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from onnxcam.metadata.reading import Part
from onnxcam.targets.aim import WeightsAim
from onnxcam.targets.detectors.coordinates import BoxElements
from onnxcam.targets.goal import Array

__all__ = ["Aimer", "Candidates", "Decoder", "aimer", "one_hot", "unit_of"]

Aimer = Callable[[int, int], tuple[WeightsAim, Array]]
"""From a candidate and a class to the aim and its weights, without the batch axis."""


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


def aimer(aim: WeightsAim, shape: Sequence[int], place: Callable[[int, int], dict[tuple[int, ...], float]]) -> Aimer:
    """Return the aimer whose weights over a tensor of *shape* are 0 but at the elements that *place* returns."""

    def weights(candidate: int, category: int) -> tuple[WeightsAim, Array]:
        found = np.zeros(shape, np.float32)
        for index, weight in place(candidate, category).items():
            found[index] = weight
        return aim, found

    return weights


def one_hot(scores: Array, classes: Array) -> Array:
    """Return [K, C] with the *scores* [K] at their *classes* [K], and 0 elsewhere."""
    columns = np.nan_to_num(classes).astype(int).clip(0)
    table = np.zeros((len(scores), int(columns.max(initial=0)) + 1))
    table[np.arange(len(scores)), columns] = scores
    return table


def unit_of(samples: Sequence[Array]) -> float:
    """Return 100 where *samples*, scores for a few images, are percent, else 1."""
    scores = np.concatenate([np.zeros(0), *(sample.reshape(-1) for sample in samples)])
    percent = len(scores) and scores.min() >= 0 and 1.5 < scores.max() <= 100 and (scores % 1 != 0).any()
    return 100 if percent else 1
