"""An explanation as a notebook shows it: a small overlay with a colour bar, and what it is of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from onnxcam import markup
from onnxcam.explainer.sheet import MapLook, colours_of, named
from onnxcam.media import colours, image, readable

if TYPE_CHECKING:
    from onnxcam.explainer.explanation import Explanation

__all__ = ["html", "png"]

_SIDE = 320
"""The longer side of the overlay of an image, in pixels."""
_WIDE = 640
"""The longest side of a plot or of slices."""


def png(one: Explanation) -> bytes:
    """Return the overlay as the content of a .png file, see `_small`."""
    return image.encode(_small(one), Path("overlay.png"))


def _small(one: Explanation) -> NDArray[np.uint8]:
    """Return the overlay, its longer side 320 pixels at most, 640 of what is no image."""
    is_image = one.map.ndim == 2 and one.parts is None and one.signal is None
    drawn = one.overlay(times=readable.factor(one.map.shape) if is_image else 1)
    return readable.shrunk(drawn, readable.fitted(drawn.shape, _SIDE if is_image else _WIDE))


def html(one: Explanation) -> markup.Markup:
    """Return the overlay, its colour bar, target, score, method, layer and warnings as HTML."""
    colormap, is_signed = colours_of(one, MapLook())
    ramp = np.linspace(-1 if is_signed else 0, 1, 128, dtype=np.float32)[None]
    shades = colours.colorize(ramp, colormap or colours.OVER)
    ends = ("−1", "1") if is_signed else ("0", "1")
    name = named(one)
    shown = markup.block(
        markup.picture(image.encode(_small(one), Path("overlay.jpg")), f"{one.method} map of {name} over the image"),
        markup.bar(image.encode(shades, Path("bar.png")), ends, f"colour bar from {ends[0]} to {ends[1]}"),
    )
    probability = None if one.probability is None else f"{one.probability:.1%}"
    said = markup.facts(
        [
            ("target", one.label or one.words),
            ("words", one.words if one.label not in (None, one.words) else None),
            ("score", f"{one.score:.4g}"),
            ("probability", probability),
            ("against", None if one.probability_against is None else f"{one.probability_against:.1%}"),
            ("method", one.method),
            ("layer", one.layer),
            ("note", one.note),
        ]
    )
    return markup.block(markup.beside(shown, said), markup.warned(one.warnings))
