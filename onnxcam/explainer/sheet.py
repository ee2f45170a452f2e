"""Explanations as one figure: rows and columns with titles, a colour bar and a shared scale; PNG, PDF or SVG."""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from onnxcam import files
from onnxcam.errors import OutputError, nearest
from onnxcam.media import colours, figure
from onnxcam.media.figure import ColourBar, FigureGrid, FigurePanel
from onnxcam.media.heatmap import BY_VALUE, Opacity, require_opacity

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from onnxcam.explainer.explanation import Explanation

__all__ = ["MOST", "SCALES", "MapLook", "Scale", "Sheet", "colours_of", "named", "of_one", "require_scale", "sheet"]

Scale: TypeAlias = Literal["image", "all", "own"]
"""Which maps of a method and layer share a scale: those of an image, all, or none."""
SCALES: tuple[Scale, ...] = get_args(Scale)

MOST = 400
"""The most pictures of a sheet."""
_ALONE = 4.0  # inches, the height of a picture in a figure of one explanation
_DPI = (100, 400)  # the least and the most of such a figure


@dataclass(frozen=True)
class MapLook:
    """How maps are drawn, see `Explanation.overlay`."""

    opacity: Opacity = BY_VALUE
    colormap: str | None = None
    boxes: bool = False

    def __post_init__(self) -> None:
        require_opacity(self.opacity)
        if self.colormap is not None:
            colours.require(self.colormap)


@dataclass(frozen=True)
class Sheet:
    """A figure of explanations. Notebooks show it.

    Attributes:
        grid: What is on it.
    """

    grid: FigureGrid

    def __repr__(self) -> str:
        """Return one line: how many pictures, without them."""
        rows = self.grid.rows
        return f"Sheet({len(rows)} × {max(map(len, rows))} pictures{f', {self.grid.title}' if self.grid.title else ''})"

    @cached_property
    def figure(self) -> Figure:
        """The figure of matplotlib, to be changed further."""
        return figure.draw(self.grid)

    @property
    def image(self) -> NDArray[np.uint8]:
        """The figure as an image, uint8 [H, W, 3] RGB."""
        return figure.pixels(self.figure)

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = True) -> Path:
        """Write the figure to *path*, ``.png``, ``.pdf`` or ``.svg``; in the latter two text is text.

        OutputError where the suffix is another one, the file cannot be written, or is there and not to *overwrite*.
        """
        kind = figure.require_kind(Path(path))
        files.write(path, figure.encode(self.figure, kind), overwrite=overwrite)
        return Path(path)

    def _repr_png_(self) -> bytes:
        return figure.encode(self.figure, "png")


def sheet(
    explanations: Sequence[Explanation] | Sequence[Sequence[Explanation | None]],
    *,
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    title: str | None = None,
    colorbar: bool = True,
    original: bool = False,
    scale: Scale = "image",
    opacity: Opacity = BY_VALUE,
    colormap: str | None = None,
    boxes: bool = False,
    height: float = 1.7,
    dpi: int = 200,
    font: float = 8.0,
    wrap: int | None = None,
) -> Sheet:
    """Return explanations in rows and columns, as one figure for a paper or a slide.

    Args:
        explanations: A row, or a list of rows; None leaves a place empty.
        rows: A title for each row.
        columns: A title for each column.
        title: The title of the sheet; None for none.
        colorbar: With a colour bar for each colour map that is used.
        original: With the image of the first explanation of each row before it.
        scale: Which maps of the same method and layer have one scale, so that they compare: ``"image"``, those of
            one image; ``"all"``; or ``"own"``, none: each map's strongest colour is its own largest value.
        opacity: As for `Explanation.overlay`.
        colormap: As for `Explanation.overlay`.
        boxes: As for `Explanation.overlay`.
        height: The height of a picture, in inches.
        dpi: Pixels in an inch of a PNG.
        font: The size of the text, in points.
        wrap: A single row of more pictures than this is broken into rows of about equal length; None: it stays one.

    Raises:
        OutputError: matplotlib is not installed (extra ``figures``), there is nothing to draw, or too much.

    Example:
        >>> sheet(explainer.best("dog_cat.jpg", 3), original=True).save("sheet.pdf")
    """
    look, grid = MapLook(opacity, colormap, boxes), _rows(explanations)
    require_scale(scale)
    _require(grid, rows, columns)
    every = [one for row in grid for one in row if one is not None]
    ends: dict[Any, float] = {}
    for one in every:
        ends[_group(one, scale)] = max(ends.get(_group(one, scale), 0.0), one.largest)
    panels = [[_panel(one, look, ends, scale) for one in row] for row in grid]
    heads = [""] * original + list(columns) if columns else []
    if original:
        panels = [[_first(row), *drawn] for row, drawn in zip(grid, panels, strict=True)]
    if wrap is not None and len(panels) == 1 and len(panels[0]) > wrap:
        panels, heads = _wrapped(panels[0], heads, wrap), []
    label = f"share of the largest value{_WITHIN[scale] if len(every) > 1 else ''}"
    bars = (
        [ColourBar(*kind, label) for kind in dict.fromkeys(colours_of(one, look) for one in every)] if colorbar else []
    )
    return Sheet(FigureGrid(panels, list(rows), heads, title or "", bars, height, dpi, font))


def of_one(one: Explanation, look: MapLook, *, colorbar: bool, title: str | None, original: bool) -> Sheet:
    """Return the figure of one explanation, see `Explanation.figure`."""
    panels = [FigurePanel(one.overlay(look.opacity, look.colormap, look.boxes))]
    if original:
        panels.insert(0, FigurePanel(_original(one)))
    head = f"{named(one)} · {one.method}" if title is None else title
    height = int(np.clip(max(panel.image.shape[0] for panel in panels if panel.image is not None) / _ALONE, *_DPI))
    bars = [ColourBar(*colours_of(one, look), "share of the largest value")] if colorbar else []
    return Sheet(FigureGrid([panels], title=head, bars=bars, height=_ALONE, dpi=height, font=11.0))


def named(one: Explanation) -> str:
    """Return the target of an explanation, and its probability if it has one."""
    name = one.label or one.words
    return name if one.probability is None else f"{name} {100 * one.probability:.0f} %"


def require_scale(scale: str) -> None:
    """Raise OutputError for a scale that is none."""
    if scale not in SCALES:
        raise OutputError(f"no scale is called {scale!r}; there are {', '.join(SCALES)}.{nearest(scale, SCALES)}")


def _rows(explanations: Sequence[Any]) -> list[list[Explanation | None]]:
    """Return rows; a list of explanations is one."""
    nested = [isinstance(one, Sequence) for one in explanations]
    return [list(row) for row in explanations] if nested and all(nested) else [list(explanations)]


def _require(grid: Sequence[Sequence[Explanation | None]], rows: Sequence[str], columns: Sequence[str]) -> None:
    """Raise OutputError where the grid cannot be drawn."""
    count = sum(one is not None for row in grid for one in row)
    if not count:
        raise OutputError("there is nothing to draw on the sheet; give at least one explanation")
    if count > MOST:
        raise OutputError(f"{count} pictures are too many for a sheet; give {MOST} at most, in several sheets")
    widest = max(map(len, grid))
    for what, names, size in (("rows", rows, len(grid)), ("columns", columns, widest)):
        if names and len(names) != size:
            raise OutputError(f"{len(names)} titles for {size} {what}; give one each, or none")


_WITHIN = {"image": " in a picture", "all": " of all", "own": " of each map"}


def _group(one: Explanation, scale: Scale) -> tuple[object, ...]:
    """Return what explanations have in common that share a scale."""
    if scale == "own":
        return (id(one),)
    same = one.method, one.layer
    return same if scale == "all" else (*same, one.image.shape, zlib.crc32(one.image.tobytes()))


def _panel(one: Explanation | None, look: MapLook, ends: dict[Any, float], scale: Scale) -> FigurePanel:
    return FigurePanel(None) if one is None else FigurePanel(one.drawn_to(ends[_group(one, scale)], look), named(one))


def colours_of(one: Explanation, look: MapLook) -> tuple[str, bool]:
    """Return the colour map of an explanation, empty where it is signed, and whether it is signed."""
    is_signed = bool(one.map.min(initial=0) < 0)
    on_white = one.parts is not None or one.signal is not None or (one.is_of_pixels and look.opacity == BY_VALUE)
    default = colours.ON_WHITE if on_white and not one.is_volume and one.clip is None else colours.OVER
    return ("" if is_signed else look.colormap or default), is_signed


def _original(one: Explanation) -> NDArray[np.uint8]:
    """Return what is explained, without its map."""
    is_image = one.image.ndim == 3 and one.image.shape[-1] == 3 and one.map.ndim == 2 and one.signal is None
    return one.image if is_image and one.parts is None else one.overlay(0.0)


def _wrapped(panels: Sequence[FigurePanel], heads: Sequence[str], most: int) -> list[list[FigurePanel]]:
    """Return rows of *most* panels at most, about equally long; the title of its column is part of a panel's."""
    titles = [*heads, *[""] * (len(panels) - len(heads))]
    titled = [
        replace(one, title="\n".join(filter(None, (head, one.title)))) for one, head in zip(panels, titles, strict=True)
    ]
    length = -(-len(titled) // -(-len(titled) // most))
    return [titled[at : at + length] for at in range(0, len(titled), length)]


def _first(row: Sequence[Explanation | None]) -> FigurePanel:
    """Return the image of the first explanation of *row*."""
    return next((FigurePanel(_original(one)) for one in row if one is not None), FigurePanel(None))
