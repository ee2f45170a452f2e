"""`Drawing`: what is written of an explanation, and how its overlay is drawn."""

from __future__ import annotations

from typing import Literal, TypeAlias, TypedDict, get_args

from onnxcam.errors import OutputError, nearest
from onnxcam.media import colours, figure
from onnxcam.media import image as pictures
from onnxcam.media.heatmap import BY_VALUE, Opacity, require_opacity

__all__ = [
    "EXACT",
    "FORMATS",
    "MAPS",
    "SMALL",
    "SUFFIXES",
    "Drawing",
    "Format",
    "WrittenMaps",
    "check_drawing",
    "is_figure",
]

WrittenMaps: TypeAlias = Literal["raw", "overlay", "all"]
"""What is written of an explanation: the raw map; also the overlay; also the map at the image's size."""
Format: TypeAlias = Literal["jpeg", "png", "webp"]
"""The file format of overlays."""
MAPS: tuple[WrittenMaps, ...] = get_args(WrittenMaps)
FORMATS: tuple[Format, ...] = get_args(Format)


class Drawing(TypedDict, total=False):
    """What is written of an explanation, and how its overlay is drawn.

    Attributes:
        opacity: Opacity of the map in the overlay: ``"value"``, as strong as the map, or a number from 0 to 1.
        colormap: One of `onnxcam.media.colours.COLORMAPS`; None is the default of what is drawn.
        boxes: Draw the boxes of the map, and of an explained detection.
        maps: ``"raw"``, the raw map; ``"overlay"``, the raw map and the overlay; or ``"all"``, also the map at the
            image's size.
        format: Format of the overlay: ``"png"``, which is exact, ``"jpeg"`` or ``"webp"``.
        quality: Quality of JPEG and WebP, 1 to 100.
        colorbar: Draw a colour bar beside the overlay. This, *title* and *beside* need matplotlib.
        title: Write a title above it: text, or ``"auto"`` for the target, its probability and the method.
        beside: Draw the image beside it.
    """

    opacity: Opacity
    colormap: str | None
    boxes: bool
    maps: WrittenMaps
    format: Format
    quality: int
    colorbar: bool
    title: str | None
    beside: bool


EXACT: Drawing = {
    "opacity": BY_VALUE,
    "colormap": None,
    "boxes": False,
    "maps": "all",
    "format": "png",
    "quality": pictures.QUALITY,
    "colorbar": False,
    "title": None,
    "beside": False,
}
"""What `Explanation.save` writes by default: all, without loss."""
SMALL: Drawing = {**EXACT, "maps": "overlay", "format": "jpeg"}
"""What commands write by default."""

SUFFIXES = {"jpeg": ".jpg", "png": ".png", "webp": ".webp"}


def check_drawing(drawing: Drawing) -> None:
    """Raise OutputError for a value of *drawing* that `Explanation.save` does not know."""
    if drawing.get("colormap") is not None:
        colours.require(str(drawing["colormap"]))
    if is_figure(drawing):
        figure.require_matplotlib()
    require_opacity(drawing.get("opacity", BY_VALUE))
    known = {"maps": MAPS, "format": FORMATS}
    for name, values in known.items():
        given = str(drawing.get(name, values[0]))
        if given not in values:
            raise OutputError(f"no {name} is called {given!r}; there are {', '.join(values)}.{nearest(given, values)}")
    quality = drawing.get("quality", pictures.QUALITY)
    if not 1 <= quality <= 100:
        raise OutputError(f"the quality is {quality}; it is a whole number from 1 to 100")


def is_figure(drawing: Drawing) -> bool:
    """Whether the overlay is drawn with text or the image beside it, by matplotlib."""
    return bool(drawing.get("colorbar") or drawing.get("title") or drawing.get("beside"))
