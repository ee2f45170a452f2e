"""Image comparison → panel of a report: image, both overlays and their difference, as data URIs."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnxcam.compare.image_comparison import ImageComparison
from onnxcam.compare.map_comparison import ObjectComparison
from onnxcam.compare.report.canvas import CANDIDATE, REFERENCE, SIDE, Canvas, canvas_of
from onnxcam.compare.report.marks import FULL, enlarged
from onnxcam.media import heatmap, readable
from onnxcam.media.image import RgbImage

__all__ = [
    "CANDIDATE",
    "FULL",
    "QUALITY",
    "REFERENCE",
    "SIDE",
    "ObjectPanel",
    "OutputPanel",
    "Panel",
    "overlays",
    "panel",
    "ramps",
    "uri",
]

QUALITY = 82


@dataclass(frozen=True)
class ObjectPanel:
    """Maps of one explained thing as data URIs; None if there is nothing to show.

    Attributes:
        reference: Overlay of the reference's map, on the common scale.
        candidate: Overlay of the candidate's map, on the common scale.
        difference: Candidate minus reference: red is positive, blue negative.
        picture: The image where it is cut in other planes than for the first thing; None if there is nothing to add.
    """

    reference: str | None
    candidate: str | None
    difference: str | None
    picture: str | None = None


@dataclass(frozen=True)
class OutputPanel:
    """What both models put out, drawn, and where it differs, as data URIs."""

    reference: str
    candidate: str
    difference: str


@dataclass(frozen=True)
class Panel:
    """Panel of one image. Of a volume, each picture is three planes one below the other.

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
    canvas = canvas_of(pair, folders)
    picture = canvas.picture(pair)
    drawn = canvas.outputs(pair)
    return Panel(
        picture=None if canvas.missing else uri(picture),
        outputs=None if drawn is None else OutputPanel(uri(drawn[0], ".png"), uri(drawn[1], ".png"), uri(drawn[2])),
        objects=tuple(_object_panel(canvas, pair, one) for one in pair.objects),
        width=picture.shape[1],
        height=picture.shape[0],
        missing=canvas.missing,
    )


def overlays(picture: RgbImage, heats: Sequence[heatmap.Map]) -> tuple[list[str], int, int]:
    """Return *picture* and its overlays with *heats* [h, w], in [0, 1], as data URIs; and their width and height."""
    height, width = readable.fitted((picture.shape[0], picture.shape[1]), SIDE)
    ground = readable.shrunk(picture, (height, width))
    drawn = [heatmap.overlay(ground, enlarged(heat, (height, width))) for heat in heats]
    return [uri(ground), *map(uri, drawn)], width, height


def _object_panel(canvas: Canvas, pair: ImageComparison, one: ObjectComparison) -> ObjectPanel:
    own = canvas.at(one)
    first, second, difference = (None if drawn is None else uri(drawn) for drawn in canvas.maps(one))
    again = None if own is canvas or canvas.missing else uri(own.picture(pair))
    return ObjectPanel(first, second, difference, again)


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
