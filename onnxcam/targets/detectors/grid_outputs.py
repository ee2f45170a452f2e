"""Outputs that are grids: one tensor for each stride, or the list of its cells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxcam.targets.detectors.clues import Clues, Length, dims, name
from onnxcam.targets.detectors.heads import Tensor
from onnxcam.targets.goal import Array

__all__ = ["GridOutput", "grid_outputs"]

_STRIDES = (4, 8, 16, 32, 64, 128)
_FEW = 3
"""A model of open size with fewer outputs has no heads for several grids, and is not run to find out."""


@dataclass(frozen=True)
class GridOutput:
    """An output that is a grid: [N, K, h, w], [N, h, w, K], [N, A, h, w, K], [N, h, w, A, K], [N, B, K], [B, K]."""

    value: ir.Value
    stride: int
    anchors: int  # candidates in each cell of a list; 1 for a grid
    channel: int  # the axis of columns, without the batch axis
    width: int
    batched: bool = True
    anchors_first: bool = True

    def tensor(self, columns: slice | None = None) -> Tensor:
        """Return the output as a part of a head."""
        return Tensor(name(self.value), self.channel, columns, self.batched, self.anchors_first)

    def rows(self, clues: Clues, anchors: int = 1) -> list[Array]:
        """Return the columns [B, K] of each candidate for each probe image."""
        return [value.reshape(-1)[self.tensor().places(value.shape, anchors)] for value in clues.samples(self.value)]


def grid_outputs(clues: Clues) -> Iterator[GridOutput]:
    """Yield the outputs that are grids over the image."""
    for y in (y for rank in (5, 4, 3, 2) for y in clues.outputs(rank)):
        found = _as_grid(y, _shape(y, clues), clues.probe)
        if found is not None:
            yield found


def _shape(y: ir.Value, clues: Clues) -> Sequence[Length]:
    """Return the shape of *y*; where the size of the image is open, the one for a probe image."""
    if None not in clues.size or len(clues.graph.outputs) < _FEW:
        return dims(y)
    return next((value.shape for value in clues.evidence.values(y)), dims(y))


def _as_grid(y: ir.Value, shape: Sequence[Length], size: Sequence[int]) -> GridOutput | None:
    """Return the grid that *y* is over an image of *size*; None for another tensor."""
    height, width = size
    for stride in _STRIDES:
        space = [-(-height // stride), -(-width // stride)]
        for channel, axes in ((0, shape[2:]), (2, shape[1:3])) if len(shape) == 4 else ():
            count = shape[1 + channel]
            if list(axes) == space and count is not None:
                return GridOutput(y, stride, 1, channel, count)
        if len(shape) == 5 and list(shape[2:4]) == space and None not in (shape[1], shape[4]):
            return GridOutput(y, stride, shape[1] or 1, 3, shape[4] or 1)
        if len(shape) == 5 and list(shape[1:3]) == space and None not in (shape[3], shape[4]):
            return GridOutput(y, stride, shape[3] or 1, 3, shape[4] or 1, anchors_first=False)
    if len(shape) > 3:
        return None
    batched, bare = len(shape) == 3, list(shape[1:] if len(shape) == 3 else shape)
    for anchors in (1, 2, 3, 9):
        for stride in _STRIDES:
            count = anchors * -(-height // stride) * -(-width // stride)
            for channel in (1, 0):
                columns = bare[channel]
                if columns is None or bare[1 - channel] != count:
                    continue
                if columns < count or (channel == 1 and count >= 4):
                    return GridOutput(y, stride, anchors, channel, columns, batched)
    return None
