"""Parse a preprocessing: ``imagenet``, ``resize=256,crop=224,mean=0.5``, ``caffe,layout=nhwc``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, get_args

import numpy as np

from onnxcam.errors import PreprocessError, nearest
from onnxcam.preprocess.tensor_spec import DEFAULT_SIZE, AxisOrder, TensorSpec, shape_text
from onnxcam.preprocess.transform import Anchor, HeightWidth, Interpolation, Order, Preprocess

__all__ = ["OWN_SIZE", "PRESETS", "build", "check", "fields_of", "parse", "preset_of"]

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?"
_OPEN = TensorSpec("input", np.dtype(np.float32), (None, 3, None, None), "nchw")

# `fraction` is not a key for users: the crop's share of the short side.
_HALF = {"fraction": 0.875, "mean": (0.5,), "std": (0.5,)}
PRESETS: dict[str, dict[str, Any]] = {
    "imagenet": {"fraction": 0.875, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
    "inception": _HALF,
    "tf": _HALF,
    "caffe": {"fraction": 0.875, "order": "bgr", "range": (0.0, 255.0), "mean": (104.0, 117.0, 123.0)},
    "clip": {
        "fraction": 1.0,
        "interpolation": "bicubic",
        "mean": (0.48145466, 0.4578275, 0.40821073),
        "std": (0.26862954, 0.26130258, 0.27577711),
    },
    "unit": {"range": (0.0, 1.0)},
    "raw": {"range": (0.0, 255.0)},
    "yolo": {"letterbox": None},  # None: the model's own size
}
"""Fields of each preset; other fields have the defaults of `Preprocess`, sizes are the model's own."""

_SIZES = ("letterbox", "crop", "resize")
OWN_SIZE: dict[str, Any] = {"resize": None, "crop": None, "letterbox": None, "longest": None}
"""The geometry that leaves an image its own size."""
_RAW = {"range": (0.0, 255.0), "mean": (0.0,), "std": (1.0,)}


def parse(text: str, tensor: TensorSpec = _OPEN) -> Preprocess:
    """Parse a preset, ``key=value`` pairs, or a preset followed by pairs that override it, for the input *tensor*.

    Layout, dtype, sizes and grey (for one channel) default to the model's; a size that neither gives is 224.
    Raises PreprocessError.
    """
    return build(fields_of(text), tensor)


def preset_of(text: str) -> str:
    """Return the preset that states the same as *text*, which is `str` of a model's preprocessing; "" for none.

    A side that *text* states is taken for the model's.
    """
    try:
        stated = fields_of(text)
        size = next((one for key in _SIZES if isinstance(one := stated.get(key), tuple)), (None, None))
        channels, layout = 1 if stated.get("order") == "gray" else 3, stated.get("layout", "nchw")
        shape = (None, channels, *size) if layout == "nchw" else (None, *size, channels)
        tensor = replace(_OPEN, shape=shape, layout=layout)
        return next((name for name in PRESETS if str(parse(name, tensor)) == text), "")
    except PreprocessError:  # a function, or of a volume or a signal
        return ""


def build(stated: Mapping[str, Any], tensor: TensorSpec) -> Preprocess:
    """Make the preprocessing with the *stated* fields of `Preprocess` (and ``fraction``) that fits *tensor*.

    Raises PreprocessError.
    """
    fields = dict(stated)
    tensor = replace(tensor, layout=fields.get("layout", tensor.layout))
    fields = _geometry(fields, tensor) | {"layout": tensor.layout, "dtype": tensor.dtype, "units": tensor.units}
    fields.setdefault("order", "gray" if tensor.channels == 1 else "rgb")
    if tensor.dtype.kind in "iu" and not fields.keys() & {"mean", "std"}:
        fields.setdefault("range", (0.0, 255.0))
    preprocess = Preprocess(**fields)
    check(preprocess, tensor)
    return preprocess


def check(preprocess: Preprocess, tensor: TensorSpec) -> None:
    """Raise PreprocessError if *preprocess* does not fit the model's input *tensor*."""
    shape, channels = shape_text(tensor.shape), 1 if preprocess.order == "gray" else 3
    if channels != tensor.channels:
        order = "gray" if tensor.channels == 1 else "rgb or bgr"
        raise PreprocessError(
            f"preprocess order={preprocess.order} makes {channels} channels, "
            f"input '{tensor.name}' {shape} takes {tensor.channels}; use order={order}"
        )
    for key in ("mean", "std"):
        count = len(getattr(preprocess, key))
        if count not in (1, channels):
            raise PreprocessError(
                f"preprocess {key} has {count} numbers, input '{tensor.name}' {shape} has {channels} "
                f"channel{'s' if channels > 1 else ''}; give {'1 or 3' if channels > 1 else '1'}"
            )
    if not tensor.normalises and any(getattr(preprocess, key) != value for key, value in _RAW.items()):
        raise PreprocessError(
            f"preprocess range, mean and std do not apply: input '{tensor.name}' is {tensor.dtype} and takes "
            "the raw 0-255 values; state only sizes, order and layout, or 'raw'"
        )
    _check_size(preprocess, tensor)


def _check_size(preprocess: Preprocess, tensor: TensorSpec) -> None:
    stated = preprocess.letterbox or preprocess.crop or preprocess.resize
    made = stated if isinstance(stated, tuple) else (None, None)
    if any(want is not None and have != want for have, want in zip(made, tensor.size, strict=True)):
        have, want = ("x".join("?" if n is None else str(n) for n in size) for size in (made, tensor.size))
        raise PreprocessError(
            f"preprocess makes {have} pixels, input '{tensor.name}' {shape_text(tensor.shape)} takes {want}; "
            f"state crop={want}, or leave the sizes out"
        )


def _geometry(fields: dict[str, Any], tensor: TensorSpec) -> dict[str, Any]:
    """Fill in the sizes that *fields* leaves to the model, and resolve ``fraction``; tiled images keep their size."""
    fraction = fields.pop("fraction", None)
    if tensor.tiled:
        return {key: value for key, value in fields.items() if key not in OWN_SIZE} | OWN_SIZE
    default = tuple(size or DEFAULT_SIZE for size in tensor.size)
    resize = fields.get("resize")
    if "letterbox" in fields:
        fields["letterbox"] = fields["letterbox"] or default
    elif isinstance(resize, tuple) or ("resize" in fields and resize is None):
        pass
    elif resize is not None and (fraction is not None or None not in tensor.size):
        fields.setdefault("crop", default)
    elif fraction is not None:
        fields |= _centre(fields.get("crop", default), fraction)
    elif "resize" not in fields and "crop" not in fields:
        fields["resize"] = default
    return fields


def _centre(crop: HeightWidth, fraction: float) -> dict[str, Any]:
    """Resize so that *crop* is *fraction* of the short side; resize to the crop if that is not square."""
    if crop[0] != crop[1]:
        return {"resize": crop}
    return {"resize": int(crop[0] / fraction), "crop": crop}


def fields_of(text: str) -> dict[str, Any]:
    """Return the fields of `Preprocess` (and ``fraction``) that *text* states. Raises PreprocessError."""
    words = [word.strip() for word in text.split(",")]
    fields: dict[str, Any] = {}
    if "=" not in words[0]:
        fields |= _preset(words.pop(0))
    given: dict[str, Any] = {}
    for word in words:
        key, equals, value = (part.strip() for part in word.partition("="))
        if key not in _KEYS:
            raise PreprocessError(_unknown(key, bool(equals)))
        if key in given:
            raise PreprocessError(f"preprocess key '{key}' is given twice; keep one")
        given[key] = _KEYS[key](key, value)
    if "letterbox" in given and given.keys() & {"resize", "crop"}:
        raise PreprocessError("preprocess states letterbox= together with resize= or crop=; keep one of the two ways")
    if given.keys() & {"letterbox", "resize", "crop"}:
        fields.pop("letterbox", None)
    if "letterbox" in given:
        fields.pop("fraction", None)
    return fields | given


def _preset(name: str) -> dict[str, Any]:
    if name.lower() in PRESETS:
        return dict(PRESETS[name.lower()])
    hint = nearest(name, [*PRESETS, *_KEYS])
    raise PreprocessError(
        f"preprocess {name!r} is no preset ({', '.join(PRESETS)}) and no key=value such as resize=256.{hint}"
    )


def _unknown(key: str, is_pair: bool) -> str:
    if not is_pair and key.lower() in PRESETS:
        return f"preprocess preset '{key}' must come first, before the key=value pairs; put it there"
    return f"preprocess key {key!r} is unknown; the keys are {', '.join(_KEYS)}.{nearest(key, _KEYS)}"


def _refuse(key: str, value: str, allowed: str) -> PreprocessError:
    return PreprocessError(f"preprocess {key}={value} does not parse; {key} takes {allowed}")


def _read_size(key: str, value: str) -> HeightWidth:
    match = re.fullmatch(r"([1-9]\d{0,4})(?:[x×]([1-9]\d{0,4}))?", value)
    if not match:
        raise _refuse(key, value, "a number of pixels such as 224, or HEIGHTxWIDTH such as 480x640")
    return int(match[1]), int(match[2] or match[1])


def _read_resize(key: str, value: str) -> int | HeightWidth | None:
    if value.lower() == "none":
        return None
    size = _read_size(key, value)
    return size[0] if value.isdigit() else size


def _read_int(key: str, value: str) -> int:
    if not re.fullmatch(r"\d{1,5}", value):
        raise _refuse(key, value, "a whole number")
    return int(value)


def _read_numbers(key: str, value: str) -> tuple[float, ...]:
    if not re.fullmatch(f"{_NUMBER}(?:/{_NUMBER})*", value, re.IGNORECASE):
        raise _refuse(key, value, "one number, or one a channel such as 0.485/0.456/0.406")
    numbers = tuple(float(number) for number in value.split("/"))
    if key == "std" and 0 in numbers:
        raise _refuse(key, value, "numbers other than 0, it divides")
    return numbers


def _read_range(key: str, value: str) -> tuple[float, float]:
    match = re.fullmatch(f"({_NUMBER})-({_NUMBER})", value, re.IGNORECASE)
    if not match or float(match[1]) >= float(match[2]):
        raise _refuse(key, value, "LOW-HIGH with LOW below HIGH, such as 0-1, 0-255 or -1-1")
    return float(match[1]), float(match[2])


def _one_of(*words: str) -> Callable[[str, str], str]:
    def read(key: str, value: str) -> str:
        if value.lower() not in words:
            raise PreprocessError(
                f"preprocess {key}={value} does not parse; {key} takes {', '.join(words)}.{nearest(value, words)}"
            )
        return value.lower()

    return read


_KEYS: dict[str, Callable[[str, str], Any]] = {
    "resize": _read_resize,
    "crop": _read_size,
    "letterbox": _read_size,
    "longest": _read_int,
    "fill": _read_int,
    "anchor": _one_of(*get_args(Anchor)),
    "range": _read_range,
    "mean": _read_numbers,
    "std": _read_numbers,
    "order": _one_of(*get_args(Order)),
    "layout": _one_of(*get_args(AxisOrder)),
    "interpolation": _one_of(*get_args(Interpolation)),
}
