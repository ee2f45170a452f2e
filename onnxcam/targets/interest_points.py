"""Interest points: how likely each pixel is one, beside descriptors that match it to other images (SuperPoint)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxcam.structure.layout import GridLayout, picture_layout
from onnxcam.targets.dense import DenseOutput, dense_outputs, is_coarser, like_image, named
from onnxcam.targets.evidence import Evidence
from onnxcam.targets.goal import Array
from onnxcam.targets.value_maps import Depth

__all__ = ["InterestPoints"]

_DESCRIPTORS = r"(^|_)desc"
_CELL = 65


@dataclass(frozen=True)
class _Present(DenseOutput):
    """Scores [N, 65, h, w] of the 64 pixels of a cell and of none of them: minus the last one is the value."""

    def view(self, y: Array) -> Array:
        """Return [N, 1, h, w]."""
        return -y[:, -1:]

    def feed(self, weights: Array) -> Array:
        """Return the weights of all scores."""
        found = np.zeros((_CELL, *weights.shape[1:]), np.float32)
        found[-1] = -weights[0]
        return found


@dataclass(frozen=True)
class InterestPoints(Depth):
    """A map of scores: an output, or the tensor behind the scores of the best points. The mean of a region is
    explained.
    """

    name: str = "a model of interest points"
    cards = ()

    @classmethod
    def find(cls, evidence: Evidence, known: bool) -> Iterator[InterestPoints]:
        """Yield the task where an output is named as descriptors."""
        if not any(named(evidence, _DESCRIPTORS, y) == "names" for y in evidence.graph.outputs):
            return
        found = (_scores(evidence, y, one) for y, one in dense_outputs(evidence))
        values = next((one for one in found if one is not None), None) or _behind(evidence)
        if values is not None:
            yield cls(values, "names")


def _scores(evidence: Evidence, y: ir.Value, one: DenseOutput) -> DenseOutput | None:
    """Return the map of scores that the output *y* is; None for none."""
    if named(evidence, _DESCRIPTORS, y) == "names":
        return None
    if one.channels == _CELL and is_coarser(one.size(y), evidence.image):
        return _Present(one.tensor, GridLayout(1, (2, 3)), 1)
    return one if one.channels == 1 and like_image(one.size(y), evidence.image) else None


def _behind(evidence: Evidence) -> DenseOutput | None:
    """Return the last tensor of real numbers with one for each pixel, [N, H, W] or [N, 1, H, W]; None for none."""
    own = picture_layout(evidence.image)
    size = [] if own is None else list(own.size(evidence.image))
    for y in (y for node in reversed(list(evidence.graph)) for y in node.outputs):
        shape = list(y.shape or ())
        real = y.dtype is not None and y.dtype.is_floating_point()
        if real and shape[1:] in (size, [1, *size]):
            return DenseOutput(y.name or "", None if len(shape) == 1 + len(size) else GridLayout(1, (2, 3)), 1)
    return None
