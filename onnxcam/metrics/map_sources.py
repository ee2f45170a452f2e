"""Where maps come from: a method of onnxcam, or one of two baselines that never look at the picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TypeAlias
from zlib import crc32

import numpy as np

from onnxcam.explainer.explainer import Explainer
from onnxcam.media import heatmap
from onnxcam.media.resample import resized
from onnxcam.methods import find_method
from onnxcam.metrics.base import Array

Maps: TypeAlias = Callable[[Array, Array], Array]
"""Tensors [N, …] and classes [N] to raw maps [N, …]."""

BASELINES = ("random", "centre")
CELLS = 7
"""A side of the random map: as coarse as a CAM, else its noise would break any network."""

_SENSITIVITIES = frozenset(
    "gradient deconvnet guided-backprop guided-gradcam guided-gradcam++ smoothgrad vargrad".split()
)
"""Methods whose map is what a change of the picture would do, not what the picture did."""


@dataclass(frozen=True)
class MapSource:
    """Maps under one id, and how they lie on the tensor."""

    id: str
    maps: Maps
    channel: int | None = None  # the axis of channels of a map of the input's shape, None for a map [h, w]
    explainer: Explainer | None = None  # None for a baseline

    @property
    def sensitivity(self) -> bool:
        """Whether the map is a gradient."""
        return self.id in _SENSITIVITIES

    def flat(self, raw: Array) -> Array:
        """Return *raw* as a map [h, w]: of one of the input's shape the largest magnitude over the channels."""
        return heatmap.flat(raw, self.channel)

    def heat(self, raw: Array, size: tuple[int, ...]) -> Array:
        """Return *raw* as a map at the tensor's *size* [h, w]."""
        return resized(self.flat(raw).astype(np.float32), size)

    def attribution(self, raw: Array, size: tuple[int, ...]) -> Array:
        """Return *raw*, signed, at the tensor's *size*: [C, h, w] or [1, h, w]."""
        return resized(raw, size)[None] if self.channel is None else np.moveaxis(raw, self.channel, 0)


def of_method(explainer: Explainer, channel: int) -> MapSource:
    """Return the maps of *explainer*; *channel* is the axis of channels of its input, without the batch."""
    at_layer = find_method(explainer.method).at_layer

    def maps(x: Array, targets: Array) -> Array:
        return explainer.attribute(x, targets.tolist())

    return MapSource(explainer.method, maps, None if at_layer else channel, explainer)


def baseline(id: str, channel: int, seed: int) -> MapSource:
    """Return the maps of the baseline *id* of `BASELINES`.

    ``random``: a grid of 7 × 7 uniform numbers, another one for each picture, enlarged linearly. ``centre``: a Gaussian
    at the centre, its deviation a quarter of each side. Neither asks the network.
    """

    def size(tensor: Array) -> list[int]:
        return [length for axis, length in enumerate(tensor.shape) if axis != channel]

    def random(x: Array, targets: Array) -> Array:
        return np.stack([_random(size(tensor), [seed, crc32(tensor.tobytes())]) for tensor in x])

    def centre(x: Array, targets: Array) -> Array:
        return np.stack([centred(size(tensor)) for tensor in x])

    return MapSource(id, {"random": random, "centre": centre}[id])


def _random(size: list[int], seed: list[int]) -> Array:
    return resized(np.random.default_rng(seed).random([CELLS] * len(size), np.float32), size)


def centred(size: Sequence[int]) -> Array:
    """Return a Gaussian in the middle of a grid of *size*, its deviation a quarter of each side."""
    bells = [np.exp(-0.5 * ((np.arange(length) + 0.5 - length / 2) / (length / 4)) ** 2) for length in size]
    return reduce(np.multiply.outer, bells).astype(np.float32)
