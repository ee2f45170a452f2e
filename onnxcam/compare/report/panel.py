"""Image comparison → panel of a report: image, both overlays and their difference, as data URIs."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnxcam.compare.drawing import unpacked
from onnxcam.compare.image_comparison import ImageComparison
from onnxcam.compare.map_comparison import ObjectComparison
from onnxcam.compare.signal_inputs import drawn_record
from onnxcam.errors import ImageError
from onnxcam.media import heatmap, image, readable
from onnxcam.media.image import RgbImage
from onnxcam.media.image_files import OF_NUMBERS

__all__ = [
    "CANDIDATE",
    "FULL",
    "QUALITY",
    "REFERENCE",
    "SIDE",
    "ObjectPanel",
    "OutputPanel",
    "Panel",
    "background",
    "drawn_maps",
    "marked",
    "overlays",
    "panel",
    "ramps",
    "uri",
]

SIDE = 320
"""Maximum longer side of images in a report, in pixels."""
QUALITY = 82
FULL = 64
"""Difference of drawn outputs that is fully red; pixels are from 0 to 255."""
_FARTHEST = 1e5  # coordinate of a point, in pixels
_RECORD = 110
"""Height of a drawn signal, in pixels."""
REFERENCE, CANDIDATE = (31, 119, 208), (232, 89, 12)
"""Colours of boxes, RGB."""


@dataclass(frozen=True)
class ObjectPanel:
    """Maps of one explained thing as data URIs; None if there is nothing to show.

    Attributes:
        reference: Overlay of the reference's map, on the common scale.
        candidate: Overlay of the candidate's map, on the common scale.
        difference: Candidate minus reference: red is positive, blue negative.
    """

    reference: str | None
    candidate: str | None
    difference: str | None


@dataclass(frozen=True)
class OutputPanel:
    """What both models put out, drawn, and where it differs, as data URIs."""

    reference: str
    candidate: str
    difference: str


@dataclass(frozen=True)
class Panel:
    """Panel of one image.

    Attributes:
        picture: The image with the boxes or points of both models, as a data URI; None if it cannot be shown.
        outputs: What both models put out; None if it is not drawn.
        objects: The maps of each explained thing.
        width: Width of all images, in pixels.
        height: Height of all images, in pixels.
        missing: Reason if the image cannot be shown.
    """

    picture: str | None
    outputs: OutputPanel | None
    objects: tuple[ObjectPanel, ...]
    width: int
    height: int
    missing: str = ""


def panel(pair: ImageComparison, folders: Sequence[str] | None = None) -> Panel:
    """Return the panel of *pair*. If its image file is missing or has changed, the maps are drawn on grey.

    Files outside *folders* are not opened and count as missing; None allows any folder.
    """
    ground, missing = background(pair, folders)
    return Panel(
        picture=None if missing else uri(marked(ground, pair)),
        outputs=_output_panel(pair, ground),
        objects=tuple(_object_panel(ground, one, pair.size) for one in pair.objects),
        width=ground.shape[1],
        height=ground.shape[0],
        missing=missing,
    )


def background(pair: ImageComparison, folders: Sequence[str] | None = None) -> tuple[RgbImage, str]:
    """Return the image of *pair*, at most `SIDE` pixels long; or grey, and why it cannot be shown. See `panel`."""
    height, width = readable.fitted(pair.size, SIDE)
    height = _RECORD if pair.size[0] == 1 else height
    try:
        if folders is not None:
            _require_inside(pair.picture, folders)
        return readable.shrunk(_read(pair), (height, width)), ""
    except ImageError as error:
        return np.full((height, width, 3), 128, np.uint8), str(error)


def overlays(picture: RgbImage, heats: Sequence[heatmap.Map]) -> tuple[list[str], int, int]:
    """Return *picture* and its overlays with *heats* [h, w], in [0, 1], as data URIs; and their width and height."""
    height, width = readable.fitted((picture.shape[0], picture.shape[1]), SIDE)
    ground = readable.shrunk(picture, (height, width))
    drawn = [heatmap.overlay(ground, _enlarged(heat, (height, width))) for heat in heats]
    return [uri(ground), *map(uri, drawn)], width, height


def _object_panel(ground: RgbImage, one: ObjectComparison, size: tuple[int, int]) -> ObjectPanel:
    return ObjectPanel(*(None if drawn is None else uri(drawn) for drawn in drawn_maps(ground, one, size)))


def drawn_maps(ground: RgbImage, one: ObjectComparison, size: tuple[int, int]) -> tuple[RgbImage | None, ...]:
    """Return the maps of one thing over *ground*, an image of *size* (H, W) that was made smaller.

    They are the reference's, the candidate's and their difference; None where there is no map.
    """
    shape = ground.shape[0], ground.shape[1]
    reference, candidate = (None if kept is None else _enlarged(kept, shape) for kept in one.maps)
    drawn = [
        None if heat is None else _boxed(heatmap.overlay(ground, heat), box, (255,) * 3, size)
        for heat, box in zip((reference, candidate), one.boxes, strict=True)
    ]
    both = reference is not None and candidate is not None
    difference = heatmap.overlay(_greyed(ground), _difference(reference, candidate), 0.9) if both else None
    return drawn[0], drawn[1], difference


def _output_panel(pair: ImageComparison, ground: RgbImage) -> OutputPanel | None:
    """Return what both models put out, in the size of *ground*; None if it is not drawn."""
    drawn = [unpacked(text) for text in pair.details.get("drawings", ())]
    shape = ground.shape[0], ground.shape[1]
    first, second = ([None if one is None else _resized(one, shape) for one in drawn] + [None, None])[:2]
    if first is None or second is None:
        return None
    change = np.abs(first.astype(np.float32) - second).max(axis=2) / FULL
    difference = heatmap.overlay(_greyed(ground), _signed(np.minimum(change, 1)), 0.9)
    return OutputPanel(uri(first, ".png"), uri(second, ".png"), uri(difference))


def _resized(drawing: RgbImage, size: tuple[int, int]) -> RgbImage:
    import cv2

    return np.asarray(cv2.resize(drawing, size[::-1], interpolation=cv2.INTER_NEAREST), np.uint8)


def marked(picture: RgbImage, pair: ImageComparison) -> RgbImage:
    """Return *picture* with all boxes or points that both models find."""
    for answer, colour in zip(pair.answers, (REFERENCE, CANDIDATE), strict=True):
        for one in answer.data.get("objects", ()):
            picture = _boxed(picture, one["box"], colour, pair.size)
        for one in answer.data.get("keypoints", ()):
            picture = _dotted(picture, one["point"], colour, pair.size)
    return picture


def _dotted(picture: RgbImage, point: Sequence[float | None], colour: Sequence[int], size: tuple[int, int]) -> RgbImage:
    """Return a copy of *picture* with a *point* in pixels of an image of *size* (H, W)."""
    import cv2

    x, y = point
    if x is None or y is None or max(abs(x), abs(y)) > _FARTHEST:
        return picture
    centre = round(x * picture.shape[1] / size[1]), round(y * picture.shape[0] / size[0])
    radius = max(1, max(picture.shape) // 100)
    return np.asarray(cv2.circle(np.array(picture), centre, radius, tuple(colour), -1), np.uint8)


def _boxed(picture: RgbImage, box: Sequence[float] | None, colour: Sequence[int], size: tuple[int, int]) -> RgbImage:
    """Return a copy of *picture* with a *box* in pixels of an image of *size* (H, W)."""
    import cv2

    if box is None:
        return picture
    x, y = picture.shape[1] / size[1], picture.shape[0] / size[0]
    (x1, y1), (x2, y2) = ((round(box[at] * x), round(box[at + 1] * y)) for at in (0, 2))
    return np.asarray(cv2.rectangle(np.array(picture), (x1, y1), (x2, y2), tuple(colour), 2), np.uint8)


def ramps() -> tuple[str, str]:
    """Return the colour bars of maps (0 to 1) and of differences (-1 to 1) as data URIs, one pixel high."""
    heat = np.linspace(0, 1, 128, dtype=np.float32)[None]
    return uri(heatmap.colorize(heat), ".png"), uri(heatmap.colorize(2 * heat - 1), ".png")


def uri(rgb: RgbImage, kind: str = ".jpg") -> str:
    """Return *rgb*, uint8 [H, W, 3], as a data URI."""
    import cv2

    options = [cv2.IMWRITE_JPEG_QUALITY, QUALITY] if kind == ".jpg" else []
    _, data = cv2.imencode(kind, np.ascontiguousarray(rgb[..., ::-1]), options)
    media = {".jpg": "jpeg", ".png": "png"}[kind]
    return f"data:image/{media};base64,{base64.b64encode(data.tobytes()).decode('ascii')}"


def _read(pair: ImageComparison) -> RgbImage:
    is_record = pair.picture.lower().endswith(OF_NUMBERS)
    picture = drawn_record(pair.picture, pair.size) if is_record else image.read(pair.picture)
    data = image.load(pair.picture)
    if hashlib.sha256(data).hexdigest() != pair.sha256:
        raise ImageError(f"{pair.picture}: the file has changed since the comparison")
    return picture


def _require_inside(picture: str, folders: Sequence[str]) -> None:
    """Raise ImageError if *picture*, a path from a recording, is no file in one of *folders*."""
    place = Path(os.path.realpath(picture))
    if not any(place.is_relative_to(os.path.realpath(folder)) for folder in folders) or not os.path.isfile(place):
        raise ImageError(f"{picture}: is not opened, as its path comes from a recording; give its folder with --images")


def _enlarged(kept: NDArray[np.floating], size: tuple[int, int]) -> heatmap.Map:
    import cv2

    large = cv2.resize(kept.astype(np.float32), size[::-1], interpolation=cv2.INTER_LINEAR)
    return np.clip(large, 0, 1)


def _difference(reference: heatmap.Map | None, candidate: heatmap.Map | None) -> heatmap.Map:
    assert reference is not None
    assert candidate is not None
    return _signed(candidate - reference)


def _signed(difference: heatmap.Map) -> heatmap.Map:
    """Return *difference* with a negative value, by which `overlay` recognises a signed map."""
    difference.flat[0] = min(difference.flat[0], -1e-6)
    return difference


def _greyed(picture: RgbImage) -> RgbImage:
    """Return *picture* in pale grey, so that only the difference has colour."""
    grey = picture.mean(axis=2, keepdims=True)
    return np.broadcast_to(np.round((255 + grey) / 2), picture.shape).astype(np.uint8)
