"""Heat maps of several stages in one output, as stacked hourglass networks have them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxcam.structure.layout import GridLayout, picture_layout
from onnxcam.targets.dense import DenseOutput, has_proportions
from onnxcam.targets.evidence import Evidence
from onnxcam.targets.goal import Array
from onnxcam.targets.graph_outputs import length, numeric_outputs

__all__ = ["StackedMaps", "stacked_maps"]

_MOST = 8
_MAPS = GridLayout(1, (2, 3))


@dataclass(frozen=True)
class StackedMaps(DenseOutput):
    """Maps [N, stages, channels, h, w], of which the last stage counts."""

    stages: int = 1

    @property
    def placed(self) -> None:
        """The maps cover the whole image."""

    def size(self, y: ir.Value) -> tuple[object, ...]:
        """Return the height and the width of the maps."""
        return tuple(y.shape or ())[3:]

    def view(self, y: Array) -> Array:
        """Return the maps of the last stage, [N, channels, h, w]."""
        return y[:, -1]

    def feed(self, weights: Array) -> Array:
        """Return the weights of all stages."""
        found = np.zeros((self.stages, *weights.shape), np.float32)
        found[-1] = weights
        return found


def stacked_maps(evidence: Evidence) -> Iterator[tuple[ir.Value, StackedMaps]]:
    """Yield the outputs [N, stages, channels, h, w] over an image [N, C, H, W]."""
    own = picture_layout(evidence.image)
    for y in numeric_outputs(evidence.graph, 5) if own is not None and len(own.space) == 2 else ():
        stages, count = length(y, 1), length(y, 2)
        few = isinstance(stages, int) and stages <= _MOST and isinstance(count, int)
        if few and has_proportions(list(y.shape or ())[3:], evidence.image):
            yield y, StackedMaps(y.name or "", _MAPS, int(str(count)), stages=int(str(stages)))
