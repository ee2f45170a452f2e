"""A target resolved for one image (`Goal`), and the image as its resolver sees it (`Look`)."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from onnxcam.errors import TargetError
from onnxcam.media import image as pictures
from onnxcam.media.frame import Frame
from onnxcam.structure.layout import Layout
from onnxcam.structure.place import Place
from onnxcam.targets.aim import Aim
from onnxcam.targets.notation import Corners, ImageSource

__all__ = ["Array", "Goal", "Look", "Reference", "Similarity"]

Array: TypeAlias = NDArray[Any]
T = TypeVar("T")


@dataclass(frozen=True)
class Similarity:
    """How similar the detections of a run are to the target detection.

    Attributes:
        tensors: The names of the tensors of a run that hold the detections.
        of: From these tensors for one image, [1, …] each, to a number from 0 to 1.
    """

    tensors: tuple[str, ...]
    of: Callable[[Sequence[Array]], float]


@dataclass(frozen=True, eq=False)
class Reference:
    """What the embedding of an image is compared with.

    Attributes:
        unit: Its embedding, float32 [D], of length 1; zero if the model's is.
        note: What it is, for the user; empty for an image.
        how: How texts become embeddings, for the user; empty for what is no text.
        inputs: The model's inputs that hold it, [T] each; of a text in a file of two towers.
    """

    unit: Array
    note: str = ""
    how: str = ""
    inputs: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class Goal:
    """A target resolved for one image: the aim, its run-time input, and the properties of the target."""

    aim: Aim
    feed: Array  # the aim's run-time input, without the batch axis
    words: str  # a target in words that means the same again
    index: int | None = None  # of the class
    label: str | None = None
    probability: float | None = None
    is_log_probability: bool = False  # whether the score is the logarithm of the target's probability
    box: Corners | None = None  # of a detection or patch, in the image's pixels
    similarity: Similarity | None = None  # of a detection
    region: NDArray[np.bool_] | None = None  # [h, w], the region of a detection in the tensor's pixels
    inputs: Mapping[str, Array] = field(default_factory=dict)  # further inputs that the target sets, likewise
    sides: tuple[tuple[int, ...], ...] = ()  # of a group or a contrast: the classes, and those against them
    note: str = ""  # what the default target resolved to, for the user
    warnings: tuple[str, ...] = ()  # what the user should know about this target


@dataclass
class Look:
    """One image as tensors, and the model's outputs for it. The model runs when an output is first needed."""

    feeds: Mapping[str, Array]  # every input, [1, …]
    image: str  # the name of the image input
    space: tuple[int, ...]  # the spatial axes of the image tensor
    frame: Frame | None  # the part of the image that the tensor covers; None if only the tensor is known
    picture: tuple[int, ...]  # the image's size; the tensor's, if only the tensor is known
    run: Callable[[Mapping[str, Array], Sequence[str] | None], Mapping[str, Array]]  # (feeds, names or None)
    prepare: Callable[[ImageSource], Array]  # another image to a tensor [1, …]
    read: Callable[[ImageSource], Array] = pictures.read  # a mask, as an image or volume
    text: Callable[[str, int], Reference] | None = None  # a text and D to its embedding; None without a text tower
    known: Mapping[str, Array] | None = None  # the outputs, if the model has run
    place: Callable[[str, Layout], Place | None] = lambda name, layout: None  # where a tensor lies; None: all of it

    def __post_init__(self) -> None:
        self._inside: dict[str, Array] = {}  # tensors inside the graph that were asked for
        self._known: dict[Hashable, Any] = {}  # what was computed of them

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what *make* computed of this look when *key* was first asked for."""
        if key not in self._known:
            self._known[key] = make()
        return self._known[key]

    @cached_property
    def outputs(self) -> Mapping[str, Array]:
        """The model's outputs, [1, …] each."""
        return self.run(self.feeds, None) if self.known is None else self.known

    def tensors(self, names: Sequence[str]) -> list[Array]:
        """Return tensors of the graph by their names."""
        inside = [name for name in names if name not in self.outputs and name not in self._inside]
        if inside:
            self._inside.update(self.run(self.feeds, inside))
        return [self.outputs[name] if name in self.outputs else self._inside[name] for name in names]

    def of(self, picture: ImageSource) -> Look:
        """Return a look at another image."""
        return self.at(self.prepare(picture))

    def at(self, tensor: Array) -> Look:
        """Return a look at another image tensor [1, …]."""
        return self.given({self.image: tensor})

    def given(self, inputs: Mapping[str, Array]) -> Look:
        """Return a look with other values of some inputs, [1, …] each."""
        return replace(self, feeds={**self.feeds, **inputs}, known=None)

    def mask(self, source: ImageSource) -> NDArray[np.bool_]:
        """Return where a mask, a file or array, is not zero; TargetError if its size is not the image's."""
        named = "the mask" if isinstance(source, np.ndarray) else f"the mask {source}"
        mask = source if isinstance(source, np.ndarray) else self.read(source)
        if mask.ndim == len(self.picture) + 1:
            mask = mask.max(axis=-1)
        if mask.shape != self.picture:
            sizes = [" × ".join(map(str, shape[::-1])) for shape in (mask.shape, self.picture)]
            raise TargetError(f"{named} has the size {sizes[0]}, the image {sizes[1]}; give one of the same size")
        if not mask.any():
            raise TargetError(f"{named} is empty: all of it is zero")
        return np.asarray(mask != 0)

    def sampled(
        self, mask: NDArray[np.bool_], size: Sequence[int], tensor: str, layout: Layout | None
    ) -> NDArray[np.bool_]:
        """Return a *mask* of the image's size at the centres of the cells of *tensor*, a grid of *size*."""
        pairs = zip(self.centres(size, tensor, layout), mask.shape, strict=True)
        sampled: NDArray[np.bool_] = mask[
            tuple(np.clip(np.floor(at), 0, length - 1).astype(np.int64) for at, length in pairs)
        ]
        return sampled

    def centres(self, size: Sequence[int], tensor: str, layout: Layout | None) -> list[Array]:
        """Return for each axis of the image where the centres of the cells of *tensor* lie, in pixels, each of *size*.

        A tensor without a *layout* covers the whole input.
        """
        place = None if layout is None else self.place(tensor, layout)
        intervals: Sequence[tuple[float, float]] = [(0.0, float(n)) for n in self.size]
        counts = list(size)
        if place is not None:
            intervals = place.intervals
            counts = [size[axis] for axis in np.argsort([span.source for span in place.spans])]
        axes = [
            self._pixels(axis, low + (np.arange(count) + 0.5) * (high - low) / count)
            for axis, ((low, high), count) in enumerate(zip(intervals, counts, strict=True))
        ]
        grids = np.meshgrid(*axes, indexing="ij")
        return [grid if place is None else place.turned(grid) for grid in grids]

    def _pixels(self, axis: int, centres: Array) -> Array:
        """Convert positions on one axis of the tensor to the image's pixels."""
        if self.frame is None:
            return centres
        start, end = ((self.frame.y0, self.frame.y1), (self.frame.x0, self.frame.x1))[axis]
        return start + centres * (end - start) / self.size[axis]

    def boxes(self, corners: Array) -> Array:
        """Convert rectangles [B, 4] from the tensor's pixels to the image's, float64."""
        x, y, right, below = self.to_picture((0, 0, 1, 1))
        return np.asarray(corners, np.float64) * [right - x, below - y, right - x, below - y] + [x, y, x, y]

    def patch(self, corners: Corners, size: Sequence[int], tensor: str, layout: Layout | None) -> Corners:
        """Convert a rectangle of cells of *tensor*, a grid of *size* (height, width), to the image's pixels."""
        (height, width), place = size, None if layout is None else self.place(tensor, layout)
        (h, w), (x1, y1, x2, y2) = self.size[-2:], corners
        if place is None:
            return self.to_picture((x1 * w / width, y1 * h / height, x2 * w / width, y2 * h / height))
        rows, columns = (0.0, 0.0), (0.0, 0.0)
        for span, (low, high), count in zip(place.spans, ((y1, y2), (x1, x2)), size, strict=True):
            start, end = span.ends
            ends = sorted(start + at * (end - start) / count for at in (low, high))
            rows, columns = ((ends[0], ends[1]), columns) if span.source == 0 else (rows, (ends[0], ends[1]))
        return self.to_picture((columns[0], rows[0], columns[1], rows[1]))

    @property
    def size(self) -> tuple[int, ...]:
        """The spatial size of the image tensor."""
        return tuple(self.feeds[self.image].shape[axis] for axis in self.space)

    def to_tensor(self, corners: Corners) -> Corners:
        """Convert a rectangle from the image's pixels to the tensor's."""
        if self.frame is None:
            return corners
        (height, width), f = self.size, self.frame
        x, y = width / (f.x1 - f.x0), height / (f.y1 - f.y0)
        x1, y1, x2, y2 = corners
        return (x1 - f.x0) * x, (y1 - f.y0) * y, (x2 - f.x0) * x, (y2 - f.y0) * y

    def to_picture(self, corners: Sequence[float]) -> Corners:
        """Convert a rectangle from the tensor's pixels to the image's."""
        x1, y1, x2, y2 = map(float, corners)
        if self.frame is None:
            return x1, y1, x2, y2
        (height, width), f = self.size, self.frame
        x, y = (f.x1 - f.x0) / width, (f.y1 - f.y0) / height
        return x1 * x + f.x0, y1 * y + f.y0, x2 * x + f.x0, y2 * y + f.y0
