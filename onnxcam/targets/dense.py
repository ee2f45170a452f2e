"""Dense outputs: one or more values for each cell of a grid over the image, and the evidence of what they mean."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam.metadata import sidecar
from onnxcam.structure.layout import GridLayout, picture_layout
from onnxcam.targets.aim import WeightsAim
from onnxcam.targets.evidence import Evidence, open_length
from onnxcam.targets.goal import Array, Look
from onnxcam.targets.graph_outputs import function_before, grids, is_flat_map, length, numeric_outputs, unclipped
from onnxcam.targets.notation import Corners, ImageSource

__all__ = [
    "MASKS",
    "DenseOutput",
    "cell_count",
    "dense_outputs",
    "has_boxes",
    "has_proportions",
    "is_coarser",
    "is_fine",
    "is_larger",
    "is_plane",
    "lies_in_unit",
    "like_image",
    "mask_cells",
    "named",
    "rectangle_cells",
    "sums_to_one",
    "who",
]

_COARSEST = 8
"""A dense output has at least one cell for this many pixels along an axis."""

MASKS = r"seg(?!\w*proto)|semantic|mask|class|matte|alpha|pha$|saliency"
"""Names of outputs that are scores of classes, a pattern for `named`."""
_BOXES = r"(^|_)(wh|reg|bbox|box|boxes|ltrb)($|_|\d)"


@dataclass(frozen=True)
class DenseOutput:
    """A tensor of values over the image: an output, or a tensor behind one.

    Attributes:
        tensor: Its name.
        layout: Its axes; None for ``[N, *space]``, which has no axis of channels.
        channels: The number of values for each cell.
        grid: The lengths of the spatial axes that one axis of cells joins, as in ``[N, cells, channels]``.
        before: The tensor before it is clipped or rounded; empty for the tensor itself.
    """

    tensor: str
    layout: GridLayout | None
    channels: int
    grid: tuple[int, ...] = ()
    before: str = ""

    @property
    def aim(self) -> WeightsAim:
        """Return weights over the tensor, before it is clipped or rounded."""
        return WeightsAim(self.before or self.tensor)

    @property
    def placed(self) -> GridLayout | None:
        """The axes by which the place of the cells in the image is followed; None where they cover all of it."""
        return None if self.grid else self.layout

    def size(self, y: ir.Value) -> tuple[object, ...]:
        """Return the lengths of the spatial axes of the tensor *y*."""
        return self.grid or (tuple(y.shape or ())[1:] if self.layout is None else self.layout.size(y))

    def read(self, look: Look) -> Array:
        """Return the values for the image, [channels, *space]."""
        (y,) = look.tensors([self.tensor])
        return self.view(y)[0]

    def view(self, y: Array) -> Array:
        """Return the tensor as [N, channels, *space]."""
        found = y[:, None] if self.layout is None else self.layout.view(y)
        return found.reshape(*found.shape[:2], *self.grid) if self.grid else found

    def feed(self, weights: Array) -> Array:
        """Return *weights* [channels, *space] in the order of the tensor's axes, without the batch."""
        if self.layout is None:
            return np.asarray(weights[0].reshape(-1) if self.grid else weights[0])
        joined = weights.reshape(len(weights), -1) if self.grid else weights
        return np.ascontiguousarray(np.moveaxis(joined, 0, self.layout.channel - 1))


def dense_outputs(evidence: Evidence) -> Iterator[tuple[ir.Value, DenseOutput]]:
    """Yield the outputs that are grids over the image, then those whose cells are one axis, then single planes."""
    image = evidence.image
    for y, layout, count in grids(evidence.graph, image):
        yield y, DenseOutput(y.name or "", layout, count, before=unclipped(y))
    own = picture_layout(image)
    if own is None:
        return
    lengths = own.size(image)
    if all(isinstance(n, int) for n in lengths):
        yield from _flat(evidence, tuple(lengths))
    for y in numeric_outputs(evidence.graph, own.rank - 1):
        if is_plane(evidence, y):
            yield y, DenseOutput(y.name or "", None, 1, before=unclipped(y))


def _flat(evidence: Evidence, lengths: tuple[int, ...]) -> Iterator[tuple[ir.Value, DenseOutput]]:
    """Yield the outputs [N, cells, channels], [N, channels, cells] and [N, cells], as many cells as pixels."""
    for y in numeric_outputs(evidence.graph, 3):
        for cells, channel in ((1, 2), (2, 1)):
            count = length(y, channel)
            if length(y, cells) == math.prod(lengths) and isinstance(count, int):
                yield y, DenseOutput(y.name or "", GridLayout(channel, (cells,)), count, lengths)
                break
    for y in numeric_outputs(evidence.graph, 2):
        if is_flat_map(y, evidence.image):
            yield y, DenseOutput(y.name or "", None, 1, lengths)


def is_plane(evidence: Evidence, y: ir.Value) -> bool:
    """Return whether *y*, [N, *space], has the proportions of the image. The model runs where lengths are open."""
    own, size = picture_layout(evidence.image), list(y.shape or ())[1:]
    if own is None:
        return False
    lengths = [n if isinstance(n, int) else None for n in own.size(evidence.image)]
    if None in lengths or not all(isinstance(n, int) for n in size):
        values = evidence.values(y)
        size = list(values[0].shape[1:]) if values else []
    long = open_length(len(lengths))
    known = [(a, long if b is None else b) for a, b in zip(size, lengths, strict=False) if isinstance(a, int)]
    return len(known) == len(lengths) and _alike(known)


def cell_count(size: Sequence[object]) -> int:
    """Return the number of cells of a grid of *size*; 0 where lengths are open."""
    lengths = [n for n in size if isinstance(n, int)]
    return math.prod(lengths) if len(lengths) == len(size) else 0


def is_fine(size: Sequence[object], image: ir.Value) -> bool:
    """Return whether a grid of *size* has a cell for every few pixels of the image, as far as lengths are known."""
    return _are_fine(_lengths(size, image))


def like_image(size: Sequence[object], image: ir.Value) -> bool:
    """Return whether a grid of *size* is fine and has the proportions of the image; open lengths fit."""
    return _alike(_lengths(size, image))


def has_proportions(size: Sequence[object], image: ir.Value) -> bool:
    """Return whether a grid of *size*, fine or coarse, has the proportions of the image; open lengths fit."""
    return _in_proportion(_lengths(size, image))


def is_coarser(size: Sequence[object], image: ir.Value) -> bool:
    """Return whether a grid of *size* has at most one cell for two pixels along an axis; open lengths may."""
    return all(2 * cells <= pixels for cells, pixels in _lengths(size, image))


def is_larger(size: Sequence[object], image: ir.Value) -> bool:
    """Return whether a grid of *size* has more cells than the image has pixels along each axis: an enlarged image."""
    pairs = _lengths(size, image)
    return bool(pairs) and all(cells > pixels for cells, pixels in pairs)


def _are_fine(pairs: Sequence[tuple[int, int]]) -> bool:
    return all(cells * _COARSEST >= pixels for cells, pixels in pairs)


def _alike(pairs: Sequence[tuple[int, int]]) -> bool:
    return _are_fine(pairs) and _in_proportion(pairs)


def _in_proportion(pairs: Sequence[tuple[int, int]]) -> bool:
    ratios = [cells / pixels for cells, pixels in pairs]
    return not ratios or max(ratios) <= 1.25 * min(ratios)


def _lengths(size: Sequence[object], image: ir.Value) -> list[tuple[int, int]]:
    own = picture_layout(image)
    pairs = zip(size, own.size(image) if own is not None else (), strict=False)
    return [(a, b) for a, b in pairs if isinstance(a, int) and isinstance(b, int)]


def mask_cells(source: ImageSource, look: Look, output: DenseOutput, size: Sequence[int]) -> NDArray[np.bool_]:
    """Return the mask *source*, of the image's size, at the cells of *output*, a grid of *size*."""
    return look.sampled(look.mask(source), size, output.tensor, output.placed)


def rectangle_cells(corners: Corners, look: Look, output: DenseOutput, size: Sequence[int]) -> NDArray[np.bool_]:
    """Return the cells of *output*, a grid of *size*, with centres in a rectangle of the image, or nearest to it."""
    x1, y1, x2, y2 = corners
    rows, columns = look.centres(size, output.tensor, output.placed)
    return _between(rows, y1, y2) & _between(columns, x1, x2)


def _between(centres: Array, low: float, high: float) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = (centres >= low) & (centres < high)
    distance = np.abs(centres - (low + high) / 2)
    return found if found.any() else np.asarray(distance == distance.min())


def who(evidence: Evidence, known: bool) -> str | None:
    """Return who names the task, "user" or "card", if it is *known*."""
    return (evidence.names.source("task") or "card") if known else None


def named(evidence: Evidence, pattern: str, y: ir.Value | None = None) -> str | None:
    """Return the source that says *pattern*, a regular expression: the name of *y*, or the architecture.

    The architecture stands in Hugging Face's config.json beside the model. None where neither says it.
    """
    if y is not None and re.search(pattern, y.name or "", re.IGNORECASE):
        return "names"
    found = sidecar.beside(evidence.names.path, "config.json").get("architectures")
    words = " ".join(map(str, found)) if isinstance(found, list) else ""
    return "file" if re.search(pattern, words, re.IGNORECASE) else None


def has_boxes(evidence: Evidence) -> bool:
    """Return whether the name of an output says boxes or their sizes: the other outputs are a detector's."""
    return any(named(evidence, _BOXES, y) == "names" for y in evidence.graph.outputs)


def sums_to_one(evidence: Evidence, y: ir.Value, axis: int) -> str | None:
    """Return the source that says that *y* is a probability of each index of *axis*: graph or run; None for neither."""
    function = function_before(y)
    if function == "softmax":
        return "graph"
    if function is not None:
        return None
    values = evidence.values(y)
    if not values or any(v.dtype.kind != "f" or v.min() < 0 for v in values):
        return None
    return "run" if all(np.allclose(v.sum(axis=axis), 1, atol=1e-3) for v in values) else None


def lies_in_unit(evidence: Evidence, y: ir.Value) -> str | None:
    """Return the source that says that *y* lies between 0 and 1: graph or run; None for neither."""
    if function_before(y) in ("sigmoid", "softmax"):
        return "graph"
    values = evidence.values(y)
    return "run" if values and all(v.min() >= 0 and 0 < v.max() <= 1 for v in values) else None
