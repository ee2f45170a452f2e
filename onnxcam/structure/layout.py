"""Layouts: which axes of a tensor are channels and which are space; the model's image input and its layout.

A `GridLayout` has one axis for each spatial axis, in any order (NCHW, NHWC, NCDHW). A `TokenLayout` has one axis of
tokens: the cells of a grid in row-major order, with class and register tokens before or after them.
"""

from __future__ import annotations

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

__all__ = ["BlockedLayout", "Dim", "GridLayout", "Layout", "TokenLayout", "picture_input", "picture_layout"]

Dim: TypeAlias = Any  # an int, or an onnx_ir symbolic dimension


@dataclass(frozen=True)
class GridLayout:
    """Axes of a tensor [N, …]: one of channels, the others spatial, in order."""

    channel: int
    space: tuple[int, ...]

    def maps(self, op: Emitter, x: ir.Value) -> ir.Value:
        """Return *x* as [N, K, *space]."""
        order = [0, self.channel, *self.space]
        return x if order == sorted(order) else op.Transpose(x, perm=order)

    def view(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return *x* as [N, K, *space], a view."""
        return x.transpose(0, self.channel, *self.space)

    @property
    def rank(self) -> int:
        """Return the number of axes."""
        return 2 + len(self.space)

    def size(self, x: ir.Value) -> tuple[Dim, ...]:
        """Return the lengths of the spatial axes, None where unknown."""
        return tuple(None if x.shape is None else x.shape[axis] for axis in self.space)

    def permuted(self, perm: Sequence[int]) -> GridLayout:
        """Return the layout after a transpose."""
        return GridLayout(perm.index(self.channel), tuple(perm.index(axis) for axis in self.space))


@dataclass(frozen=True)
class BlockedLayout(GridLayout):
    """A grid in ONNX Runtime's blocked memory layout for convolutions (NCHWc), declared as [N, K, *space]."""

    def maps(self, op: Emitter, x: ir.Value) -> ir.Value:
        """Return *x* as [N, K, *space], padding channels included."""
        return plain(op, x, compose.length(x, 1))


@dataclass(frozen=True)
class TokenLayout:
    """Axes of a tensor [N, …] of rank 3; its tokens ``offset`` to ``offset + prod(grid)`` are the cells of a grid."""

    channel: int
    token: int
    grid: tuple[int, ...]
    offset: int = 0
    rank: int = 3

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
        cells = op.Slice(x, [self.offset], [self.end], [self.token])
        if self.token < self.channel:
            cells = op.Transpose(cells, perm=[0, 2, 1])
        return op.Reshape(cells, [0, 0, *self.grid])

    def view(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return the cells of *x* as [N, K, *grid], a view."""
        cells = np.moveaxis(x, (self.channel, self.token), (1, 2))[:, :, self.offset : self.end]
        return cells.reshape(*cells.shape[:2], *self.grid)

    def size(self, x: ir.Value) -> tuple[Dim, ...]:
        """Return the lengths of the grid's axes."""
        return self.grid

    def permuted(self, perm: Sequence[int]) -> TokenLayout:
        """Return the layout after a transpose."""
        return replace(self, channel=perm.index(self.channel), token=perm.index(self.token))


Layout: TypeAlias = GridLayout | TokenLayout


def picture_input(graph: ir.Graph, name: str | None = None) -> ir.Value:
    """Return the input of *graph* called *name*; without a name the only input, or the only one with an image's shape.

    ModelError if several inputs could be the image, or the input is not a tensor of numbers.
    """
    inputs = list(graph.inputs)
    shown = ", ".join(f"{value.name!r} {value.shape}" for value in inputs)
    grids = [value for value in inputs if picture_layout(value) is not None and no_numbers(value) is None]
    if name is not None:
        chosen = next((value for value in inputs if value.name == name), None)
        if chosen is None:
            raise ModelError(f"the model has no input {name!r}; there are {shown}")
    elif len(inputs) == 1 or len(grids) == 1:
        chosen = grids[0] if grids else inputs[0]
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


def picture_layout(image: ir.Value) -> GridLayout | None:
    """Return the layout of a model's input [N, …] of rank 4 or 5; None for other ranks.

    The channel axis is the first or last one, whichever has length 1, 3 or 4; the first if both or neither has.
    """
    if image.shape is None or len(image.shape) not in (4, 5):
        return None
    axes = tuple(range(1, len(image.shape)))
    first, last = image.shape[1], image.shape[-1]
    if last in (1, 3, 4) and first not in (1, 3, 4):
        return GridLayout(axes[-1], axes[:-1])
    return GridLayout(1, axes[1:])
