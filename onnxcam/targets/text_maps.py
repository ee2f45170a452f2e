"""Text maps: several scores of each cell by which a text detector, such as CRAFT or DBNet, separates words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnxcam.structure.layout import picture_layout
from onnxcam.targets.dense import DenseOutput, is_coarser
from onnxcam.targets.evidence import Evidence
from onnxcam.targets.goal import Array

__all__ = ["maps_of_text"]

_CRAFT = ("text", "affinity")
_DBNET = ("text", "threshold", "binary")
_STEEPNESS = 50
"""DBNet's factor k of the approximate binary map, 1 / (1 + exp(-k (text - threshold)))."""


def maps_of_text(evidence: Evidence, scores: DenseOutput) -> Sequence[str] | None:
    """Return the names of the maps *scores* of a text detector; None where they are none.

    CRAFT's are the last axis of a grid of half the size, from an image with its channels first. DBNet's third map is
    computed from the other two.
    """
    own, layout = picture_layout(evidence.image), scores.layout
    if own is None or layout is None or scores.grid:
        return None
    y = next((y for y in evidence.graph.outputs if y.name == scores.tensor), None)
    if y is None:
        return None
    if scores.channels == 2 and layout.channel == 3 and own.channel == 1:
        return _CRAFT if is_coarser(scores.size(y), evidence.image) else None
    if scores.channels != 3:
        return None
    runs = [scores.view(value)[0].astype(np.float64) for value in evidence.values(y) if value.dtype.kind == "f"]
    return _DBNET if runs and all(map(_is_dbnet, runs)) else None


def _is_dbnet(maps: Array) -> bool:
    text, threshold, binary = maps
    if maps.min() < 0 or maps.max() > 1:
        return False
    expected = 1 / (1 + np.exp(-_STEEPNESS * (text - threshold)))
    return bool(np.abs(binary - expected).max() < 0.02 and np.ptp(binary) > 0)
