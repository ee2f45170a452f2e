"""A target resolved for one image (`Goal`), and the image as its resolver sees it (`Look`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from onnxcam.errors import TargetError
from onnxcam.media import image as pictures
from onnxcam.media.frame import Frame
from onnxcam.targets.aim import Aim
from onnxcam.targets.notation import Corners, Picture

Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True)
class Goal:
    """A target, resolved for one picture: the aim's run-time input and what is known of the target."""

    aim: Aim
    feed: Array  # without the axis of pictures
    words: str  # that mean the same again
    index: int | None = None  # of the class
    label: str | None = None
    probability: float | None = None
    box: Corners | None = None  # of a detection, in the picture's pixels
    region: NDArray[np.bool_] | None = None  # what the evidence should cover, in the tensor's pixels
    inputs: Mapping[str, Array] = field(default_factory=dict)  # other inputs that the target sets
    note: str = ""  # what was taken where nothing was said


@dataclass
class Look:
    """One picture as tensors, and what the model puts out for it: it is run when somebody asks."""

    feeds: Mapping[str, Array]  # every input, [1, …]
    image: str  # which of them is the picture
    space: tuple[int, ...]  # the axes of space of the picture's tensor
    frame: Frame | None  # which part of the picture the tensor shows; None where only the tensor is known
    picture: tuple[int, ...]  # the lengths of the picture's axes of space; where only the tensor is known, of its
    run: Callable[[Mapping[str, Array], Sequence[str] | None], Mapping[str, Array]]  # None: the model's own outputs
    prepare: Callable[[Picture], Array]  # another picture to a tensor [1, …]
    read: Callable[[Picture], Array] = pictures.read  # a mask, as a picture or volume
    known: Mapping[str, Array] | None = None  # the outputs, where they are known

    @cached_property
    def outputs(self) -> Mapping[str, Array]:
        """What the model puts out, [1, …] each."""
        return self.run(self.feeds, None) if self.known is None else self.known

    def tensors(self, names: Sequence[str]) -> list[Array]:
        """Return tensors of the graph by their names."""
        inside = [name for name in names if name not in self.outputs]
        found = {**self.outputs, **(self.run(self.feeds, inside) if inside else {})}
        return [found[name] for name in names]

    def of(self, picture: Picture) -> Look:
        """Return the look at another picture."""
        return self.at(self.prepare(picture))

    def at(self, tensor: Array) -> Look:
        """Return the look at another picture's tensor [1, …]."""
        return self.given({self.image: tensor})

    def given(self, inputs: Mapping[str, Array]) -> Look:
        """Return the look with other values of some inputs, [1, …] each."""
        return replace(self, feeds={**self.feeds, **inputs}, known=None)

    def mask(self, source: Picture) -> NDArray[np.bool_]:
        """Return the mask in a file or an array: what is not zero. TargetError where it has not the picture's size."""
        named = "the mask" if isinstance(source, np.ndarray) else f"the mask {source}"
        mask = source if isinstance(source, np.ndarray) else self.read(source)
        if mask.ndim == len(self.picture) + 1:
            mask = mask.max(axis=-1)
        if mask.shape != self.picture:
            sizes = [" × ".join(map(str, shape[::-1])) for shape in (mask.shape, self.picture)]
            raise TargetError(f"{named} has the size {sizes[0]}, the picture {sizes[1]}; give one of the same size")
        if not mask.any():
            raise TargetError(f"{named} is empty: all of it is zero")
        return np.asarray(mask != 0)

    def places(self, size: Sequence[int]) -> list[Array]:
        """Return for a grid of *size* over the tensor where its cells' centres lie, by axis, in the picture."""
        spans = [(0.0, float(length)) for length in self.size]
        if self.frame is not None:
            spans = [(self.frame.y0, self.frame.y1), (self.frame.x0, self.frame.x1)]
        return [
            low + (np.arange(count) + 0.5) * (high - low) / count
            for (low, high), count in zip(spans, size, strict=True)
        ]

    @property
    def size(self) -> tuple[int, ...]:
        """The lengths of the picture tensor's axes of space."""
        return tuple(self.feeds[self.image].shape[axis] for axis in self.space)

    def to_tensor(self, corners: Corners) -> Corners:
        """Return a rectangle of the picture in the tensor's pixels."""
        if self.frame is None:
            return corners
        (height, width), f = self.size, self.frame
        x, y = width / (f.x1 - f.x0), height / (f.y1 - f.y0)
        x1, y1, x2, y2 = corners
        return (x1 - f.x0) * x, (y1 - f.y0) * y, (x2 - f.x0) * x, (y2 - f.y0) * y

    def to_picture(self, corners: Sequence[float]) -> Corners:
        """Return a rectangle of the tensor in the picture's pixels."""
        x1, y1, x2, y2 = map(float, corners)
        if self.frame is None:
            return x1, y1, x2, y2
        (height, width), f = self.size, self.frame
        x, y = (f.x1 - f.x0) / width, (f.y1 - f.y0) / height
        return x1 * x + f.x0, y1 * y + f.y0, x2 * x + f.x0, y2 * y + f.y0
