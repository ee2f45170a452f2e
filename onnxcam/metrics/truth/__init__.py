"""Ground truth of images: one file per format, and `Truth`, which finds the format (docs/truth-formats.md)."""

from onnxcam.metrics.truth.annotation import Annotation, LazyMask, Object, Region, TrueKeypoint, regions
from onnxcam.metrics.truth.masks import MASK_VALUES, VOID
from onnxcam.metrics.truth.truth import FORMATS, Truth

__all__ = [
    "FORMATS",
    "MASK_VALUES",
    "VOID",
    "Annotation",
    "LazyMask",
    "Object",
    "Region",
    "TrueKeypoint",
    "Truth",
    "regions",
]
