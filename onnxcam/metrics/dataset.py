"""The pictures on which all methods are measured alike: read, checked against the truth, and made cases."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from onnxcam.errors import GradientError, ImageError, MetricError, TruthError
from onnxcam.explainer.explainer import Explainer
from onnxcam.media import heatmap
from onnxcam.media import image as pictures
from onnxcam.metrics.base import Array, Case, Network
from onnxcam.metrics.map_sources import Source
from onnxcam.metrics.truth import Label, Region, Truth
from onnxcam.targets import Target
from onnxcam.targets.classes import class_index

PathLike: TypeAlias = "str | os.PathLike[str]"


@dataclass(frozen=True)
class Item:
    """One picture and one class of it."""

    number: int
    image: PathLike
    target: int
    label: str | None  # the class's name, where it is known
    keys: tuple[Label, ...]  # by which the truth knows it


@dataclass(frozen=True)
class Loaded:
    """An item, its picture, and the tensor [1, …]."""

    item: Item
    picture: NDArray[np.uint8]
    tensor: Array


class Bench:
    """The pictures, and the classes that are explained in each.

    Every picture and its truth are read once before anything is measured, and again when they are needed, so that
    memory holds one batch.

    Args:
        network: Answers what is asked of the network.
        truth: Where the objects are, None where nobody knows.
        target: The class; None for every class that the truth names in a picture, else the network's top class.
        images: Picture files.
        batch_size: How many pictures, or versions of one, a pass holds.
        seed: Of all that is left to chance.
    """

    def __init__(
        self,
        network: Explainer,
        truth: Truth | None,
        target: Target,
        images: tuple[PathLike, ...],
        batch_size: int,
        seed: int,
    ) -> None:
        self.network, self.truth, self.target = network, truth, target
        self.batch_size, self.seed = batch_size, seed
        if network.class_count is None:
            raise MetricError(
                f"evaluate measures the maps of classifiers; this is {network.network.task.name}, whose maps "
                "`onnxcam explain` makes"
            )
        self.classes = network.class_count
        images = tuple(dict.fromkeys(images))
        if not images:
            raise ImageError("no picture to evaluate on; name some")
        if batch_size < 1:
            raise MetricError(f"the batch size is at least 1, not {batch_size}")
        if truth is not None and truth.single and len(images) > 1:
            raise TruthError(f"one mask, '{truth.path}', for {len(images)} pictures; give a folder of masks")
        found = [(image, index, keys) for image in images for index, keys in self._classes(image).items()]
        self.items = [
            Item(number, image, index, self._name(index), keys) for number, (image, index, keys) in enumerate(found)
        ]

    def _classes(self, image: PathLike) -> dict[int, tuple[Label, ...]]:
        """Return the classes to explain in *image*, and how the truth calls each."""
        picture = pictures.read(image)
        regions = {} if self.truth is None else self.truth.regions(image, picture.shape[:2])
        named: dict[int, tuple[Label, ...]] = {}
        for label in (label for label in regions if label is not None):
            index = class_index(label, self.classes, self.network.class_names)
            named[index] = (*named.get(index, ()), label)  # a class may have several names
        if named and self.target is None:
            return named
        index = int(self.network.classes(self.network.preprocessing(picture), self.target)[0])
        if named and index not in named:
            there = ", ".join(self._name(i) or str(i) for i in named)
            raise TruthError(
                f"{os.fspath(image)}: the truth has no object of class {self._name(index) or index!r}, there are "
                f"{there}; leave the picture or the target out"
            )
        return {index: named.get(index, (None,))}

    def _name(self, index: int) -> str | None:
        return self.network.class_names[index] if self.network.class_names else None

    @cached_property
    def channel(self) -> int:
        """The axis of channels of the model's input, without the batch."""
        return 0 if self.network.preprocessing.layout == "nchw" else 2

    @cached_property
    def unit(self) -> Array:
        """What black and white differ by in the tensor, [C, 1, 1]."""
        size = pictures.read(self.items[0].image).shape
        white, black = (self.network.preprocessing(np.full(size, value, np.uint8))[0] for value in (255, 0))
        difference = np.abs(white.astype(np.float64) - black)
        return np.moveaxis(difference, self.channel, 0).max((1, 2), keepdims=True)

    def _load(self) -> Iterator[list[Loaded]]:
        """Yield the items in batches of tensors of one shape."""
        batch: list[Loaded] = []
        for item in self.items:
            picture = pictures.read(item.image)
            loaded = Loaded(item, picture, self.network.preprocessing(picture))
            if batch and (len(batch) == self.batch_size or loaded.tensor.shape != batch[0].tensor.shape):
                yield batch
                batch = []
            batch.append(loaded)
        yield batch

    def batches(self) -> Iterator[tuple[Array, Array]]:
        """Yield the tensors [N, …] and the classes [N] of all items."""
        return (_joined(batch) for batch in self._load())

    def cases(self, source: Source) -> Iterator[tuple[Item, Case]]:
        """Yield every item with the map that *source* makes of it."""
        for batch in self._load():
            for one, raw in zip(batch, source.maps(*_joined(batch)), strict=True):
                yield one.item, self._case(source, one, raw)

    def _case(self, source: Source, one: Loaded, raw: Array) -> Case:
        if not np.isfinite(raw).all():
            raise GradientError(
                f"the map of {source.id} for {os.fspath(one.item.image)} holds NaN or infinity; evaluate the model in "
                "float32"
            )
        x = np.moveaxis(one.tensor[0], self.channel, 0).astype(np.float32)
        height, width = one.picture.shape[:2]
        frame = self.network.preprocessing.frame(height, width)
        return Case(
            x=x,
            heat=source.heat(raw, x.shape[1:]),
            attribution=source.attribution(raw, x.shape[1:]),
            raw=raw,
            sensitivity=source.sensitivity,
            shown=heatmap.normalize(heatmap.enlarge(source.flat(raw), frame, (height, width))),
            unit=self.unit,
            network=Network(self.network, one.item.target, self.channel, one.tensor.dtype, self.batch_size),
            maker=source.maps,
            truth=self._region(one),
            seed=int(np.random.SeedSequence([self.seed, one.item.number]).generate_state(1)[0]),
        )

    def _region(self, one: Loaded) -> Region | None:
        if self.truth is None:
            return None
        regions = self.truth.regions(one.item.image, one.picture.shape[:2])
        own = [regions[key] for key in one.item.keys]
        mask = np.logical_or.reduce([region.mask for region in own])
        return Region(mask, tuple(box for region in own for box in region.boxes))


def _joined(batch: list[Loaded]) -> tuple[Array, Array]:
    return np.concatenate([one.tensor for one in batch]), np.array([one.item.target for one in batch])
