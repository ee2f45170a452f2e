"""Heat maps for display: normalise a raw map, resize it to the image, colour it, overlay it and draw boxes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from onnxcam.deprecation import takes_old_names
from onnxcam.errors import OutputError
from onnxcam.media import colours
from onnxcam.media.colours import COLORMAPS, colorize
from onnxcam.media.frame import Frame
from onnxcam.media.readable import drawable
from onnxcam.media.resample import AxisInterval, coverage
from onnxcam.structure.place import Place

__all__ = [
    "BY_VALUE",
    "COLORMAPS",
    "OF_PIXELS",
    "OUTLIERS",
    "STRONGEST",
    "THRESHOLD",
    "Colour",
    "Map",
    "Opacity",
    "PixelBox",
    "at_place",
    "box",
    "boxes",
    "colorize",
    "enlarge",
    "flat",
    "normalize",
    "outlined",
    "overlay",
    "paper",
    "peak",
    "require_opacity",
    "scaled",
    "sentence",
    "top",
]

Map = NDArray[np.float32]
PixelBox: TypeAlias = tuple[int, int, int, int]
Colour: TypeAlias = tuple[int, int, int]

Opacity: TypeAlias = "float | Literal['value']"
BY_VALUE: Literal["value"] = "value"
"""The opacity that follows the map."""
STRONGEST = 0.8
"""The weight of the colours where the map is largest, by value; on paper it is 1."""
THRESHOLD, OF_PIXELS = 0.25, 0.15
"""The share of the maximum from which a pixel is in a box, and that of maps of single pixels; `Explanation.box`."""
OUTLIERS = 0.02
"""The share of a map of single pixels that is drawn in the strongest colour."""
_PALE = 0.3  # how dark black is on paper


def flat(raw: Map, channel: int | None, *, summed: bool = False) -> Map:
    """Reduce the channels of *raw* to [h, w]: the largest |value|, or the sum if *summed*; no *channel*: *raw*."""
    if channel is None:
        return raw
    return (raw.sum(axis=channel) if summed else np.abs(raw).max(axis=channel)).astype(np.float32)


def normalize(raw: Map, *, signed: bool = False) -> Map:
    """Return ReLU(raw) / max, in [0, 1], zero if no value is positive; *signed*: raw / max |raw|, in [-1, 1]."""
    if signed:
        return (raw / max(float(np.abs(raw).max(initial=0)), 1e-38)).astype(np.float32)
    positive = np.maximum(raw, 0)
    top = float(positive.max(initial=0))
    if top > 0:
        positive /= top
    return positive.astype(np.float32, copy=False)


def enlarge(raw: Map, frame: Frame, size: tuple[int, int], seen: Frame | None = None) -> Map:
    """Resize *raw* [h, w], which covers *frame*, bilinearly to the image's *size* (H, W).

    It falls to zero at the edge of *seen*, the part of the image that the network sees; None is *frame*.
    """
    import cv2

    (h, w), (height, width) = raw.shape, size
    scale_x, scale_y = w / (frame.x1 - frame.x0), h / (frame.y1 - frame.y0)
    # Pixel centres: column c of the image is column (c + ½ - x0) scale - ½ of the map.
    to_map = np.array(
        [
            [scale_x, 0, (0.5 - frame.x0) * scale_x - 0.5],
            [0, scale_y, (0.5 - frame.y0) * scale_y - 0.5],
        ]
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    large = cv2.warpAffine(
        raw.astype(np.float32), to_map, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    seen = frame if seen is None else seen
    rows = _coverage(height, (frame.y0, frame.y1), (seen.y0, seen.y1))
    columns = _coverage(width, (frame.x0, frame.x1), (seen.x0, seen.x1))
    if min(rows.min(), columns.min()) < 1:
        large *= rows[:, None]
        large *= columns
    return np.asarray(large, np.float32)


@lru_cache(maxsize=64)
def _coverage(length: int, cells: AxisInterval, seen: AxisInterval) -> NDArray[Any]:
    """Return the weights of the pixels of an axis, see `coverage`."""
    return coverage(np.arange(length) + 0.5, cells, seen)


def at_place(raw: Map, frame: Frame, size: tuple[int, int], place: Place | None, tensor: Sequence[int]) -> Map:
    """Resize *raw*, which lies at *place* in a tensor that covers *frame*, as `enlarge`; None: it covers the tensor."""
    if place is None:
        return enlarge(raw, frame, size)
    height, width = tensor
    inside, seen = (frame.part(rows, columns, (height, width)) for rows, columns in (place.intervals, place.seen))
    return enlarge(place.upright(raw), inside, size, seen)


@takes_old_names(alpha="opacity")
def overlay(
    image: NDArray[np.uint8],
    heat: Map,
    opacity: Opacity = BY_VALUE,
    colormap: str | None = None,
    *,
    seen: Sequence[float] | None = None,
    on_paper: bool = False,
) -> NDArray[np.uint8]:
    """Blend *image* with the coloured *heat*, in [0, 1], or in [-1, 1] where blue speaks against the target.

    Args:
        image: uint8 [H, W, 3] RGB.
        heat: float32 [H, W].
        opacity: ``"value"``: the colours are as strong as the map, so that the image stays itself where the map is
            zero. A number from 0 to 1: the same strength everywhere; of a signed map it fades near zero.
        colormap: One of `COLORMAPS`; None is `inferno`, or `blues` on paper.
        seen: The part that the network sees, (x1, y1, x2, y2): the image stays itself outside, and has a thin frame.
        on_paper: By value, draw on a pale grey copy of the image, for maps of single pixels.
    """
    is_by_value = require_opacity(opacity) == BY_VALUE
    colormap = colormap or (colours.ON_WHITE if on_paper else colours.OVER)
    ground = paper(image) if on_paper and is_by_value else image
    strongest = (1.0 if on_paper else STRONGEST) if is_by_value else float(opacity)
    if heat.min(initial=0) < 0:
        drawn = _signed(ground, heat, strongest)
    elif is_by_value:
        drawn = _by_value(ground, colours.levels(heat), colormap, strongest)
    else:
        drawn = _even(ground, heat, strongest, colormap)
    return drawn if seen is None else _framed(ground, drawn, seen)


def require_opacity(opacity: object) -> Opacity:
    """Return *opacity*; OutputError where it is neither ``"value"`` nor a number from 0 to 1."""
    if opacity == BY_VALUE:
        return BY_VALUE
    if isinstance(opacity, str) or not 0 <= float(opacity) <= 1:  # type: ignore[arg-type]
        raise OutputError(f"the opacity is {opacity!r}; it is value, or a number from 0 to 1")
    return float(opacity)  # type: ignore[arg-type]


def _even(image: NDArray[np.uint8], heat: Map, opacity: float, colormap: str) -> NDArray[np.uint8]:
    """Return ``opacity`` of the colours and ``1 - opacity`` of the image."""
    import cv2

    shade = colorize(heat, colormap)
    return np.asarray(cv2.addWeighted(shade, opacity, np.ascontiguousarray(image), 1 - opacity, 0), np.uint8)


def _by_value(image: NDArray[np.uint8], level: NDArray[np.uint8], colormap: str, strongest: float) -> NDArray[np.uint8]:
    """Return the blend by the weights of the levels of the map."""
    import cv2

    weight = colours.weights(colormap, strongest)
    shade = np.round(weight[:, None] * colours.table(colormap)).astype(np.uint8)
    rest = np.round(255 * (1 - weight)).astype(np.uint8)
    levels = cv2.merge([level] * 3)
    kept = cv2.multiply(np.ascontiguousarray(image), cv2.LUT(levels, rest), scale=1 / 255)
    return np.asarray(cv2.add(kept, cv2.LUT(levels, shade[None])), np.uint8)


def _signed(image: NDArray[np.uint8], heat: Map, opacity: float) -> NDArray[np.uint8]:
    weight = np.float32(opacity) * np.sqrt(np.abs(heat))[..., None]
    return np.round(image + weight * (colorize(heat) - image.astype(np.float32))).astype(np.uint8)


def _framed(ground: NDArray[np.uint8], drawn: NDArray[np.uint8], seen: Sequence[float]) -> NDArray[np.uint8]:
    """Return *drawn* inside *seen* and *ground* outside, with a thin frame between them."""
    height, width = ground.shape[:2]
    x1, y1, x2, y2 = (round(min(max(at, 0), end)) for at, end in zip(seen, (width, height) * 2, strict=True))
    if (x1, y1, x2, y2) == (0, 0, width, height):
        return drawn
    framed = ground.copy()
    framed[y1:y2, x1:x2] = drawn[y1:y2, x1:x2]
    thick = max(1, round(min(height, width) / 400))
    _edge(framed, (x1 - thick, y1 - thick, x2 + thick, y2 + thick), thick, 0)
    _edge(framed, (x1, y1, x2, y2), thick, 255)
    return framed


def _edge(image: NDArray[np.uint8], rectangle: PixelBox, thick: int, grey: int) -> None:
    """Draw the edge of *rectangle* inwards, half transparent, in place; what lies outside of the image is left out."""
    x1, y1, x2, y2 = rectangle
    for left, top, right, bottom in (
        (x1, y1, x2, y1 + thick),
        (x1, y2 - thick, x2, y2),
        (x1, y1 + thick, x1 + thick, y2 - thick),
        (x2 - thick, y1 + thick, x2, y2 - thick),
    ):
        part = image[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
        part[:] = part // 2 + grey // 2


def paper(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return *image* in pale grey, on which a map of single pixels is seen."""
    import cv2

    grey = np.asarray(cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY), np.uint8)
    pale = 255 - np.round((255 - np.arange(256)) * _PALE).astype(np.uint8)
    return np.repeat(pale[grey][..., None], 3, axis=2)


def scaled(heat: Map, share: float = OUTLIERS) -> Map:
    """Return *heat* divided by the value above which *share* of the sum of magnitudes lies, limited to [-1, 1].

    captum scales attributions in this way (``outlier_perc=2``): the few largest of a map of single pixels do not hide
    the others. A map of zeros stays.
    """
    largest = top(heat, share)
    return np.clip(heat / largest, -1, 1).astype(np.float32) if largest > 0 else heat


def top(heat: Map, share: float = OUTLIERS) -> float:
    """Return the value above which *share* of the sum of the magnitudes lies; 0 for a map of zeros."""
    rising = np.sort(np.abs(heat), axis=None)
    total = np.cumsum(rising, dtype=np.float64)
    return float(rising[np.searchsorted(total, (1 - share) * total[-1])]) if heat.size else 0.0


def sentence(
    words: Sequence[str], heat: Map, opacity: Opacity = BY_VALUE, colormap: str | None = None
) -> NDArray[np.uint8]:
    """Draw *words* in a row, each on the colour of its value in *heat*, uint8 RGB [H, W, 3]."""
    import cv2

    font, height = cv2.FONT_HERSHEY_SIMPLEX, 44
    white = np.full((1, len(words), 3), 255, np.uint8)
    shades = overlay(white, heat[None], opacity, colormap or colours.ON_WHITE)[0]
    tiles = []
    shown = zip(map(drawable, words), shades, strict=True)
    for word, shade in [(word, shade) for word, shade in shown if word]:
        (width, tall), _ = cv2.getTextSize(word, font, 0.8, 2)
        tile = np.full((height, width + 18, 3), shade, np.uint8)
        ink = (0, 0, 0) if shade.mean() > 110 else (255, 255, 255)
        tiles.append(cv2.putText(tile, word, (9, (height + tall) // 2), font, 0.8, ink, 2, cv2.LINE_AA))
    return np.concatenate(tiles, axis=1)


def box(heat: Map, threshold: float = THRESHOLD) -> PixelBox | None:
    """Return the box (x1, y1, x2, y2) around the largest connected part above *threshold* of the maximum.

    x2 and y2 are one past the last pixel. None if the map is zero. The CAM papers locate objects in this way
    (1512.04150 at 20 %, 1610.02391 at 15 % of the maximum).
    """
    return next(iter(boxes(heat, threshold)), None)


def boxes(heat: Map, threshold: float = THRESHOLD, least: float = 0.0) -> list[PixelBox]:
    """Return the boxes around all connected parts above *threshold* of the maximum, the largest part first.

    Parts smaller than *least*, a share of the image's area, are left out.
    """
    import cv2

    top = float(heat.max(initial=0))
    if not top > 0:  # of NaN too, where OpenCV would end the process
        return []
    above = (heat >= threshold * top).view(np.uint8)
    left, upper, width, height = cv2.boundingRect(above)
    inside = np.ascontiguousarray(above[upper : upper + height, left : left + width])
    _, _, stats, _ = cv2.connectedComponentsWithStats(inside)
    stats[:, :2] += left, upper
    parts = sorted(stats[1:].tolist(), key=lambda part: -part[cv2.CC_STAT_AREA])
    return [(x, y, x + w, y + h) for x, y, w, h, area in parts if area >= least * heat.size]


def outlined(image: NDArray[np.uint8], corners: Sequence[Sequence[float]], colour: Colour) -> NDArray[np.uint8]:
    """Draw rectangles on *image* in *colour*, with a black edge so that they are visible on any background."""
    import cv2

    drawn, width = image.copy(), max(1, round(min(image.shape[:2]) / 150))
    for x1, y1, x2, y2 in corners:
        ends = (round(x1), round(y1)), (round(x2) - 1, round(y2) - 1)
        cv2.rectangle(drawn, *ends, (0, 0, 0), 3 * width)
        cv2.rectangle(drawn, *ends, colour, width)
    return drawn


def peak(heat: Map) -> tuple[int, int]:
    """Return (x, y) of the largest value."""
    y, x = np.unravel_index(int(np.argmax(heat)), heat.shape)
    return int(x), int(y)
