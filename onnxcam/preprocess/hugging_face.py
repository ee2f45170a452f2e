"""Read Hugging Face's ``preprocessor_config.json``, processor by processor, as fields of `parser.build`.

A reader raises PreprocessError for what no `Preprocess` can express, and any Python error for a file of another form;
`sources` skips both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onnxcam.errors import PreprocessError
from onnxcam.preprocess.stated import Fields, numbers, read_size
from onnxcam.preprocess.tensor_spec import TensorSpec

__all__ = ["hugging_face"]

# By PIL's numbers. Lanczos (1) and Hamming (5) have no counterpart; the nearest filter replaces them.
_PIL_FILTERS = ("nearest", "bicubic", "bilinear", "bicubic", "area", "bilinear")

_SQUASHING = ("ViT", "DeiT", "Beit", "Segformer", "DPT", "EfficientNet", "Flava", "Blip", "OwlViT", "Perceiver")
"""Processors that read an integer size as a square, although they crop."""

_BICUBIC = ("CLIP", "DeiT", "Beit", "Levit", "PoolFormer", "DPT", "Perceiver", "Bit", "Siglip", "OwlViT", "Blip")
"""Processors whose default filter is bicubic."""


def hugging_face(config: Mapping[str, Any], tensor: TensorSpec) -> Fields:
    """Read a ``preprocessor_config.json`` of transformers."""
    fields = {**_geometry(config, tensor), "range": _range(config), **_normalisation(config)}
    if config.get("do_flip_channel_order", _kind(config).startswith("MobileViT")):
        fields["order"] = "bgr"
    default = 0 if _is(config, "EfficientNet") else 3 if _is(config, *_BICUBIC, "Qwen") else 2
    return fields | {"interpolation": _PIL_FILTERS[int(config.get("resample", default))]}


def _kind(config: Mapping[str, Any]) -> str:
    return str(config.get("image_processor_type") or config.get("feature_extractor_type"))


def _is(config: Mapping[str, Any], *kinds: str) -> bool:
    return _kind(config).startswith(kinds)


def _normalisation(config: Mapping[str, Any]) -> Fields:
    """Return mean and std. EfficientNet's processor divides by std a second time for models with a classifier."""
    fields: Fields = {}
    if _is(config, "MobileViT"):  # it never normalises, whatever mean its file has
        return fields
    if config.get("do_normalize", True) and config.get("image_mean") is not None:
        fields = {"mean": numbers(config["image_mean"]), "std": numbers(config["image_std"])}
    elif config.get("do_normalize"):
        raise PreprocessError("it normalises, but states no image_mean")
    if _is(config, "EfficientNet") and config.get("include_top", True):
        twice = numbers(config["image_std"])
        once = fields.get("std", (1.0,) * len(twice))
        fields["std"] = tuple(a * b for a, b in zip(once, twice, strict=True))
    return fields


def _geometry(config: Mapping[str, Any], tensor: TensorSpec) -> Fields:
    is_open = None in tensor.size
    if not config.get("do_resize", True) or config.get("size") is None:
        return {"resize": None} if is_open else {}
    boxed = _letterbox(config, config["size"])
    if boxed is not None:
        return boxed
    if _is(config, "Qwen"):
        return {"resize": _of_patches(config, config["size"])} if is_open else {}
    fields = _resize(config, config["size"])
    if config.get("do_center_crop") and not _is(config, "Perceiver"):
        fields.setdefault("crop", read_size(config.get("crop_size") or config["size"]))
    if isinstance(fields["resize"], int) and "crop" not in fields and not is_open:
        return {}  # sizes depend on the image, but the file was exported for one size: resize to that
    return fields


def _letterbox(config: Mapping[str, Any], size: Any) -> Fields | None:
    """Return the geometry of processors that fit the whole image into a size and pad it; None for others."""
    pads = config.get("do_pad", True)
    if _is(config, "Owlv2") and pads:  # a black border below or to the right
        return {"letterbox": read_size(size), "anchor": "corner", "fill": 0}
    if _is(config, "Donut", "Nougat") and pads and config.get("do_thumbnail", True):
        return {"letterbox": read_size(size if isinstance(size, dict) else size[::-1]), "fill": 0}
    if pads and isinstance(config.get("background_color"), list):  # DeepSeek-VL, Janus
        background = numbers(config["background_color"])
        return {"letterbox": read_size(size), "fill": round(sum(background) / len(background))}
    if _is(config, "Llava") and config.get("do_pad"):
        return {"letterbox": read_size(size), "fill": _mean_grey(config)}
    if isinstance(size, dict) and size.keys() == {"longest_edge"} and pads and config.get("pad_size"):
        return {"letterbox": read_size(config["pad_size"]), "anchor": "corner", "fill": _mean_grey(config)}
    return None


def _mean_grey(config: Mapping[str, Any]) -> int:
    """Return the grey level that normalisation turns to zero: zeros are added after it."""
    mean = numbers(config.get("image_mean") or 0.0) if config.get("do_normalize", True) else (0.0,)
    return min(255, round(sum(mean) / len(mean) * (255 if config.get("do_rescale", True) else 1)))


def _resize(config: Mapping[str, Any], size: Any) -> Fields:
    if _is(config, "Perceiver") and config.get("do_center_crop", True):  # it crops first, by the same share
        return {"resize": read_size(config.get("crop_size") or 256)[0], "crop": read_size(size)}
    if isinstance(size, int) and config.get("max_size"):  # DETR and kin, before sizes were dicts
        size = {"shortest_edge": size, "longest_edge": config["max_size"]}
    if isinstance(size, dict) and "height" in size:
        return {"resize": _by_share(config, read_size(size))}
    if isinstance(size, list):
        return {"resize": read_size(size)}
    if _is(config, "Idefics3", "SmolVLM") and config.get("max_image_size"):  # of a tile, or of the whole alone
        return {"resize": (int(config["max_image_size"]["longest_edge"]),) * 2}
    if isinstance(size, dict) and size.keys() == {"longest_edge"}:  # Pixtral, Idefics
        return {"resize": int(size["longest_edge"]), "longest": int(size["longest_edge"])}
    if isinstance(size, dict) and "shortest_edge" not in size:
        raise PreprocessError(f"its size {size} has no counterpart here; state preprocess=…")
    crops = config.get("do_center_crop") or _is(config, "ConvNext")
    if isinstance(size, int) and (not crops or _is(config, *_SQUASHING)):
        return {"resize": (size, size)}
    short = int(size["shortest_edge"] if isinstance(size, dict) else size)
    if _is(config, "ConvNext"):  # a centre crop below 384, the whole image from 384
        resize = int(short / (config.get("crop_pct") or 224 / 256))
        return {"resize": resize if short < 384 else (short, short), "crop": (short, short)}
    fraction = 224 / 256 if _is(config, "Levit") else config.get("crop_pct") or 1
    longest = size.get("longest_edge") if isinstance(size, dict) and not crops else None
    return {"resize": int(short / fraction)} | ({} if longest is None else {"longest": int(longest)})


def _of_patches(config: Mapping[str, Any], size: Mapping[str, Any]) -> tuple[int, int]:
    """Return a square of whole blocks of patches: its area is near 448 × 448, and between the two of *size*."""
    unit = int(config.get("patch_size") or 14) * int(config.get("merge_size") or 2)
    least = size.get("shortest_edge") or config.get("min_pixels") or 0
    most = size.get("longest_edge") or config.get("max_pixels") or 448**2
    area = min(max(448**2, int(least)), int(most))
    side = max(round(area**0.5 / unit), 1) * unit
    return side, side


def _by_share(config: Mapping[str, Any], size: tuple[int, int]) -> int | tuple[int, int]:
    """Return PoolFormer's size, a square by its short side, divided by the share that the crop takes."""
    share = config.get("crop_pct") if _is(config, "PoolFormer") else None
    if not share:
        return size
    return int(size[0] / share) if size[0] == size[1] else (int(size[0] / share), int(size[1] / share))


def _range(config: Mapping[str, Any]) -> tuple[float, float]:
    if not config.get("do_rescale", True):
        return 0.0, 255.0
    low = -1.0 if config.get("rescale_offset") else 0.0
    # Rounded, because 255 · 0.00392156862745098 should say 1.
    return low, round(low + 255 * float(config.get("rescale_factor", 1 / 255)), 6)
