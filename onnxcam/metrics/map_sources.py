"""Sources of maps: explanation methods, and two baselines that ignore the image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, TypeAlias
from zlib import crc32

import numpy as np

from onnxcam.explainer.explainer import Explainer
from onnxcam.media import heatmap
from onnxcam.media.resample import placed, resized
from onnxcam.methods import find_method
from onnxcam.metrics.base import Array
from onnxcam.model.modality import Modality
from onnxcam.structure.place import Place

__all__ = [
    "BASELINES",
    "CELLS",
    "MapSource",
    "Maps",
    "baseline",
    "centred",
    "of_method",
]

Maps: TypeAlias = Callable[[Array, Array], Array]
"""Function from tensors [N, …] and classes [N] to raw maps [N, …]."""

BASELINES = ("random", "centre")
CELLS = 7
"""Cells per side of the random map: as coarse as a CAM, because finer noise would disturb any model."""

_SENSITIVITIES = frozenset(
    "gradient deconvnet guided-backprop guided-gradcam guided-gradcam++ smoothgrad vargrad".split()
)
"""Methods whose map is a gradient (effect of a change of the image), not an attribution (effect of the image)."""


@dataclass(frozen=True)
class MapSource:
    """Named source of maps, and the layout of these maps."""

    id: str
    maps: Maps
    channel: int | None = None  # channel axis of maps of the input's shape; None for maps [h, w]
    explainer: Explainer | None = None  # None for a baseline

    @property
    def sensitivity(self) -> bool:
        """Whether the map is a gradient."""
        return self.explainer is not None and find_method(self.id).sensitivity

    def flat(self, raw: Array) -> Array:
        """Return *raw* as a map [h, w]; maps of the input's shape become that of `Explanation.map`."""
        summed = self.explainer is not None and find_method(self.id).sums_channels
        return heatmap.flat(raw, self.channel, summed=summed)

    def heat(self, raw: Array, size: tuple[int, ...]) -> Array:
        """Return *raw* as a map resized to the tensor's *size* (h, w)."""
        flat, place = self.flat(raw).astype(np.float32), self._place(size)
        return resized(flat, size) if place is None else placed(place.upright(flat), place.intervals, place.seen, size)

    def _place(self, size: tuple[int, ...]) -> Place | None:
        return None if self.explainer is None else self.explainer.place(size)

    def shown(self, raw: Array, modality: Modality, seen: Any, tensor: tuple[int, ...]) -> Array:
        """Return *raw* as a map of the size of what was *seen*, as `Explanation.map`; *tensor* is the tensor's size."""
        return heatmap.normalize(modality.enlarge(self.flat(raw), seen, self._place(tensor), tensor))

    def attribution(self, raw: Array, size: tuple[int, ...]) -> Array:
        """Return *raw* as a signed map resized to *size* (h, w): [C, h, w] or [1, h, w]."""
        return resized(raw, size)[None] if self.channel is None else np.moveaxis(raw, self.channel, 0)


def of_method(explainer: Explainer, channel: int) -> MapSource:
    """Return *explainer* as a source of maps; *channel* is the channel axis of its input, without the batch axis.

    One that is no classifier explains its default target.
    """
    at_layer = find_method(explainer.method).at_layer

    def maps(x: Array, targets: Array) -> Array:
        return explainer.attribute(x, targets.tolist() if explainer.class_count is not None else None)

    return MapSource(explainer.method, maps, None if at_layer else channel, explainer)


def baseline(id: str, channel: int, seed: int) -> MapSource:
    """Return the baseline *id*, one of `BASELINES`.

    ``random``: a grid of 7 × 7 uniform random numbers per image, 7 on each axis, enlarged linearly. ``centre``: a
    Gaussian at the centre with a standard deviation of a quarter of each side. Neither runs the model.
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
    """Return a Gaussian at the centre of a grid of *size*; its standard deviation is a quarter of each side."""
    bells = [np.exp(-0.5 * ((np.arange(length) + 0.5 - length / 2) / (length / 4)) ** 2) for length in size]
    return reduce(np.multiply.outer, bells).astype(np.float32)
