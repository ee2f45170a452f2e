"""Read ONNX's own metadata of images and Custom Vision's, as fields of `parser.build`.

ONNX defines ``Image.BitmapPixelFormat``, ``Image.NominalPixelRange`` and ``Image.ColorSpaceGamma``
(onnx/docs/MetadataProps.md). Windows ML and Custom Vision use them; Custom Vision adds ``CustomVision.Preprocess.*``,
in the file or in ``metadata_properties.json`` beside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from onnxcam.errors import PreprocessError
from onnxcam.preprocess.tensor_spec import TensorSpec

__all__ = ["image_metadata", "is_image_metadata", "linear_light"]

_FORMAT, _RANGE, _GAMMA = "Image.BitmapPixelFormat", "Image.NominalPixelRange", "Image.ColorSpaceGamma"
_CUSTOM = "CustomVision.Preprocess."

_ORDERS = {"gray8": "gray", "rgb8": "rgb", "bgr8": "bgr", "rgba8": "rgb", "bgra8": "bgr"}
_RANGES = {
    "nominalrange_0_255": (0.0, 255.0),
    "normalized_0_1": (0.0, 1.0),
    "normalized_1_1": (-1.0, 1.0),
    "nominalrange_16_235": (16.0, 235.0),
}


def is_image_metadata(metadata: Mapping[str, Any]) -> bool:
    """Whether *metadata* states the order of channels or the range of values."""
    return not metadata.keys().isdisjoint((_FORMAT, _RANGE))


def linear_light(metadata: Mapping[str, Any]) -> str:
    """Return a warning if *metadata* requires linear light; empty if it does not."""
    if str(metadata.get(_GAMMA, "")).lower() != "linear":
        return ""
    return f"the model takes linear light ({_GAMMA}), but gets sRGB values; pass preprocess= a function that converts"


def image_metadata(metadata: Mapping[str, Any], tensor: TensorSpec) -> dict[str, Any]:
    """Read *metadata*. What it does not state is as Windows ML has it: BGR, 0 to 255, the whole image resized."""
    order = _known(metadata.get(_FORMAT, "gray8" if tensor.channels == 1 else "bgr8"), _ORDERS, _FORMAT)
    span = _known(metadata.get(_RANGE, "nominalrange_0_255"), _RANGES, _RANGE)
    return {"order": order, "range": span, **_custom_geometry(metadata), **_custom_numbers(metadata)}


def _known(stated: Any, known: Mapping[str, Any], key: str) -> Any:
    if str(stated).lower() not in known:
        raise PreprocessError(f"its {key} is {str(stated)[:40]!r}, none of {', '.join(known)}")
    return known[str(stated).lower()]


def _custom_geometry(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return Custom Vision's crop of the centre, the short side resized to it; none if its sides are 0."""
    height, width = (int(metadata.get(f"{_CUSTOM}Crop{side}", 0)) for side in ("Height", "Width"))
    if not (height and width):
        return {}
    return {"resize": min(height, width), "crop": (height, width)} if height == width else {"resize": (height, width)}


def _custom_numbers(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return Custom Vision's mean and standard deviation, which are in units of 0 to 255."""
    mean, std = (_list(metadata.get(f"{_CUSTOM}Normalize{name}")) for name in ("Mean", "Std"))
    if not mean or not std or (not any(mean) and set(std) == {1.0}):
        return {}
    return {"range": (0.0, 255.0), "mean": mean, "std": std}


def _list(text: Any) -> tuple[float, ...]:
    values = json.loads(text) if isinstance(text, str) else text
    return tuple(map(float, values or ()))
