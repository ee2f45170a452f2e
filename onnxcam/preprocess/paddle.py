"""Read the preprocessing in PaddlePaddle's ``inference.yml`` and ``infer_cfg.yml``, as fields of `parser.build`.

PaddleClas, PaddleOCR and PaddleX list ``PreProcess: transform_ops``, each ``{Name: parameters}``; PaddleDetection lists
``Preprocess``, each with its ``type``. Their images are BGR until an operator says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from onnxcam.errors import PreprocessError
from onnxcam.preprocess.stated import Fields, numbers, read_size
from onnxcam.preprocess.tensor_spec import TensorSpec

__all__ = ["has_operators", "paddle"]

_FILTERS = {
    0: "nearest", 1: "bilinear", 2: "bicubic", 3: "area", 4: "bicubic",
    "nearest": "nearest", "bilinear": "bilinear", "linear": "bilinear", "bicubic": "bicubic", "cubic": "bicubic",
    "area": "area", "lanczos": "bicubic", "NEAREST": "nearest", "LINEAR": "bilinear", "CUBIC": "bicubic",
}  # fmt: skip
"""OpenCV's numbers and Paddle's names; Lanczos has no counterpart."""


def has_operators(config: Mapping[str, Any]) -> bool:
    """Whether *config* lists operators of a preprocessing."""
    return bool(list(_operators(config)))


def _operators(config: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name and the parameters of each operator."""
    stated = config.get("PreProcess") or {}
    listed = stated.get("transform_ops") if isinstance(stated, dict) else None
    for each in listed if isinstance(listed, list) else []:
        for name, given in each.items() if isinstance(each, dict) else ():
            yield str(name), given if isinstance(given, dict) else {}
    detection = config.get("Preprocess")
    for each in detection if isinstance(detection, list) else []:
        if isinstance(each, dict) and "type" in each:
            yield str(each["type"]), each


def paddle(config: Mapping[str, Any], tensor: TensorSpec) -> Fields:
    """Read the operators in their order. Raises PreprocessError for one that resizes in a way unknown here."""
    detects = isinstance(config.get("Preprocess"), list)
    order = "gray" if tensor.channels == 1 else "rgb" if _is_rgb(config, detects) else "bgr"
    fields: Fields = {"order": order, "range": (0.0, 255.0)}
    for name, given in _operators(config):
        fields |= _read(name, given, fields, tensor)
    return fields


def _is_rgb(config: Mapping[str, Any], detects: bool) -> bool:
    """Whether the images are decoded as RGB: PaddleDetection and PaddleClas do, PaddleOCR states BGR."""
    modes = [given.get("img_mode") for name, given in _operators(config) if name == "DecodeImage"]
    rgb = [given.get("to_rgb", True) for name, given in _operators(config) if name == "DecodeImage"]
    names = {name for name, _ in _operators(config)}
    if modes and modes[0] is not None:
        return bool(modes[0] == "RGB")
    reads_text = any("Rec" in name or "DetResize" in name for name in names) and not detects
    return bool(rgb[0]) if rgb else not reads_text


def _read(name: str, given: Mapping[str, Any], before: Fields, tensor: TensorSpec) -> Fields:
    """Return what one operator adds; operators that only move the numbers add nothing."""
    if name in ("NormalizeImage", "DetNormalizeImage", "Normalize"):
        return _normalisation(given)
    if name in ("ResizeImage", "Resize", "DetResize", "ResizeByShort"):
        return {**_resize(given, tensor), **_filter(given)}
    if name in ("CropImage", "CenterCrop"):
        return {"crop": read_size(given.get("size") or given.get("crop_size"))}
    if name in ("RecResizeImg", "OCRReisizeNormImg"):  # the height, and padding to the width; zeros after normalising
        return _text_line(given, tensor)
    if name in ("LetterBoxResize", "LetterBox"):
        return {"letterbox": read_size(given["target_size"]), "fill": 128}
    if name == "Pad" and "resize" in before and isinstance(given.get("size"), list):
        return {"resize": None, "letterbox": read_size(given["size"]), "anchor": "corner"}
    if "Resize" in name and None in tensor.size:
        raise PreprocessError(f"its operator {name} has no counterpart here; state preprocess=…")
    return {}


def _normalisation(given: Mapping[str, Any]) -> Fields:
    """Return range, mean and std: *scale* (1/255), or ``is_scale``, comes first."""
    scales = given.get("is_scale", True) if "scale" not in given else given["scale"]
    scale = 1.0 if scales is False else 1 / 255 if scales in (True, None) else _fraction(scales)
    fields: Fields = {"range": (0.0, round(255 * scale, 4))}
    if given.get("norm_type", "mean_std") == "mean_std" and given.get("mean") is not None:
        fields |= {"mean": numbers(given["mean"]), "std": numbers(given["std"])}
    return fields


def _fraction(text: Any) -> float:
    """Return a number, or a fraction such as ``1./255.``."""
    above, _, below = str(text).partition("/")
    return float(above) / float(below or 1)


def _filter(given: Mapping[str, Any]) -> Fields:
    stated = given.get("interp", given.get("interpolation", 1))
    return {"interpolation": _FILTERS.get(stated, "bilinear")}


def _resize(given: Mapping[str, Any], tensor: TensorSpec) -> Fields:
    if given.get("resize_short"):
        return {"resize": int(given["resize_short"])}
    size = read_size(given.get("target_size") or given.get("size"))
    if not given.get("keep_ratio", False):
        return {"resize": size}
    if None not in tensor.size:  # the image fits into the size, and padding follows below and to the right
        return {"letterbox": size, "anchor": "corner", "fill": 0}
    return {"resize": min(size), "longest": max(size)}


def _text_line(given: Mapping[str, Any], tensor: TensorSpec) -> Fields:
    _, *stated = given.get("image_shape") or given.get("rec_image_shape") or (3, 48, 320)
    height, width = (fixed or int(side) for fixed, side in zip(tensor.size, stated, strict=True))
    geometry = {"letterbox": (height, width), "anchor": "corner", "fill": 128}
    return {**geometry, "range": (0.0, 1.0), "mean": (0.5,), "std": (0.5,)}
