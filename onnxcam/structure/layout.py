"""Layouts: which axes of a tensor are channels and which are space, followed through the graph from the image.

A `GridLayout` has one axis for each spatial axis, in any order (NCHW, NHWC, NCDHW). A `TokenLayout` has one axis of
tokens: the cells of a grid in row-major order, with class and register tokens before or after them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam.autodiff.core import dependents
from onnxcam.autodiff.rules import compose
from onnxcam.autodiff.rules.blocked import NCHWC, plain
from onnxcam.autodiff.table import RuleSet
from onnxcam.errors import ModelError
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.fold import constant
from onnxcam.graph.infer import no_numbers
from onnxcam.graph.operators import Trait, operators

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
        raise ModelError(f"several inputs of the model could be the picture ({shown}); say which with --wrt NAME")
    else:
        raise ModelError(f"no input of the model could be a picture ({shown}); say which to explain with --wrt NAME")
    what = no_numbers(chosen)
    if what is not None:
        raise ModelError(
            f"the model's input {chosen.name!r} is {what}, no picture; onnxcam explains models that take a "
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


def layouts(graph: ir.Graph, image: ir.Value, rules: RuleSet) -> dict[ir.Value, Layout]:
    """Return the layouts of the tensors that depend on *image*; without those whose spatial axes cannot be followed."""
    active = dependents(graph, [image], rules)
    start = picture_layout(image)
    found: dict[ir.Value, Layout] = {} if start is None else {image: start}
    for node in graph:
        if active.isdisjoint(node.outputs):
            continue
        follow = _in_blocks if node.domain == NCHWC else FOLLOW.get(node.op_type, _same)
        for position, y in enumerate(node.outputs):
            layout = follow(node, position, found, active)
            if layout is not None and (y.shape is None or len(y.shape) == layout.rank):
                found[y] = layout
    return found


Found: TypeAlias = dict[ir.Value, Layout]


def _source(node: ir.Node, found: Found) -> tuple[ir.Value, Layout] | None:
    return next(((x, found[x]) for x in node.inputs if x is not None and x in found), None)


def _length(x: ir.Value | None, axis: int) -> Dim:
    return x.shape[axis] if x is not None and x.shape is not None else None


def _same(node: ir.Node, position: int, found: Found, active: set[ir.Value]) -> Layout | None:
    """Pointwise operators and normalisations: the output has the layout of an input of the same rank."""
    shape = node.outputs[position].shape
    for x in node.inputs:
        layout = found.get(x) if x is not None else None
        if layout is None or (shape is not None and len(shape) != layout.rank):
            continue
        if (
            isinstance(layout, GridLayout)
            or shape is None
            or _same_tokens(layout, _length(x, layout.token), shape[layout.token])
        ):
            return layout
    return None


def _same_tokens(layout: TokenLayout, before: Dim, now: Dim) -> bool:
    """Whether the axis of tokens keeps its length; if that is unknown, whether it still has room for all cells."""
    return before == now or (not isinstance(before, int) and isinstance(now, int) and layout.end <= now)


def _channels_first(node: ir.Node, position: int, found: Found, active: set[ir.Value]) -> Layout | None:
    """Convolutions and pools have their channels at axis 1."""
    source = _source(node, found)
    if source is None or source[1].rank < 4:
        return None
    rank = source[1].rank
    if node.attributes.get_int("channels_last", 0):  # an extension of ONNX Runtime
        return GridLayout(rank - 1, tuple(range(1, rank - 1)))
    return GridLayout(1, tuple(range(2, rank)))


def _in_blocks(node: ir.Node, position: int, found: Found, active: set[ir.Value]) -> Layout | None:
    """All but the reorder at the end give blocked tensors."""
    return (
        BlockedLayout(1, (2, 3)) if node.op_type != "ReorderOutput" else _channels_first(node, position, found, active)
    )


def _transposed(node: ir.Node, position: int, found: Found, active: set[ir.Value]) -> Layout | None:
    source = _source(node, found)
    if source is None:
        return None
    layout = source[1]
    axes = list(range(layout.rank))
    perm = list(node.attributes.get_ints("perm", axes[::-1]) or axes[::-1])
    return layout.permuted(perm) if perm[0] == 0 and sorted(perm) == axes else None


def _product(node: ir.Node, position: int, found: Found, active: set[ir.Value]) -> Layout | None:
    """A product with weights keeps space; a product of two activations (attention) mixes it."""
    x, w = node.inputs[0], node.inputs[3 if node.op_type in _QUANTISED_PRODUCTS else 1]
    if x is None or w in active or x not in found or found[x].channel != found[x].rank - 1:
        return None
    return found[x]


def _reshaped(node: ir.Node, position: int, found: Found, active: set[ir.Value]) -> Layout | None:
    """A reshape may flatten a grid into tokens, or fold tokens into a grid; the channels stay."""
    source = _source(node, found)
    y = node.outputs[position]
    if source is None or source[0].shape is None or y.shape is None or isinstance(source[1], BlockedLayout):
        return None
    (x, layout), old, new = source, list(source[0].shape)[1:], list(y.shape)[1:]
    if old == new:
        return layout
    channel = old[layout.channel - 1]
    last = layout.channel == len(old)
    if isinstance(layout, GridLayout) and channel == 1 and 1 in new and _long(new) == _long(old):
        free = 1 + new.index(1)
        rest = (axis for axis in range(1, len(new) + 1) if axis != free)
        return GridLayout(free, tuple(axis for axis in rest if len(new) == len(old) or new[axis - 1] != 1))
    if isinstance(layout, GridLayout) and len(new) == 2:
        grid = layout.size(x)
        if all(isinstance(length, int) for length in grid):
            tokens = TokenLayout(2 if last else 1, 1 if last else 2, grid)
            if new[tokens.channel - 1] == channel and new[tokens.token - 1] == tokens.cells:
                return tokens
    if isinstance(layout, TokenLayout) and layout.offset == 0 and len(new) == len(layout.grid) + 1:
        space = new[:-1] if last else new[1:]
        if tuple(space) == layout.grid and new[-1 if last else 0] == channel:
            axes = tuple(range(1, len(new) + 1))
            return GridLayout(axes[-1], axes[:-1]) if last else GridLayout(1, axes[1:])
    return None


def _long(dims: Sequence[Dim]) -> list[Dim]:
    return [dim for dim in dims if dim != 1]


def _joined(node: ir.Node, position: int, found: Found, active: set[ir.Value]) -> Layout | None:
    """Concatenated tokens shift the grid; a rolled grid (shifted windows) has no layout any more."""
    source = _source(node, found)
    if source is None or source[0].shape is None:
        return None
    x, layout = source
    axis = node.attributes.get_int("axis", 0) % len(x.shape or (1,))
    if isinstance(layout, GridLayout):
        return None if axis in layout.space and _rolled(node) else layout
    if axis != layout.token:
        return layout
    parts = node.inputs[2::3] if node.op_type == "QLinearConcat" else node.inputs  # (tensor, scale, zero point) each
    lengths = [_length(part, axis) for part in parts]
    place = list(parts).index(x)
    before, after = lengths[:place], lengths[place + 1 :]
    if not _known(before) and _known([*lengths[place:], whole := _whole(node, axis)]):
        before = [whole - lengths[place] - sum(after)]
    return replace(layout, offset=layout.offset + sum(before)) if _known(before) else None


def _known(lengths: Sequence[Dim]) -> bool:
    return all(isinstance(length, int) for length in lengths)


def _whole(node: ir.Node, axis: int) -> Dim:
    """Return the length of the output of *node*, None where unknown.

    PyTorch's older exporter repeats class tokens by a shape computed at run time. The position embedding, which is
    added to all tokens, has a known length.
    """
    y = node.outputs[0]
    wholes = (_length(z, axis) for z in (y, *(user.outputs[0] for user in y.consumers() if user.op_type == "Add")))
    return next((length for length in wholes if isinstance(length, int)), None)


def _rolled(node: ir.Node) -> bool:
    """Whether *node* joins slices of one tensor."""
    makers = [x.producer() if x is not None else None for x in node.inputs]
    cut = [maker.inputs[0] for maker in makers if maker is not None and maker.op_type in ("Slice", "Split")]
    return len(cut) == len(makers) > 1 and len(set(cut)) == 1


def _sliced(node: ir.Node, position: int, found: Found, active: set[ir.Value]) -> Layout | None:
    """A slice of the channels keeps the layout; a slice of the tokens keeps it if all cells remain."""
    source = _source(node, found)
    y = node.outputs[position]
    if source is None or y.shape is None or source[0].shape is None or len(y.shape) != len(source[0].shape):
        return None
    x, layout = source
    if isinstance(layout, GridLayout) or x.shape[layout.token] == y.shape[layout.token]:  # type: ignore[index]
        return layout
    starts = constant(node.inputs[1]) if node.op_type == "Slice" and node.inputs[1] is not None else None
    kept = y.shape[layout.token]
    if starts is None or starts.size != 1 or not isinstance(kept, int) or starts.item() < 0:
        return None
    offset = layout.offset - int(starts.item())
    return replace(layout, offset=offset) if offset >= 0 and offset + layout.cells <= kept else None


def _lost(node: ir.Node, position: int, found: Found, active: set[ir.Value]) -> Layout | None:
    return None


_QUANTISED_PRODUCTS = ("QLinearMatMul", "QGemm")  # (a, its scale, its zero point, b, …)

FOLLOW: dict[str, Callable[[ir.Node, int, Found, set[ir.Value]], Layout | None]] = {
    "Transpose": _transposed,
    **dict.fromkeys(("MatMul", "Gemm", *_QUANTISED_PRODUCTS), _product),
    **dict.fromkeys(("MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "MatMulNBits"), _product),
    **dict.fromkeys(("Concat", "QLinearConcat"), _joined),
    "Slice": _sliced,
    "Split": _sliced,
    **dict.fromkeys(("Attention", "LinearAttention", "Gather", "Einsum"), _lost),
    **dict.fromkeys(("GridSample", "RoiAlign", "MaxRoiPool"), _lost),  # their cells are not in image order
    **dict.fromkeys(operators(Trait.RESHAPES), _reshaped),
    **dict.fromkeys(operators(Trait.POOLS | Trait.INTERLEAVES), _channels_first),
    **dict.fromkeys(("Conv", "ConvTranspose", "FusedConv", "ConvInteger", "QLinearConv"), _channels_first),
}
"""How each operator changes a layout; operators that are not listed work point by point."""
