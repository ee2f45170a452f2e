"""`InnerImage`: what a detector sees of the image tensor, where its graph crops, pads or resizes it first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxcam.graph.operators import Trait, operators
from onnxcam.structure.layout import GridLayout, picture_layout
from onnxcam.structure.place import place
from onnxcam.targets.detectors.candidates import Decoder
from onnxcam.targets.detectors.grid import cells, plan
from onnxcam.targets.evidence import Evidence
from onnxcam.targets.goal import Array

__all__ = ["InnerImage", "is_image_of"]

_MOVES = frozenset(("Slice", "Pad", "Resize", "CenterCropPad"))
_PASSES = _MOVES | operators(Trait.COPIES) | {"Sub", "Div", "Mul", "Add", "Clip"}

_NEAR = 2
"""Boxes of a grid are at most so many cells away from theirs on average."""


@dataclass(frozen=True)
class InnerImage:
    """An image inside the graph.

    Attributes:
        size: Its height and width.
        rows: The pixels of the image tensor where its first row begins and its last row ends.
        columns: The same for its columns.
    """

    size: tuple[int, int]
    rows: tuple[float, float]
    columns: tuple[float, float]

    @classmethod
    def of(cls, graph: ir.Graph, image: ir.Value) -> InnerImage | None:
        """Return the inner image of *graph*; None where there is none, or its size is open."""
        outer, value = picture_layout(image), _last(image)
        inner = picture_layout(value)
        if outer is None or inner is None or value is image or not isinstance(inner, GridLayout):
            return None
        whole, size = outer.size(image), inner.size(value)
        if len(size) != 2 or not all(isinstance(length, int) for length in (*whole, *size)):
            return None
        found = place(graph, image, value, inner, whole)
        if found is None or found.warning or [one.source for one in found.spans] != [0, 1]:
            return None
        if found.is_plain(whole) and tuple(size) == tuple(whole):
            return None
        return cls((int(size[0]), int(size[1])), found.spans[0].ends, found.spans[1].ends)

    def outer(self, corners: Array) -> Array:
        """Return *corners* [B, 4] in pixels of the inner image as corners in pixels of the image tensor."""
        ends = np.array([self.columns, self.rows])
        unit = (ends[:, 1] - ends[:, 0]) / np.array(self.size[::-1])
        found = corners * np.tile(unit, 2) + np.tile(ends[:, 0], 2)
        return np.concatenate([np.minimum(found[:, :2], found[:, 2:]), np.maximum(found[:, :2], found[:, 2:])], axis=1)


def is_image_of(decoder: Decoder, evidence: Evidence, size: tuple[int, int]) -> bool:
    """Return whether a run shows candidates on grids over an image of *size*."""
    run = next(iter(evidence.runs), {})
    if any(name not in run for name in decoder.tensors):
        return False
    seen = decoder.read([run[name] for name in decoder.tensors], size)
    levels = plan(len(seen.corners), size)
    if seen.cells is not None or levels is None:
        return seen.cells is not None
    cell, middles = cells(levels, size), (seen.corners[:, :2] + seen.corners[:, 2:]) / 2
    return bool((np.abs(middles / cell[:, 2:] - cell[:, :2] - 0.5).mean()) < _NEAR)


def _last(image: ir.Value) -> ir.Value:
    """Return the last tensor behind *image* that only was cropped, padded, resized or scaled; *image* for none."""
    value, found = image, image
    while len(uses := list(value.uses())) == 1 and uses[0][0].op_type in _PASSES and uses[0][1] == 0:
        value = uses[0][0].outputs[0]
        found = value if uses[0][0].op_type in _MOVES else found
    return found
