"""Interest points: how likely each pixel is one, beside descriptors that match it to other images (SuperPoint)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxcam.structure.layer import ancestors
from onnxcam.structure.layout import GridLayout, picture_layout
from onnxcam.targets.dense import DenseOutput, dense_outputs, is_coarser, like_image, named
from onnxcam.targets.evidence import Evidence
from onnxcam.targets.goal import Array
from onnxcam.targets.value_maps import Depth

__all__ = ["InterestPoints"]

_DESCRIPTORS = r"(^|_)desc"
_CELL = 65
_FEATURES = (64, 128, 256)
_CONVOLUTIONS = ("Conv", "QLinearConv", "ConvInteger")


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
        """Yield the task where an output is named as descriptors, or is a grid of cells beside a grid of features."""
        said = any(named(evidence, _DESCRIPTORS, y) == "names" for y in evidence.graph.outputs)
        outputs = list(dense_outputs(evidence))
        if said or _has_features(outputs):
            found = (_scores(evidence, y, one) for y, one in outputs if said or one.channels == _CELL)
            values = next((one for one in found if one is not None), None) or (_behind(evidence) if said else None)
            if values is not None:
                yield cls(values, "names" if said else "shapes")


def _has_features(outputs: Sequence[tuple[ir.Value, DenseOutput]]) -> bool:
    """Return whether a grid of 65 channels has another of many features beside it, of the same size."""
    cells = [str(one.size(y)) for y, one in outputs if one.channels == _CELL]
    return any(one.channels in _FEATURES and str(one.size(y)) in cells for y, one in outputs)


def _scores(evidence: Evidence, y: ir.Value, one: DenseOutput) -> DenseOutput | None:
    """Return the map of scores that the output *y* is; None for none."""
    if named(evidence, _DESCRIPTORS, y) == "names":
        return None
    if one.channels == _CELL and is_coarser(one.size(y), evidence.image):
        return _Present(one.tensor, GridLayout(1, (2, 3)), 1)
    return one if one.channels == 1 and like_image(one.size(y), evidence.image) else None


def _behind(evidence: Evidence) -> DenseOutput | None:
    """Return the last tensor behind a convolution of one real number for each pixel, [N, H, W] or [N, 1, H, W]."""
    own = picture_layout(evidence.image)
    size = [] if own is None else list(own.size(evidence.image))
    for y in (y for node in reversed(list(evidence.graph)) for y in node.outputs):
        shape = list(y.shape or ())
        real = y.dtype is not None and y.dtype.is_floating_point()
        if real and len(size) == 2 and (_alike(shape[1:], size) or _alike(shape[1:], [1, *size])) and _is_deep(y):
            return DenseOutput(y.name or "", None if len(shape) == 3 else GridLayout(1, (2, 3)), 1)
    return None


def _alike(shape: Sequence[object], wanted: Sequence[object]) -> bool:
    """Return whether lengths are equal, or both are open."""
    pairs = [[n if isinstance(n, int) else None for n in pair] for pair in zip(shape, wanted, strict=False)]
    return len(shape) == len(wanted) and all(one == other for one, other in pairs)


def _is_deep(y: ir.Value) -> bool:
    """Return whether a convolution stands before *y*."""
    makers = (node for value in ancestors(y) if (node := value.producer()) is not None)
    return any(node.op_type in _CONVOLUTIONS for node in makers)
