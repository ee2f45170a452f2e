"""Layouts: which axes of a tensor are channels and which are space; the model's image input and its layout.

A `GridLayout` has one axis for each spatial axis, in any order (NCHW, NHWC, NCDHW). A `TokenLayout` has one axis of
tokens: the cells of a grid, with class and register tokens before or after them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam.autodiff.rules import compose
from onnxcam.autodiff.rules.blocked import plain
from onnxcam.errors import ModelError
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.infer import no_numbers
from onnxcam.structure.channel_axis import FEW, channels_last

__all__ = [
    "FEATURES",
    "BlockedLayout",
    "Dim",
    "GridLayout",
    "Layout",
    "TokenLayout",
    "is_picture",
    "may_be_image",
    "picture_input",
    "picture_layout",
]

Dim: TypeAlias = Any  # an int, or an onnx_ir symbolic dimension


@dataclass(frozen=True)
class GridLayout:
    """Axes of a tensor: one of channels, the others spatial, in order, and one of images, None where it has none.

    *idle* axes have length 1 and no meaning: a signal has one where its convolutions are those of images.
    """

    channel: int
    space: tuple[int, ...]
    batch: int | None = 0
    idle: tuple[int, ...] = ()

    def maps(self, op: Emitter, x: ir.Value) -> ir.Value:
        """Return *x* as [N, K, *space]."""
        if self.batch is None:
            return self.with_batch().maps(op, op.Unsqueeze(x, [0]))
        order = [self.batch, self.channel, *self.space, *self.idle]
        ordered = x if order == sorted(order) else op.Transpose(x, perm=order)
        return op.Squeeze(ordered, [*range(2 + len(self.space), self.rank)]) if self.idle else ordered

    def view(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return *x* as [N, K, *space], a view."""
        if self.batch is None:
            return self.with_batch().view(x[None])
        ordered = x.transpose(self.batch, self.channel, *self.space, *self.idle)
        return ordered.reshape(ordered.shape[: 2 + len(self.space)]) if self.idle else ordered

    @property
    def rank(self) -> int:
        """Return the number of axes."""
        return 1 + (self.batch is not None) + len(self.space) + len(self.idle)

    def size(self, x: ir.Value) -> tuple[Dim, ...]:
        """Return the lengths of the spatial axes, None where unknown."""
        return tuple(None if x.shape is None else x.shape[axis] for axis in self.space)

    def permuted(self, perm: Sequence[int]) -> GridLayout:
        """Return the layout after a transpose."""
        batch = None if self.batch is None else perm.index(self.batch)
        space, idle = (tuple(perm.index(axis) for axis in axes) for axes in (self.space, self.idle))
        return GridLayout(perm.index(self.channel), space, batch, idle)

    def with_batch(self) -> GridLayout:
        """Return the layout after an axis of images is added in front."""
        space, idle = (tuple(axis + 1 for axis in axes) for axes in (self.space, self.idle))
        return GridLayout(self.channel + 1, space, idle=idle)

    def without_batch(self) -> GridLayout:
        """Return the layout after the first axis, the one of images, is removed."""
        space, idle = (tuple(axis - 1 for axis in axes) for axes in (self.space, self.idle))
        return GridLayout(self.channel - 1, space, None, idle)


@dataclass(frozen=True)
class BlockedLayout(GridLayout):
    """A grid in ONNX Runtime's blocked memory layout for convolutions (NCHWc), declared as [N, K, *space]."""

    def maps(self, op: Emitter, x: ir.Value) -> ir.Value:
        """Return *x* as [N, K, *space], padding channels included."""
        return plain(op, x, compose.length(x, 1))


@dataclass(frozen=True)
class TokenLayout:
    """Axes of channels, tokens and images (*batch*, None where the tensor has no such axis).

    The tokens ``offset`` to ``offset + prod(grid)`` are the cells of a grid. Cell k in row-major order is the token
    ``offset + order[k]``; without *order* the tokens are in row-major order themselves.
    """

    channel: int
    token: int
    grid: tuple[int, ...]
    offset: int = 0
    batch: int | None = 0
    order: tuple[int, ...] | None = None

    @property
    def rank(self) -> int:
        """Return the number of axes."""
        return 2 + (self.batch is not None)

    @property
    def cells(self) -> int:
        """Return the number of tokens that are cells of the grid."""
        count = 1
        for length in self.grid:
            count *= length
        return count

    @property
    def end(self) -> int:
        """Return the index after the last cell."""
        return self.offset + self.cells

    def maps(self, op: Emitter, x: ir.Value) -> ir.Value:
        """Return the cells of *x* as [N, K, *grid]."""
        if self.batch is None:
            return self.with_batch().maps(op, op.Unsqueeze(x, [0]))
        cells = op.Slice(x, [self.offset], [self.end], [self.token])
        if self.order is not None:
            cells = op.Gather(cells, op.const(np.asarray(self.order, np.int64)), axis=self.token)
        perm = [self.batch, self.channel, self.token]
        if perm != sorted(perm):
            cells = op.Transpose(cells, perm=perm)
        return op.Reshape(cells, [0, 0, *self.grid])

    def view(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return the cells of *x* as [N, K, *grid]; a view where the tokens are in order."""
        if self.batch is None:
            return self.with_batch().view(x[None])
        cells = x.transpose(self.batch, self.channel, self.token)[:, :, self.offset : self.end]
        if self.order is not None:
            cells = cells[:, :, list(self.order)]
        return cells.reshape(*cells.shape[:2], *self.grid)

    def size(self, x: ir.Value) -> tuple[Dim, ...]:
        """Return the lengths of the grid's axes."""
        return self.grid

    def permuted(self, perm: Sequence[int]) -> TokenLayout:
        """Return the layout after a transpose."""
        batch = None if self.batch is None else perm.index(self.batch)
        return replace(self, channel=perm.index(self.channel), token=perm.index(self.token), batch=batch)

    def with_batch(self) -> TokenLayout:
        """Return the layout after an axis of images is added in front."""
        return replace(self, channel=self.channel + 1, token=self.token + 1, batch=0)

    def without_batch(self) -> TokenLayout:
        """Return the layout after the first axis, the one of images, is removed."""
        return replace(self, channel=self.channel - 1, token=self.token - 1, batch=None)


Layout: TypeAlias = GridLayout | TokenLayout


def picture_input(graph: ir.Graph, name: str | None = None) -> ir.Value:
    """Return the input of *graph* called *name*; without a name the only input, or the only one with an image's shape.

    Of several, it is the one with colours, the largest one, or the first of equal ones. ModelError if the inputs do not
    tell, or the input is not a tensor of numbers.
    """
    inputs = list(graph.inputs)
    shown = ", ".join(f"{value.name!r} {value.shape}" for value in inputs)
    numeric = [value for value in inputs if picture_layout(value) is not None and no_numbers(value) is None]
    grids = [value for value in numeric if is_picture(value)] or numeric
    if name is not None:
        chosen = next((value for value in inputs if value.name == name), None)
        if chosen is None:
            raise ModelError(f"the model has no input {name!r}; there are {shown}")
    elif len(inputs) == 1 or len(grids) == 1:
        chosen = grids[0] if grids else inputs[0]
    elif (found := _likeliest(grids)) is not None:
        chosen = found
    elif any(map(_are_features, grids)) and not any(map(may_be_image, grids)):
        raise ModelError(
            f"no input of the model is an image ({shown}): it takes what another model makes of one, as the decoder of "
            "SAM does; explain the file of that encoder, or both joined by onnx.compose.merge_models"
        )
    elif grids:
        raise ModelError(f"several inputs of the model could be the image ({shown}); say which with --wrt NAME")
    else:
        raise ModelError(f"no input of the model could be an image ({shown}); say which to explain with --wrt NAME")
    what = no_numbers(chosen)
    if what is not None:
        raise ModelError(
            f"the model's input {chosen.name!r} is {what}, no image; onnxcam explains models that take a "
            "tensor of numbers: cut off what comes before it"
        )
    return chosen


def _likeliest(grids: Sequence[ir.Value]) -> ir.Value | None:
    """Return the image among inputs of an image's shape: one with colours, or the first of equal ones; else None."""
    found = [x for x in grids if may_be_image(x)]
    coloured = [x for x in found if _channels(x) == 3] or found
    alike = len({(str(x.shape), x.dtype) for x in coloured}) == 1
    return coloured[0] if alike else _largest(coloured)


def _largest(images: Sequence[ir.Value]) -> ir.Value | None:
    """Return the image with most pixels, such as the one that a tracker searches; None where lengths are open."""
    sizes = [[n for n in list(x.shape or ())[1:] if isinstance(n, int)] for x in images]
    if not images or any(len(size) + 1 != len(x.shape or ()) for size, x in zip(sizes, images, strict=True)):
        return None
    pixels = [math.prod(size) for size in sizes]
    return images[pixels.index(max(pixels))] if pixels.count(max(pixels)) == 1 else None


def may_be_image(x: ir.Value) -> bool:
    """Return whether the input *x* has the channels of an image, more than one pixel, and no name that denies it."""
    layout = picture_layout(x)
    lengths = () if layout is None else layout.size(x)
    return _channels(x) in FEW and 1 not in lengths and _NO_IMAGE.search(x.name or "") is None


def _are_features(x: ir.Value) -> bool:
    """Return whether the input *x* has more channels than images of any camera that is common."""
    count = _channels(x)
    return isinstance(count, int) and count >= FEATURES


def _channels(x: ir.Value) -> Dim:
    layout = picture_layout(x)
    return None if layout is None or x.shape is None else x.shape[layout.channel]


def picture_layout(image: ir.Value) -> GridLayout | None:
    """Return the layout of a model's input [N, …] of an image, a volume or a signal; None for other ranks.

    A transpose to channels first, or a convolution, shows the channel axis. Else, in images and volumes, it is the
    first or last one, whichever has length 1, 3 or 4; else the last if it is shorter than all others; else the first.
    In signals it is the shorter one.
    """
    if image.shape is None or len(image.shape) not in (3, 4, 5):
        return None
    axes = tuple(range(1, len(image.shape)))
    first, colours, last = image.shape[1], image.shape[2], image.shape[-1]
    if len(axes) == 4 and colours == _COLOURS and first not in (1, _COLOURS) and last != _COLOURS:
        return GridLayout(2, (1, 3, 4))  # a clip of frames
    return GridLayout(axes[-1], axes[:-1]) if channels_last(image) else GridLayout(1, axes[1:])


def is_picture(value: ir.Value) -> bool:
    """Return whether the input *value* is an image or a volume by its rank, and no signal."""
    return value.shape is not None and len(value.shape) in (4, 5)


_COLOURS = 3
FEATURES = 16
"""An input of so many channels takes features of another model, not an image."""
_NO_IMAGE = re.compile(r"mask|trimap|flow|sigma|noise|hidden|state|prev(?!iew)|depth", re.IGNORECASE)
"""Names of inputs that stand beside an image."""
