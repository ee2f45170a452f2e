"""Coordinates of one box, and their derivatives with respect to the elements from which it is decoded.

A box depends on few elements of the candidate's row. Central differences of the decoder in float64 give the
derivatives: the error is about 1e-8 of the derivative, below the rounding of the float32 weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from onnxcam.errors import TargetError
from onnxcam.targets.aim import WeightsAim
from onnxcam.targets.goal import Array, Goal

__all__ = ["COORDINATES", "BoxElements", "BoxPart", "DecodeBox", "at_coordinate", "box_part"]

DecodeBox = Callable[[Array], Array]
"""From M variants of a candidate's elements [M, K] to corners [M, 4]."""

COORDINATES: dict[str, Array] = {
    "x1": np.array([1.0, 0, 0, 0]),
    "y1": np.array([0, 1.0, 0, 0]),
    "x2": np.array([0, 0, 1.0, 0]),
    "y2": np.array([0, 0, 0, 1.0]),
    "x": np.array([0.5, 0, 0.5, 0]),
    "y": np.array([0, 0.5, 0, 0.5]),
    "width": np.array([-1.0, 0, 1, 0]),
    "height": np.array([0, -1.0, 0, 1]),
}
"""Each coordinate by name, as weights of the corners x1, y1, x2, y2; x and y are the centre."""

_STEP = 1e-4
_ROUNDING = 1e-7
"""A derivative that is so much smaller than the largest is the rounding of the differences."""


@dataclass(frozen=True)
class BoxPart:
    """Elements of one tensor from which the box of a candidate is decoded.

    Attributes:
        aim: Weights over the tensor.
        shape: The shape of the tensor, without the batch axis.
        places: The flat indices of the elements, [K].
        values: The elements, [K].
    """

    aim: WeightsAim
    shape: tuple[int, ...]
    places: Array
    values: Array

    def feed(self, weights: Array) -> Array:
        """Return *weights* [K] of the elements as weights of the whole tensor."""
        whole = np.zeros(int(np.prod(self.shape)))
        np.add.at(whole, self.places, weights)
        return whole.reshape(self.shape).astype(np.float32)


@dataclass(frozen=True)
class BoxElements:
    """All elements from which the box of one candidate is decoded, and the function that decodes variants of them."""

    parts: tuple[BoxPart, ...]
    corners: DecodeBox


def box_part(tensor: str, bare: Array, places: Sequence[int] | Array, batch: int | None = 0) -> BoxPart:
    """Return the elements of *bare*, a *tensor* without its batch axis, at the flat indices *places*."""
    at = np.asarray(places, np.int64)
    return BoxPart(WeightsAim(tensor, batch, exact=True), bare.shape, at, bare.reshape(-1)[at].astype(np.float64))


def at_coordinate(goal: Goal, box: BoxElements, coordinate: str, picture: DecodeBox) -> Goal:
    """Return *goal*, the score of a detection, with a *coordinate* of its box in place of the score.

    *picture* converts corners [M, 4] to the image's pixels. The explained scalar is Σ w y, w the derivatives of the
    coordinate with respect to the elements y of the box. TargetError where they lie in several tensors.
    """
    found = _slopes(box, picture)
    here = found[coordinate]
    if len(here) != 1:
        tensors = ", ".join(repr(part.aim.tensor) for part, _ in here) or "no tensor"
        others = ", ".join(name for name, parts in found.items() if len(parts) == 1) or "the score"
        raise TargetError(f"{coordinate} of this box is decoded from {tensors}, not from one tensor; take {others}")
    part, weights = here[0]
    words = f"{goal.words} coordinate={coordinate}"
    return replace(goal, aim=part.aim, feed=part.feed(weights), words=words)


def _slopes(box: BoxElements, picture: DecodeBox) -> dict[str, list[tuple[BoxPart, Array]]]:
    """Return for each coordinate the parts on which it depends, with its derivatives at their elements [K]."""
    values = np.concatenate([part.values for part in box.parts])
    steps = _STEP * np.maximum(1, np.abs(values))
    above, below = (picture(box.corners(values + sign * np.diag(steps))) for sign in (1, -1))
    slopes = (above - below) / (2 * steps[:, None])
    least = _ROUNDING * np.abs(slopes).max()
    cuts = np.cumsum([len(part.values) for part in box.parts])[:-1]
    return {
        name: [
            (part, one)
            for part, one in zip(box.parts, np.split(slopes @ weights, cuts), strict=True)
            if (np.abs(one) > least).any()
        ]
        for name, weights in COORDINATES.items()
    }
