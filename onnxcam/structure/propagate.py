"""Layout propagation: follow the layout of the image through the graph, operator by operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

import onnx_ir as ir

from onnxcam.autodiff.core import dependents
from onnxcam.autodiff.rules.blocked import NCHWC
from onnxcam.autodiff.table import RuleSet
from onnxcam.graph.fold import constant
from onnxcam.graph.operators import Trait, operators
from onnxcam.structure.layout import BlockedLayout, Dim, GridLayout, Layout, TokenLayout, picture_layout

__all__ = ["FOLLOW", "KnownLayouts", "layouts"]


def layouts(
    graph: ir.Graph, image: ir.Value, rules: RuleSet, known: Mapping[ir.Value, Layout] | None = None
) -> dict[ir.Value, Layout]:
    """Return the layouts of the tensors that depend on *image*; without those whose spatial axes cannot be followed.

    *known* are layouts that a run has shown; they are followed too.
    """
    active = dependents(graph, [image], rules)
    start = picture_layout(image)
    found: dict[ir.Value, Layout] = {} if start is None else {image: start}
    for node in graph:
        if active.isdisjoint(node.outputs):
            continue
        follow = _in_blocks if node.domain == NCHWC else FOLLOW.get(node.op_type, _same)
        for position, y in enumerate(node.outputs):
            layout = follow(node, position, found, active) or (known or {}).get(y)
            if layout is not None and (y.shape is None or len(y.shape) == layout.rank):
                found[y] = layout
    return found


KnownLayouts: TypeAlias = dict[ir.Value, Layout]


def _source(node: ir.Node, found: KnownLayouts) -> tuple[ir.Value, Layout] | None:
    return next(((x, found[x]) for x in node.inputs if x is not None and x in found), None)


def _length(x: ir.Value | None, axis: int) -> Dim:
    return x.shape[axis] if x is not None and x.shape is not None else None


def _same(node: ir.Node, position: int, found: KnownLayouts, active: set[ir.Value]) -> Layout | None:
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


def _channels_first(node: ir.Node, position: int, found: KnownLayouts, active: set[ir.Value]) -> Layout | None:
    """Convolutions and pools have their channels at axis 1."""
    source = _source(node, found)
    if source is None or source[1].batch != 0 or isinstance(source[1], TokenLayout):
        return None
    rank = source[1].rank
    if len(source[1].space) == 1:
        return _time_last(*source)
    if node.attributes.get_int("channels_last", 0):  # an extension of ONNX Runtime
        return GridLayout(rank - 1, tuple(range(1, rank - 1)))
    return GridLayout(1, tuple(range(2, rank)))


def _time_last(x: ir.Value, layout: Layout) -> GridLayout | None:
    """Return the layout of a signal behind a convolution, which has its channels at axis 1."""
    (time,) = layout.space if isinstance(layout, GridLayout) else (1,)
    idle = tuple(axis for axis in range(2, layout.rank) if axis != time)
    return GridLayout(1, (time,), idle=idle) if time > 1 and all(_length(x, axis) == 1 for axis in idle) else None


def _in_blocks(node: ir.Node, position: int, found: KnownLayouts, active: set[ir.Value]) -> Layout | None:
    """All but the reorder at the end give blocked tensors."""
    return (
        BlockedLayout(1, (2, 3)) if node.op_type != "ReorderOutput" else _channels_first(node, position, found, active)
    )


def _transposed(node: ir.Node, position: int, found: KnownLayouts, active: set[ir.Value]) -> Layout | None:
    source = _source(node, found)
    if source is None:
        return None
    layout = source[1]
    axes = list(range(layout.rank))
    perm = list(node.attributes.get_ints("perm", axes[::-1]) or axes[::-1])
    return layout.permuted(perm) if sorted(perm) == axes else None


def _product(node: ir.Node, position: int, found: KnownLayouts, active: set[ir.Value]) -> Layout | None:
    """A product with weights keeps space; a product of two activations (attention) mixes it."""
    x, w = node.inputs[0], node.inputs[3 if node.op_type in _QUANTISED_PRODUCTS else 1]
    if x is None or w in active or x not in found or found[x].channel != found[x].rank - 1:
        return None
    return found[x]


def _shuffled(node: ir.Node, found: KnownLayouts) -> Layout | None:
    """Return the grid of channels that Reshape, Transpose, Reshape regroup, as in ShuffleNet; None for others."""
    swap = node.inputs[0].producer() if node.inputs[0] is not None else None
    split = swap.inputs[0].producer() if swap is not None and swap.inputs[0] is not None else None
    if swap is None or split is None or (swap.op_type, split.op_type) != ("Transpose", "Reshape"):
        return None
    x, groups = split.inputs[0], split.outputs[0].shape
    layout = found.get(x) if x is not None else None
    if layout is None or type(layout) is not GridLayout or layout != GridLayout(1, tuple(range(2, layout.rank))):
        return None
    old, new, parts = (list(v or ())[1:] for v in (x.shape if x is not None else None, node.outputs[0].shape, groups))
    perm = [0, 2, 1, *range(3, layout.rank + 1)]
    regrouped = len(parts) == len(old) + 1 and parts[2:] == old[1:] and parts[0] * parts[1] == old[0] if old else False
    return layout if regrouped and new == old and list(swap.attributes.get_ints("perm", ()) or ()) == perm else None


def _reshaped(node: ir.Node, position: int, found: KnownLayouts, active: set[ir.Value]) -> Layout | None:
    """A reshape may flatten a grid into tokens, or fold tokens into a grid; the channels stay."""
    source = _source(node, found)
    if source is None:
        return _shuffled(node, found)
    y = node.outputs[position]
    if source is None or source[0].shape is None or y.shape is None or isinstance(source[1], BlockedLayout):
        return None
    (x, layout), old, new = source, list(source[0].shape)[1:], list(y.shape)[1:]
    if isinstance(layout, GridLayout) and len(layout.space) == 1 and layout.batch == 0:
        return _with_idle_axes(layout, old, new)
    if len(new) == len(old) - 1 and layout.batch == 0 and node.op_type == "Squeeze" and list(y.shape) == old:
        return layout.without_batch()
    if len(new) == len(old) + 1 and layout.batch is None and new == list(x.shape or ()):
        return layout.with_batch()
    if layout.batch != 0 or (isinstance(layout, TokenLayout) and layout.order is not None):
        return layout if old == new and len(x.shape or ()) == len(y.shape) else None
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


def _with_idle_axes(layout: GridLayout, old: list[Dim], new: list[Dim]) -> GridLayout | None:
    """Return the layout of a signal with axes of length 1 added or removed; None for another reshape."""
    if old == new:
        return layout
    if _long(old) != _long(new) or old[layout.space[0] - 1] == 1:
        return None
    moved = dict(zip(*([axis for axis, n in enumerate(dims, 1) if n != 1] for dims in (old, new)), strict=True))
    single = [axis for axis, n in enumerate(new, 1) if n == 1]
    channel = moved.get(layout.channel) or next(iter(single), None)
    if channel is None:
        return None
    return GridLayout(channel, (moved[layout.space[0]],), idle=tuple(axis for axis in single if axis != channel))


def _recurrent(node: ir.Node, position: int, found: KnownLayouts, active: set[ir.Value]) -> Layout | None:
    """Recurrent layers give a signal axes of directions."""
    source = _source(node, found)
    is_signal = source is not None and isinstance(source[1], GridLayout) and len(source[1].space) == 1
    return None if is_signal else _same(node, position, found, active)


def _long(dims: Sequence[Dim]) -> list[Dim]:
    return [dim for dim in dims if dim != 1]


def _joined(node: ir.Node, position: int, found: KnownLayouts, active: set[ir.Value]) -> Layout | None:
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


def _sliced(node: ir.Node, position: int, found: KnownLayouts, active: set[ir.Value]) -> Layout | None:
    """A slice of the channels keeps the layout; a slice of the tokens keeps it if all cells remain."""
    source = _source(node, found)
    y = node.outputs[position]
    if source is None or y.shape is None or source[0].shape is None or len(y.shape) != len(source[0].shape):
        return None
    x, layout = source
    if isinstance(layout, GridLayout) or x.shape[layout.token] == y.shape[layout.token]:  # type: ignore[index]
        return layout
    starts = constant(node.inputs[1]) if node.op_type == "Slice" else None
    kept = y.shape[layout.token]
    if starts is None or starts.size != 1 or not isinstance(kept, int) or starts.item() < 0:
        return None
    offset = layout.offset - int(starts.item())
    return replace(layout, offset=offset) if offset >= 0 and offset + layout.cells <= kept else None


def _gathered(node: ir.Node, position: int, found: KnownLayouts, active: set[ir.Value]) -> Layout | None:
    """A list of indices selects cells or channels, such as in reverse; the axes of a grid stay."""
    source = _source(node, found)
    if source is None or source[0] is not node.inputs[0] or not isinstance(source[1], GridLayout):
        return None
    indices = node.inputs[1]
    known = indices is not None and constant(indices) is not None and indices.shape is not None
    return source[1] if known and indices is not None and len(indices.shape or ()) == 1 else None


def _lost(node: ir.Node, position: int, found: KnownLayouts, active: set[ir.Value]) -> Layout | None:
    return None


_QUANTISED_PRODUCTS = ("QLinearMatMul", "QGemm")  # (a, its scale, its zero point, b, …)

FOLLOW: dict[str, Callable[[ir.Node, int, KnownLayouts, set[ir.Value]], Layout | None]] = {
    "Transpose": _transposed,
    **dict.fromkeys(("MatMul", "Gemm", *_QUANTISED_PRODUCTS), _product),
    **dict.fromkeys(("MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "MatMulNBits"), _product),
    **dict.fromkeys(("Concat", "QLinearConcat"), _joined),
    "Slice": _sliced,
    "Split": _sliced,
    **dict.fromkeys(("Attention", "LinearAttention", "Einsum"), _lost),
    "Gather": _gathered,
    **dict.fromkeys(("LSTM", "GRU", "RNN"), _recurrent),
    **dict.fromkeys(("GridSample", "RoiAlign", "MaxRoiPool"), _lost),  # their cells are not in image order
    **dict.fromkeys(operators(Trait.RESHAPES), _reshaped),
    **dict.fromkeys(operators(Trait.POOLS | Trait.INTERLEAVES), _channels_first),
    **dict.fromkeys(("Conv", "ConvTranspose", "FusedConv", "ConvInteger", "QLinearConv"), _channels_first),
}
"""How each operator changes a layout; operators that are not listed work point by point."""
