"""Draw the concepts of an image: each in a colour of its own over the image, and a legend."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from onnxcam.media.heatmap import BY_VALUE, STRONGEST, Colour, Map, Opacity, require_opacity
from onnxcam.media.image import RgbImage

__all__ = ["colour", "colour_name", "coloured", "stacked", "with_legend"]

_COLOURS: dict[str, Colour] = {
    "red": (255, 45, 45),
    "green": (40, 215, 70),
    "blue": (60, 110, 255),
    "yellow": (255, 220, 30),
    "magenta": (245, 60, 225),
    "cyan": (45, 220, 235),
    "orange": (255, 140, 25),
    "violet": (150, 85, 255),
}
_GOLDEN = 0.618034  # of a turn: hues that follow each other lie far apart
_LEAST = 320  # pixels of the longer side of an image beside a legend
_INK, _QUIET = (27, 28, 30), (110, 113, 120)
_MARGIN, _SWATCH, _ROW = 14, 22, 46  # pixels of a legend


def colour(number: int) -> Colour:
    """Return the colour of concept *number*, from 1."""
    known = list(_COLOURS.values())
    if number <= len(known):
        return known[number - 1]
    red, green, blue = colorsys.hsv_to_rgb(number * _GOLDEN % 1, 0.55, 1)
    return round(255 * red), round(255 * green), round(255 * blue)


def colour_name(number: int) -> str:
    """Return the name of the colour of concept *number*; of those without a name ``#rrggbb``."""
    known = list(_COLOURS)
    return known[number - 1] if number <= len(known) else "#{:02x}{:02x}{:02x}".format(*colour(number))


def coloured(image: RgbImage, maps: Map, opacity: Opacity = BY_VALUE) -> RgbImage:
    """Return *image* [H, W, 3] under the colours of *maps*, [K, H, W] in [0, 1], uint8 [H, W, 3].

    A pixel has the colour of its strongest concept. By value the colour is as strong as the concept there. With a
    number it is as dark as the value is low: *opacity* of it and 1 - *opacity* of the image, as pytorch-grad-cam's
    ``show_factorization_on_image`` draws it.
    """
    strongest = maps.argmax(0)
    value = np.clip(np.take_along_axis(maps, strongest[None], 0)[0], 0, 1)[..., None]
    colours = np.array([colour(number + 1) for number in range(len(maps))], np.float32)
    is_by_value = require_opacity(opacity) == BY_VALUE
    weight = STRONGEST * value if is_by_value else np.float32(opacity) * value
    rest = 1 - weight if is_by_value else 1 - np.float32(opacity)
    return np.rint(weight * colours[strongest] + rest * image).astype(np.uint8)


def with_legend(drawn: RgbImage, rows: Sequence[tuple[str, str]]) -> RgbImage:
    """Return *drawn* beside a legend of *rows*, two lines of each concept; letters outside ASCII are written as ``?``.

    Small images are enlarged, and large ones have a larger legend.
    """
    import cv2

    drawn = _enlarged(drawn)
    scale = max(drawn.shape[:2]) / 640
    scale = min(max(scale, 1.0), max(1.0, drawn.shape[0] / (2 * _MARGIN + _ROW * len(rows))))
    panel = _panel(rows)
    size = round(panel.shape[1] * scale), round(panel.shape[0] * scale)
    panel = np.asarray(cv2.resize(panel, size, interpolation=cv2.INTER_CUBIC), np.uint8)
    height = max(len(drawn), len(panel))
    parts = [np.pad(one, ((0, height - len(one)), (0, 0), (0, 0)), constant_values=255) for one in (drawn, panel)]
    return np.ascontiguousarray(np.concatenate(parts, axis=1))


def stacked(drawings: Sequence[RgbImage], rows: Sequence[tuple[str, str]]) -> RgbImage:
    """Return *drawings* one below the other, each under the words of its row in the legend."""
    parts: list[RgbImage] = []
    for k, (drawn, row) in enumerate(zip(drawings, rows, strict=True)):
        parts += [_panel([row], k + 1), drawn]
    width = max(one.shape[1] for one in parts)
    padded = [np.pad(one, ((0, 0), (0, width - one.shape[1]), (0, 0)), constant_values=255) for one in parts]
    return np.ascontiguousarray(np.concatenate(padded))


def _enlarged(drawn: RgbImage) -> RgbImage:
    import cv2

    factor = -(-_LEAST // max(drawn.shape[:2]))
    if factor < 2:
        return drawn
    size = drawn.shape[1] * factor, drawn.shape[0] * factor
    return np.asarray(cv2.resize(drawn, size, interpolation=cv2.INTER_NEAREST), np.uint8)


def _panel(rows: Sequence[tuple[str, str]], first: int = 1) -> RgbImage:
    """Return the legend of concepts from number *first*, black on white."""
    import cv2

    font, fine = cv2.FONT_HERSHEY_DUPLEX, 2  # drawn finer, so that it can be enlarged
    lines = [tuple(line.encode("ascii", "replace").decode() for line in row) for row in rows]
    sizes = ((0.56, _INK), (0.44, _QUIET))
    wide = max(
        cv2.getTextSize(line, font, size, 1)[0][0] for row in lines for line, (size, _) in zip(row, sizes, strict=True)
    )
    left = 2 * _MARGIN + _SWATCH
    shape = (2 * _MARGIN + _ROW * len(rows)) * fine, (left + wide + _MARGIN) * fine, 3
    panel: NDArray[np.uint8] = np.full(shape, 255, np.uint8)
    for k, row in enumerate(lines):
        top = _MARGIN + k * _ROW
        y1, y2 = (y * fine for y in (top + 6, top + 6 + _SWATCH))
        panel[y1:y2, _MARGIN * fine : (_MARGIN + _SWATCH) * fine] = colour(first + k)
        for line, (size, ink), y in zip(row, sizes, (top + 16, top + 34), strict=True):
            cv2.putText(panel, line, (left * fine, y * fine), font, size * fine, ink, fine, cv2.LINE_AA)
    return np.asarray(cv2.resize(panel, (shape[1] // fine, shape[0] // fine), interpolation=cv2.INTER_AREA), np.uint8)
