"""Images, signals or volumes of an evaluation, and their classes: read, checked by the truth, made cases."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from onnxcam.errors import GradientError, ImageError, MetricError, TruthError
from onnxcam.explainer.explainer import Explainer
from onnxcam.media import image as pictures
from onnxcam.metrics.base import Array, Case, ClassPredictor, CosinePredictor
from onnxcam.metrics.map_sources import MapSource
from onnxcam.metrics.truth import Region, Truth
from onnxcam.model.clip_modality import ClipModality
from onnxcam.model.modality import Modality
from onnxcam.paths import PathLike
from onnxcam.shards import Shard, picture_ids
from onnxcam.targets import Target, parse
from onnxcam.targets.embedding import Embedding
from onnxcam.targets.groups import single_class
from onnxcam.targets.kinds import Like, Top
from onnxcam.targets.notation import Label

__all__ = ["Dataset", "Item", "LoadedItem", "none_measured"]


@dataclass(frozen=True)
class Item:
    """One image and one class in it."""

    number: int  # of the image in the list of all
    ordinal: int  # of the class in the image
    image: PathLike
    target: int
    label: str | None  # name of the class, if known
    keys: tuple[Label | None, ...]  # labels of the class in the ground truth


@dataclass(frozen=True)
class LoadedItem:
    """An item, what was read of its image, and the input tensor [1, …]."""

    item: Item
    seen: Any
    tensor: Array


class _NothingThereError(TruthError):
    """The truth has no object in an image."""


class Dataset:
    """Images, and the classes to explain in each.

    Every image and its ground truth are read once before the measurement, to find errors early, and again when needed,
    so that memory holds one batch.

    Args:
        network: Explainer that gives scores and probabilities.
        truth: Ground truth, or None.
        target: Class to explain; None: every class that the ground truth names in an image, otherwise the top class.
        images: Image files.
        batch_size: Images, or perturbed copies of one image, per pass.
        seed: Random seed.
        strict: Raise on an image that cannot be read; otherwise leave it out.
        shard: Shard whose images are explained; None for all images.

    Attributes:
        images: All images, also those of other shards.
        numbers: Numbers of the images of the shard, block by block.
        blocks: The items of each block.
        unreadable: (image, reason) of each image that is left out: it cannot be read, or has no object.

    Raises:
        ImageError: there is no image that can be read.
        MetricError: the model is no classifier, or the batch size is below 1.
        TruthError: the ground truth does not fit an image.
    """

    def __init__(
        self,
        network: Explainer,
        truth: Truth | None,
        target: Target,
        images: tuple[PathLike, ...],
        batch_size: int,
        seed: int,
        strict: bool = False,
        shard: Shard | None = None,
    ) -> None:
        self.network, self.truth, self.target = network, truth, target
        self.batch_size, self.seed = batch_size, seed
        self.compares = isinstance(network.network.task, Embedding) and isinstance(parse(target), Like)
        if network.class_count is None and not self.compares:
            what = network.network.task.name
            other = (
                "name what images are compared with, --target 'like=FILE' or 'like=\"a dog\"'"
                if isinstance(network.network.task, Embedding)
                else "`onnxcam explain` makes its maps"
            )
            raise MetricError(f"evaluate measures the maps of classifiers; this is {what}: {other}")
        kind = parse(target, network.class_names)
        if network.class_count is not None and not isinstance(kind, Top):
            self.target = single_class(kind, network.class_count, network.class_names)
        if self.compares:
            network.network.resolve(target, network.network.probe_look())  # wrong for one image, wrong for all
        if network.network.layout is None or isinstance(network.network.modality, ClipModality):
            raise MetricError(
                "evaluate measures maps of images, signals and volumes, and this network takes something else: "
                "`onnxcam explain` makes its maps"
            )
        self._layout = network.network.layout
        self.classes = network.class_count or 0
        self.images = images = tuple(dict.fromkeys(images))
        if not images:
            raise ImageError("no image to evaluate on; name some")
        network.network.guess_by(images)
        if batch_size < 1:
            raise MetricError(f"the batch size is at least 1, not {batch_size}")
        if truth is not None and truth.single and len(images) > 1:
            raise TruthError(f"'{truth.path}' is the truth of one image, and there are {len(images)}; give a folder")
        self.unreadable: list[tuple[str, str]] = []
        self.numbers = (shard or Shard()).blocks(picture_ids(images), batch_size)
        self.blocks = [[item for number in block for item in self._items(number, strict)] for block in self.numbers]
        if shard is None and not self.items:
            raise none_measured(len(images), self.unreadable)

    @property
    def items(self) -> list[Item]:
        """All items, in the order of the images."""
        return [item for block in self.blocks for item in block]

    def _items(self, number: int, strict: bool) -> list[Item]:
        """Return the items of image *number*."""
        image = self.images[number]
        found = self._readable(image, strict).items()
        return [Item(number, at, image, index, self._name(index), keys) for at, (index, keys) in enumerate(found)]

    def _readable(self, image: PathLike, strict: bool) -> dict[int, tuple[Label | None, ...]]:
        """Return `_classes`; of an image that cannot be read, or without an object, none."""
        try:
            return self._classes(image)
        except (ImageError, _NothingThereError) as error:
            if strict:
                raise
            self.unreadable.append((os.fspath(image), str(error)))
            return {}

    def _classes(self, image: PathLike) -> dict[int, tuple[Label | None, ...]]:
        """Return the classes to explain in *image*, and the labels of each in the ground truth."""
        seen = self._modality.read(image)
        labels = self._labels(image, self._size(seen))
        if self.truth is not None and self.truth.locates and not labels:
            raise _NothingThereError(f"{os.fspath(image)}: the truth has no box and no mask in this image")
        if self.compares:
            return {0: self._unnamed(image, labels)}
        named: dict[int, tuple[Label | None, ...]] = {}
        for label in (label for label in labels if label is not None):
            index = self._index(label)
            named[index] = (*named.get(index, ()), label)  # a class may have several names
        if named and self.target is None:
            return named
        index = int(self.network.classes(self._modality.tensor(seen), self.target)[0])
        if named and index not in named:
            there = ", ".join(self._name(i) or str(i) for i in named)
            raise TruthError(
                f"{os.fspath(image)}: the truth has no object of class {self._name(index) or index!r}, there are "
                f"{there}; leave the image or the target out"
            )
        return {index: named.get(index, (None,))}

    def _unnamed(self, image: PathLike, labels: Collection[Label | None]) -> tuple[None]:
        """Return the key of regions without a class; TruthError where the truth has classes."""
        if any(label is not None for label in labels):
            raise TruthError(
                f"{os.fspath(image)}: the truth names classes, and {self.target!r} is none; give masks or boxes "
                "without classes of what it means"
            )
        return (None,)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about the truth."""
        if self.truth is None:
            return ()
        return (*self.truth.notes, *self.truth.order_notes(self.classes, self.network.class_names))

    @property
    def _modality(self) -> Modality:
        return self.network.network.modality

    def _size(self, seen: Any) -> tuple[int, ...]:
        """Return the size of an image by which its truth is read: a signal along time has one row."""
        size = self._modality.size(seen)
        return size if len(size) > 1 else (1, *size)

    def _labels(self, image: PathLike, size: tuple[int, ...]) -> Collection[Label | None]:
        """Return the labels of the truth in *image*; of a truth that locates, only those with a box or mask."""
        if self.truth is None:
            return ()
        return self.truth.regions(image, size) if self.truth.locates else self.truth.required(image, size).labels

    def _index(self, label: Label) -> int:
        assert self.truth is not None
        return self.truth.index(label, self.classes, self.network.class_names)

    def _name(self, index: int) -> str | None:
        if self.compares:
            return str(self.target)
        return self.network.class_names[index] if self.network.class_names else None

    @cached_property
    def channel(self) -> int:
        """Channel axis of the model's input, without the batch axis."""
        return self._layout.channel - 1

    def _unit(self, one: LoadedItem) -> Array:
        """Return what a full change is in each channel of the tensor, [C, 1, 1]: from black to white.

        Of signals and volumes it is the range of their own numbers.
        """
        if isinstance(one.seen, np.ndarray):
            return self._white
        x = np.moveaxis(one.tensor[0].astype(np.float64), self.channel, 0)
        return np.ptp(x, axis=tuple(range(1, x.ndim)), keepdims=True)

    @cached_property
    def _white(self) -> Array:
        """Difference of white and black in the tensor, [C, 1, 1]."""
        size = next(pictures.read(one.image).shape for one in self.items if self._modality.decodes(str(one.image)))
        white, black = (self.network.preprocessing(np.full(size, value, np.uint8))[0] for value in (255, 0))
        difference = np.abs(white.astype(np.float64) - black)
        return np.moveaxis(difference, self.channel, 0).max((1, 2), keepdims=True)

    def _load(self, done: Collection[int] = ()) -> Iterator[list[LoadedItem]]:
        """Yield the items in batches of equal tensor shape; omit blocks whose images are all *done*.

        A batch lies in one block of images, so that it is the same in a shard and in a resumed run.
        """
        for block in self.blocks:
            batch: list[LoadedItem] = []
            for item in [] if all(item.number in done for item in block) else block:
                seen = self._modality.read(item.image)
                loaded = LoadedItem(item, seen, self._modality.tensor(seen))
                if batch and (len(batch) == self.batch_size or loaded.tensor.shape != batch[0].tensor.shape):
                    yield batch
                    batch = []
                batch.append(loaded)
            if batch:
                yield batch

    def batches(self) -> Iterator[tuple[Array, Array]]:
        """Yield the tensors [N, …] and classes [N] of all items, batch by batch."""
        return (_joined(batch) for batch in self._load())

    def cases(self, source: MapSource, done: Collection[int] = ()) -> Iterator[tuple[Item, Case]]:
        """Yield every item and its case, with the map from *source*; omit the images with the numbers in *done*."""
        for batch in self._load(done):
            for one, raw in zip(batch, source.maps(*_joined(batch)), strict=True):
                if one.item.number not in done:
                    yield one.item, self._case(source, one, raw)

    def _case(self, source: MapSource, one: LoadedItem, raw: Array) -> Case:
        if not np.isfinite(raw).all():
            raise GradientError(
                f"the map of {source.id} for {os.fspath(one.item.image)} holds NaN or infinity; evaluate the model in "
                "float32"
            )
        x = np.moveaxis(one.tensor[0], self.channel, 0).astype(np.float32)
        size = x.shape[1:]
        return Case(
            x=x,
            heat=source.heat(raw, size),
            attribution=source.attribution(raw, size),
            raw=raw,
            sensitivity=source.sensitivity,
            shown=source.shown(raw, self._modality, one.seen, size).reshape(self._size(one.seen)),
            unit=self._unit(one),
            network=(CosinePredictor if self.compares else ClassPredictor)(
                self.network, one.item.target, self.channel, one.tensor.dtype, self.batch_size
            ),
            maker=source.maps,
            truth=self._region(one),
            seed=int(np.random.SeedSequence([self.seed, one.item.number, one.item.ordinal]).generate_state(1)[0]),
        )

    def _region(self, one: LoadedItem) -> Region | None:
        if self.truth is None or not self.truth.locates:
            return None
        regions = self.truth.regions(one.item.image, self._size(one.seen))
        own = [regions[key] for key in one.item.keys]
        mask = np.logical_or.reduce([region.mask for region in own])
        return Region(mask, tuple(box for region in own for box in region.boxes))


def none_measured(images: int, unreadable: Sequence[tuple[str, str]]) -> ImageError:
    """Return the error that none of that many *images* can be measured."""
    return ImageError(f"none of the {images} images can be measured; the first: {unreadable[0][1]}")


def _joined(batch: list[LoadedItem]) -> tuple[Array, Array]:
    return np.concatenate([one.tensor for one in batch]), np.array([one.item.target for one in batch])
