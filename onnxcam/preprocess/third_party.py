"""Read the preprocessing that Hugging Face, timm and Ultralytics write beside a model, as fields of `parser.build`.

A reader raises PreprocessError for what no `Preprocess` can express, and any Python error for a file of another form;
`sources` skips both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from onnxcam.errors import PreprocessError
from onnxcam.metadata.literals import literal
from onnxcam.preprocess.tensor_spec import TensorSpec
from onnxcam.preprocess.transform import Size

__all__ = ["LONGEST", "Fields", "hugging_face", "timm", "ultralytics"]

Fields = dict[str, Any]

LONGEST = 2**15
"""The longest side of an image, in pixels, that a file may require."""

# By PIL's numbers. Lanczos (1) and Hamming (5) have no counterpart; the nearest filter replaces them.
_PIL_FILTERS = ("nearest", "bicubic", "bilinear", "bicubic", "area", "bilinear")
_SQUASHING = ("ViT", "DeiT", "Beit")  # Hugging Face's processors that read an integer size as a square


def hugging_face(config: Mapping[str, Any], tensor: TensorSpec) -> Fields:
    """Read a ``preprocessor_config.json`` of transformers."""
    fields = {**_hf_geometry(config, tensor), "range": _hf_range(config), **_hf_numbers(config)}
    if config.get("do_flip_channel_order", _hf_kind(config).startswith("MobileViT")):
        fields["order"] = "bgr"
    return fields | {"interpolation": _PIL_FILTERS[int(config.get("resample", 2))]}


def _hf_kind(config: Mapping[str, Any]) -> str:
    return str(config.get("image_processor_type") or config.get("feature_extractor_type"))


def _hf_numbers(config: Mapping[str, Any]) -> Fields:
    """Return mean and std. EfficientNet's processor divides by std a second time for models with a classifier."""
    fields: Fields = {}
    if config.get("do_normalize", True) and config.get("image_mean") is not None:
        fields = {"mean": _numbers(config["image_mean"]), "std": _numbers(config["image_std"])}
    elif config.get("do_normalize"):
        raise PreprocessError("it normalises, but states no image_mean")
    if _hf_kind(config).startswith("EfficientNet") and config.get("include_top", True):
        twice = _numbers(config["image_std"])
        once = fields.get("std", (1.0,) * len(twice))
        fields["std"] = tuple(a * b for a, b in zip(once, twice, strict=True))
    return fields


def _hf_geometry(config: Mapping[str, Any], tensor: TensorSpec) -> Fields:
    is_open = None in tensor.size
    if not config.get("do_resize", True) or config.get("size") is None:
        return {"resize": None} if is_open else {}
    fields = _hf_resize(config, config["size"])
    if config.get("do_center_crop"):
        fields.setdefault("crop", _hf_size(config.get("crop_size") or config["size"]))
    if isinstance(fields["resize"], int) and "crop" not in fields and not is_open:
        return {}  # sizes depend on the image, but the file was exported for one size: resize to that
    return fields


def _hf_resize(config: Mapping[str, Any], size: Any) -> Fields:
    kind = _hf_kind(config)
    if isinstance(size, dict) and "height" in size:
        return {"resize": _hf_size(size)}
    if isinstance(size, dict) and "shortest_edge" not in size:
        raise PreprocessError(f"its size {size} has no counterpart here; state preprocess=…")
    crops = config.get("do_center_crop") or kind.startswith("ConvNext")
    if isinstance(size, int) and (not crops or kind.startswith(_SQUASHING)):
        return {"resize": (size, size)}
    short = int(size["shortest_edge"] if isinstance(size, dict) else size)
    if kind.startswith("ConvNext"):  # a centre crop below 384, the whole image from 384
        resize = int(short / (config.get("crop_pct") or 224 / 256))
        return {"resize": resize if short < 384 else (short, short), "crop": (short, short)}
    fraction = 224 / 256 if kind.startswith("Levit") else config.get("crop_pct") or 1
    return {"resize": int(short / fraction)}


def _hf_range(config: Mapping[str, Any]) -> tuple[float, float]:
    if not config.get("do_rescale", True):
        return 0.0, 255.0
    low = -1.0 if config.get("rescale_offset") else 0.0
    # Rounded, because 255 · 0.00392156862745098 should say 1.
    return low, round(low + 255 * float(config.get("rescale_factor", 1 / 255)), 6)


def _hf_size(size: Any) -> Size:
    if isinstance(size, dict):
        edge = size.get("shortest_edge")
        height, width = size.get("height", edge), size.get("width", edge)
    else:
        height, width = (size, size) if isinstance(size, int) else (size[0], size[1])
    sides = int(height), int(width)  # type: ignore[arg-type]  # refused above
    if not all(0 < side <= LONGEST for side in sides):
        raise PreprocessError(f"its size {sides[0]}×{sides[1]} is none of a picture")
    return sides


def timm(config: Mapping[str, Any], tensor: TensorSpec) -> Fields:
    """Read the ``pretrained_cfg`` of timm's ``config.json``; a size that the model fixes takes precedence."""
    _, *stated = config["input_size"]
    crop = (tensor.size[0] or int(stated[0]), tensor.size[1] or int(stated[1]))
    scaled = tuple(math.floor(length / float(config.get("crop_pct") or 0.875)) for length in crop)
    squash = config.get("crop_mode") == "squash" or scaled[0] != scaled[1]
    interpolation = config.get("interpolation", "bilinear")
    return {
        "resize": scaled if squash else scaled[0],
        "crop": crop,
        "mean": _numbers(config["mean"]),
        "std": _numbers(config["std"]),
        "interpolation": interpolation if interpolation in ("bilinear", "nearest") else "bicubic",
    }


def ultralytics(metadata: Mapping[str, str], tensor: TensorSpec) -> Fields:
    """Read the metadata of a YOLO export: a centre crop for classifiers, a letterbox for other models.

    A size that the model fixes takes precedence over the stated one, the size in training.
    """
    stated = _hf_size(literal(metadata.get("imgsz", "640")))
    size = (tensor.size[0] or stated[0], tensor.size[1] or stated[1])
    if metadata.get("task") == "classify":
        return {"resize": min(size), "crop": size}
    return {"letterbox": size}


def _numbers(values: Any) -> tuple[float, ...]:
    """Return a number, or a list of numbers, as a tuple. Raises ValueError if one is not finite."""
    numbers = tuple(float(value) for value in (values if isinstance(values, list) else [values]))
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"{numbers} are not all finite")
    return numbers
