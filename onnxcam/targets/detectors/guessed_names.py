"""The names of COCO for a detector that has no names: a guess by its number of classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from onnxcam.metadata.labels import coco
from onnxcam.targets.detectors.candidates import Decoder
from onnxcam.targets.detectors.clues import Clues
from onnxcam.targets.evidence import open_length
from onnxcam.targets.goal import Array

__all__ = ["GUESSED_NAMES", "guessed_names"]

GUESSED_NAMES = (
    f"the names of the classes are a guess: those of COCO, as the model has {len(coco())} classes and no names; "
    "--labels FILE gives others"
)
"""The warning of guessed names."""


def guessed_names(decoder: Decoder, tensors: Mapping[str, ir.Value], clues: Clues) -> Sequence[str] | None:
    """Return the names of COCO if *decoder* reads as many classes from *tensors*, by name; else None."""
    read = [_like(tensors[name], clues) for name in decoder.tensors if name in tensors]
    found = [one for one in read if one is not None]
    if len(found) != len(decoder.tensors):
        return None
    height, width = (open_length(2) if length is None else length for length in clues.size)
    with np.errstate(all="ignore"):  # of numbers without meaning
        seen = decoder.read(found, (height, width))
    return coco() if seen.complete and seen.scores.shape[1] == len(coco()) else None


def _like(value: ir.Value, clues: Clues) -> Array | None:
    """Return zeros of the shape of *value* for one image; where it is open its value for a probe image, if known."""
    lengths = [] if value.shape is None else [length for length in value.shape[1:] if isinstance(length, int)]
    if value.shape is not None and len(lengths) == len(value.shape) - 1:
        return np.zeros([1, *lengths], np.float32)
    values = clues.evidence.values(value)
    return values[0].astype(np.float32) if values else None
