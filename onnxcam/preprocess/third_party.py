"""Read the preprocessing that timm and Ultralytics write, as fields of `parser.build`.

A reader raises PreprocessError for what no `Preprocess` can express, and any Python error for a file of another form;
`sources` skips both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from onnxcam.metadata.literals import literal
from onnxcam.preprocess.stated import Fields, numbers, read_size
from onnxcam.preprocess.tensor_spec import TensorSpec

__all__ = ["timm", "ultralytics"]


def timm(config: Mapping[str, Any], tensor: TensorSpec) -> Fields:
    """Read the ``pretrained_cfg`` of timm's ``config.json``; a size that the model fixes takes precedence."""
    _, *stated = config["input_size"]
    crop = (tensor.size[0] or int(stated[0]), tensor.size[1] or int(stated[1]))
    scaled = tuple(math.floor(length / float(config.get("crop_pct") or 0.875)) for length in crop)
    squash = config.get("crop_mode") == "squash" or scaled[0] != scaled[1]
    interpolation = config.get("interpolation", "bilinear")
    geometry: Fields = {"resize": scaled if squash else scaled[0], "crop": crop}
    if config.get("crop_mode") == "border" and float(config.get("crop_pct") or 0.875) == 1:  # the mean around it
        geometry = {"letterbox": crop, "fill": round(255 * sum(numbers(config["mean"])) / len(numbers(config["mean"])))}
    return {
        **geometry,
        "mean": numbers(config["mean"]),
        "std": numbers(config["std"]),
        "interpolation": interpolation if interpolation in ("bilinear", "nearest") else "bicubic",
    }


def ultralytics(metadata: Mapping[str, str], tensor: TensorSpec) -> Fields:
    """Read the metadata of a YOLO export: a centre crop for classifiers, a letterbox for other models.

    A size that the model fixes takes precedence over the stated one, the size in training.
    """
    stated = read_size(literal(metadata.get("imgsz", "640")))
    size = (tensor.size[0] or stated[0], tensor.size[1] or stated[1])
    if metadata.get("task") == "classify":
        return {"resize": min(size), "crop": size}
    return {"letterbox": size}
