"""A preprocessing as data: from an image to the tensor, and the part of the image that the tensor covers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from onnxcam.errors import PreprocessError
from onnxcam.graph.quantisation import quantised
from onnxcam.media.frame import Frame
from onnxcam.media.image import MAX_PIXELS, RgbImage
from onnxcam.numbers import HUGE, parse_float
from onnxcam.preprocess.tensor_spec import AxisOrder
from onnxcam.text import in_message

__all__ = [
    "LETTERBOX_GREY",
    "MAX_SIDE",
    "Anchor",
    "CallablePreprocess",
    "HeightWidth",
    "Interpolation",
    "Order",
    "Preprocess",
    "stack",
]

Order = Literal["rgb", "bgr", "gray"]
Interpolation = Literal["bilinear", "bicubic", "nearest", "area"]
Anchor = Literal["centre", "corner"]
HeightWidth = tuple[int, int]

LETTERBOX_GREY = 114  # Ultralytics' padding
MAX_SIDE = 2**14
"""The longest side of a tensor, in pixels: a few digits could request gigabytes."""


@dataclass(frozen=True)
class Preprocess:
    """The conversion of a uint8 RGB image to the model's tensor. `str` gives the notation that `parse` reads.

    Geometry is one of: none (the image's own size); *letterbox* (fit the whole image into (height, width) and pad it);
    or *resize* (an int: the short side, keeping the aspect ratio, the long side at most *longest*; a pair: (height,
    width)) and then *crop* (the centre; smaller images are padded). *fill* is the grey level of the padding, by default
    114 for a letterbox and 0 for a crop; with *anchor* ``"corner"`` a letterbox pads below and to the right only.

    Then 0..255 is scaled to *range*, *mean* is subtracted and the result divided by *std*, each one number or one per
    channel, in the model's channel *order*. An integer input takes the result quantised by *units*, a scale and a zero
    point; if these are unknown, or cannot represent 0..255, it takes the raw values.

    Enlarging uses OpenCV's bilinear and bicubic filters. Shrinking averages areas, close to the antialiased filters of
    PIL, torchvision and Hugging Face.
    """

    resize: int | HeightWidth | None = None
    crop: HeightWidth | None = None
    letterbox: HeightWidth | None = None
    range: tuple[float, float] = (0.0, 1.0)
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    order: Order = "rgb"
    layout: AxisOrder = "nchw"
    interpolation: Interpolation = "bilinear"
    dtype: np.dtype = field(default=np.dtype(np.float32))
    units: tuple[float, int] | None = None
    longest: int | None = None
    fill: int | None = None
    anchor: Anchor = "centre"

    def __post_init__(self) -> None:
        """Check the bounds of sizes and numbers. Raises PreprocessError."""
        for key, size in (
            ("resize", self.resize),
            ("crop", self.crop),
            ("letterbox", self.letterbox),
            ("longest", self.longest),
        ):
            sides = size if isinstance(size, tuple) else () if size is None else (size,)
            if not all(isinstance(side, int) and 1 <= side <= MAX_SIDE for side in sides):
                raise PreprocessError(f"preprocess {key} is {_told(sides, 'x')}; a side is 1 to {MAX_SIDE} pixels")
        if self.fill is not None and not 0 <= self.fill <= 255:
            raise PreprocessError(f"preprocess fill is {in_message(str(self.fill))}; it is a grey level, 0 to 255")
        for key, numbers in (("range", self.range), ("mean", self.mean), ("std", self.std)):
            if not all(parse_float(number) is not None for number in numbers):
                raise PreprocessError(f"preprocess {key} is {_told(numbers, '/')}; numbers are at most {HUGE:g}")
        if any(abs(number) * HUGE < 1 for number in self.std):
            raise PreprocessError(f"preprocess std is {_told(self.std, '/')}; it divides, and is at least {1 / HUGE:g}")

    def __call__(self, image: RgbImage) -> NDArray[Any]:
        """Return *image*, uint8 RGB [H, W, 3], as [1, C, h, w] or [1, h, w, C] of the model's dtype.

        Raises PreprocessError if there is not enough memory.
        """
        plan = self._plan(*image.shape[:2])
        try:
            pixels = _channels(plan.apply(image, self.interpolation), self.order)
            axis = 0 if self.layout == "nchw" else 2
            tensor = np.empty(np.moveaxis(pixels, 2, axis).shape, self.dtype)
            for channel, values in enumerate(self._levels):
                values.take(pixels[..., channel], out=np.moveaxis(tensor, axis, 0)[channel], mode="clip")
            return tensor[None]
        except MemoryError:
            height, width = plan.size
            raise PreprocessError(
                f"not enough memory for a tensor of {height} x {width} pixels; state a smaller resize= or crop="
            ) from None

    def frame(self, height: int, width: int) -> Frame:
        """Return the rectangle of an image of *height* × *width* pixels that the tensor covers."""
        return self._plan(height, width).frame(height, width)

    def stretch(self, height: int, width: int) -> float:
        """Return how many times as far one side of an image of *height* × *width* pixels is stretched as the other."""
        resized = self._plan(height, width).resized
        ratio = resized[0] / height * width / resized[1]
        return max(ratio, 1 / ratio)

    def __str__(self) -> str:
        """Return the notation that `parse` reads back for the same model."""
        parts: dict[str, str] = {}
        if self.resize is not None:
            parts["resize"] = str(self.resize) if isinstance(self.resize, int) else _size(self.resize)
        parts |= {key: _size(size) for key in ("crop", "letterbox") if (size := getattr(self, key))}
        if not parts:
            parts["resize"] = "none"
        parts |= {key: str(value) for key in ("longest", "fill") if (value := getattr(self, key)) is not None}
        if self.anchor != "centre":
            parts["anchor"] = self.anchor
        parts["range"] = "-".join(map(_number, self.range))
        if self.mean != (0.0,) or self.std != (1.0,):
            parts["mean"] = "/".join(map(_number, self.mean))
            parts["std"] = "/".join(map(_number, self.std))
        parts |= {"order": self.order, "layout": self.layout}
        if self.interpolation != "bilinear":
            parts["interpolation"] = self.interpolation
        return ",".join(f"{key}={value}" for key, value in parts.items())

    @cached_property
    def _levels(self) -> NDArray[Any]:
        """The value of each grey level in each channel, [C, 256]; raw integers are 0..255, shifted by -128 for int8."""
        levels = np.arange(256)[:, None].repeat(1 if self.order == "gray" else 3, axis=1)
        return np.ascontiguousarray(self._values(levels).T)

    def _values(self, levels: NDArray[np.int64]) -> NDArray[Any]:
        """Scale and normalise *levels*, 0..255, [256, C]."""
        if self.takes_raw:
            return (levels - (128 if self.dtype == np.int8 else 0)).astype(self.dtype)
        low, high = self.range
        scaled = levels * ((high - low) / 255) + low
        values: NDArray[Any] = (scaled - np.array(self.mean)) / np.array(self.std)
        return values.astype(self.dtype) if self.units is None else quantised(values, self.dtype, self.units)

    @property
    def fixed_size(self) -> HeightWidth | None:
        """The height and width of every tensor; None where they depend on the image."""
        return self.letterbox or self.crop or (self.resize if isinstance(self.resize, tuple) else None)

    @property
    def takes_raw(self) -> bool:
        """Whether the model takes the raw pixel values, shifted by -128 for int8."""
        return self.dtype.kind in "iu" and (self.units is None or self._is_beyond(*self.units))

    def _is_beyond(self, scale: float, zero: int) -> bool:
        """Whether raw pixel values are requested that the scale and zero point cannot represent."""
        raw = (self.range, self.mean, self.std) == ((0.0, 255.0), (0.0,), (1.0,))
        return raw and (np.iinfo(self.dtype).max - zero) * scale < 127

    def _plan(self, height: int, width: int) -> _Plan:
        if self.letterbox is not None:
            return _letterbox(height, width, self.letterbox, self.anchor, self.fill)
        resized = _resized(height, width, self.resize, self.longest)
        size = self.crop or resized
        # round(x / 2) goes to the even neighbour, as torchvision's CenterCrop does
        top, left = (round((have - want) / 2) for have, want in zip(resized, size, strict=True))
        return _Plan(resized, (top, left), size, fill=self.fill or 0)


@dataclass(frozen=True)
class CallablePreprocess(Preprocess):
    """A user's function from uint8 RGB [H, W, 3] to the model's tensor. It has no notation.

    Maps are placed as if the function had resized the whole image to the tensor.
    """

    function: Callable[[RgbImage], NDArray[Any]] = field(kw_only=True)

    def __call__(self, image: RgbImage) -> NDArray[Any]:
        """Return the function's result for *image*, with a batch axis and in the model's dtype."""
        tensor = np.asarray(self.function(image))
        if tensor.ndim not in (3, 4) or (tensor.ndim == 4 and len(tensor) != 1):
            raise PreprocessError(
                f"the preprocess function returned shape {tensor.shape}; return [C, H, W] or [H, W, C], "
                "with or without a batch axis of 1"
            )
        return (tensor if tensor.ndim == 4 else tensor[None]).astype(self.dtype, copy=False)

    def frame(self, height: int, width: int) -> Frame:
        """Return the whole image."""
        return Frame(0.0, 0.0, float(width), float(height))

    def stretch(self, height: int, width: int) -> float:
        """Return 1: it is not known."""
        return 1.0

    def __str__(self) -> str:
        """Return the function's name."""
        return f"function {getattr(self.function, '__name__', type(self.function).__name__)}"


def stack(tensors: Iterable[NDArray[Any]]) -> NDArray[Any]:
    """Join tensors [1, …] into one batch [N, …]. Raises PreprocessError if their sizes differ."""
    tensors = list(tensors)
    shapes = sorted({tensor.shape[1:] for tensor in tensors})
    if len(shapes) != 1:
        raise PreprocessError(
            f"the images of one batch became tensors of {len(shapes)} shapes {shapes}; "
            "add crop=HxW to the preprocessing, or pass the images one by one"
        )
    return tensors[0] if len(tensors) == 1 else np.concatenate(tensors)


@dataclass(frozen=True)
class _Plan:
    """Resize to *resized*, then cut a window of *size* with its top left at *corner*; outside it is *fill*.

    All pairs are (vertical, horizontal), in pixels of the resized image.
    """

    resized: HeightWidth
    corner: HeightWidth
    size: HeightWidth
    fill: int

    def apply(self, image: RgbImage, interpolation: Interpolation) -> RgbImage:
        resized = _resize(image, self.resized, interpolation)
        out = np.full((*self.size, 3), self.fill, np.uint8)
        spans = list(zip(self.corner, self.size, self.resized, strict=True))
        inside = tuple(slice(max(at, 0), min(at + size, full)) for at, size, full in spans)
        target = tuple(slice(max(-at, 0), min(size, full - at)) for at, size, full in spans)
        out[target] = resized[inside]
        return out

    def frame(self, height: int, width: int) -> Frame:
        per_y, per_x = height / self.resized[0], width / self.resized[1]
        (top, left), (h, w) = self.corner, self.size
        return Frame(left * per_x, top * per_y, (left + w) * per_x, (top + h) * per_y)


def _resized(height: int, width: int, resize: int | HeightWidth | None, longest: int | None) -> HeightWidth:
    if not isinstance(resize, int):
        return resize or (height, width)
    short, long = sorted((height, width))
    if longest is not None and resize * long > longest * short:
        resize = max(1, round(longest * short / long))  # as Hugging Face's processors for detection do
    # The long side is rounded down, as torchvision and Hugging Face do.
    resized = (max(1, resize * height // short), max(1, resize * width // short))
    if resized[0] * resized[1] > MAX_PIXELS:
        raise PreprocessError(
            f"resize={resize} makes {resized[0]} x {resized[1]} of an image of {height} x {width} pixels, above the "
            f"limit of {MAX_PIXELS} (2^28); state resize=HxW"
        )
    return resized


def _letterbox(height: int, width: int, size: HeightWidth, anchor: Anchor, fill: int | None) -> _Plan:
    ratio = min(size[0] / height, size[1] / width)
    resized = (max(1, round(height * ratio)), max(1, round(width * ratio)))
    # Ultralytics puts an odd row or column of padding at the bottom and the right.
    top, left = ((want - have) // 2 for want, have in zip(size, resized, strict=True))
    corner = (0, 0) if anchor == "corner" else (-top, -left)
    return _Plan(resized, corner, size, fill=LETTERBOX_GREY if fill is None else fill)


def _resize(image: RgbImage, size: HeightWidth, interpolation: Interpolation) -> RgbImage:
    """Shrink by averaging areas, then enlarge the sides that grow; OpenCV has no filter for both in one step."""
    import cv2

    if interpolation == "nearest":
        return _scaled(image, size, cv2.INTER_NEAREST_EXACT)
    grow = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC, "area": cv2.INTER_AREA}[interpolation]
    height, width = (min(have, want) for have, want in zip(image.shape, size, strict=False))
    for (h, w), how in (((height, width), cv2.INTER_AREA), (size, grow)):
        if image.shape[:2] != (h, w):
            image = _scaled(image, (h, w), how)
    return image


def _scaled(image: RgbImage, size: HeightWidth, how: int) -> RgbImage:
    import cv2

    try:
        return np.asarray(cv2.resize(image, size[::-1], interpolation=how), np.uint8)
    except cv2.error:
        have = f"{image.shape[0]} x {image.shape[1]}"
        raise PreprocessError(
            f"OpenCV cannot scale an image of {have} pixels to {size[0]} x {size[1]}; state a smaller resize="
        ) from None


def _channels(rgb: RgbImage, order: Order) -> RgbImage:
    """Return [h, w, C] in the model's order; grey by the luma weights that PIL and OpenCV share."""
    if order == "gray":
        import cv2

        return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)[..., None]
    return rgb[..., ::-1] if order == "bgr" else rgb


def _size(size: HeightWidth) -> str:
    return f"{size[0]}x{size[1]}"


def _told(numbers: Iterable[object], mark: str) -> str:
    return in_message(mark.join(map(str, numbers)))


def _number(value: float) -> str:
    short = f"{value:g}"
    return short if float(short) == value else repr(float(value))
