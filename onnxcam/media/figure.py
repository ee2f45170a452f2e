"""Pictures in rows and columns as one figure, by matplotlib: titles as text, a colour bar; PNG, PDF or SVG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onnxcam.errors import OutputError, nearest
from onnxcam.media import colours

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "KINDS",
    "ColourBar",
    "FigureGrid",
    "FigurePanel",
    "draw",
    "encode",
    "pixels",
    "require_kind",
    "require_matplotlib",
]

KINDS = ("png", "pdf", "svg")
"""What a figure is written as, by the suffix of its file."""

_STYLE: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"],
    "svg.fonttype": "none",  # text as text
    "svg.hashsalt": "onnxcam",  # the same figure, the same file
    "pdf.fonttype": 42,
    "image.composite_image": False,
}
_GAP, _PAD = 0.06, 0.08  # inches between pictures, and around the figure
_BAR = 0.1  # inches, the width of a colour bar
_LINE = 1.35  # the height of a line of text, in its font size
_POINT = 1 / 72  # inches
_WIDEST = 3.5  # a picture is at most so many times wider than high


@dataclass(frozen=True)
class FigurePanel:
    """A picture, uint8 [H, W, 3] RGB, and its title; no *image* leaves the place empty."""

    image: NDArray[np.uint8] | None
    title: str = ""


@dataclass(frozen=True)
class ColourBar:
    """A colour bar: the colour map's name, whether it runs from −1 to 1, and what the numbers are."""

    colormap: str
    signed: bool = False
    label: str = ""


@dataclass(frozen=True)
class FigureGrid:
    """What is on a figure.

    Attributes:
        rows: The panels, row by row.
        row_titles: A title left of each row; empty for none.
        column_titles: A title above each column; empty for none.
        title: A title above all.
        bars: Colour bars, at the right.
        height: The height of a picture, in inches.
        dpi: Pixels per inch of what is written as pixels.
        font: The size of the text, in points.
    """

    rows: Sequence[Sequence[FigurePanel]]
    row_titles: Sequence[str] = ()
    column_titles: Sequence[str] = ()
    title: str = ""
    bars: Sequence[ColourBar] = field(default=())
    height: float = 1.7
    dpi: int = 200
    font: float = 8.0


def require_matplotlib() -> None:
    """Raise OutputError if matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise OutputError(
            "titles, colour bars and sheets are drawn by matplotlib, which is not installed; "
            "pip install 'onnxcam[figures]'"
        ) from None


def require_kind(path: str | Path) -> str:
    """Return the kind of the figure *path* by its suffix; OutputError for one that is not written."""
    kind = Path(path).suffix.lower().removeprefix(".")
    if kind not in KINDS:
        what = f"ends in .{kind}" if kind else "has no suffix"
        raise OutputError(f"{path}: {what}; a sheet is .png, .pdf or .svg.{nearest(kind, KINDS)}")
    return kind


def draw(grid: FigureGrid) -> Figure:
    """Return the figure; it belongs to no window. OutputError if matplotlib is not installed."""
    require_matplotlib()
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        place = _FigureLayout(grid)
        figure = Figure(figsize=(place.width, place.height), dpi=grid.dpi)
        for number, row in enumerate(grid.rows):
            for column, panel in enumerate(row):
                if panel.image is not None:
                    _picture(figure, place, panel, number, column)
        _titles(figure, place)
        for number, bar in enumerate(grid.bars):
            _bar(figure, place, bar, number)
    return figure


def encode(figure: Figure, kind: str) -> bytes:
    """Return the content of a file of *kind*, one of `KINDS`; the same for the same figure."""
    import warnings

    import matplotlib

    content = io.BytesIO()
    metadata: dict[str, dict[str, Any]] = {
        "pdf": {"CreationDate": None, "Creator": "onnxcam"},
        "svg": {"Date": None, "Creator": "onnxcam"},
        "png": {"Software": "onnxcam"},
    }
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # drawn as a box
        figure.savefig(content, format=kind, metadata=metadata[kind])
    return content.getvalue()


def pixels(figure: Figure) -> NDArray[np.uint8]:
    """Return the figure as an image, uint8 [H, W, 3] RGB."""
    import cv2

    found = cv2.imdecode(np.frombuffer(encode(figure, "png"), np.uint8), cv2.IMREAD_COLOR)
    assert found is not None
    return np.ascontiguousarray(found[..., ::-1]).astype(np.uint8)


class _FigureLayout:
    """Where the parts of a figure lie, in inches from its top left corner."""

    def __init__(self, grid: FigureGrid) -> None:
        self.grid, self.line = grid, grid.font * _LINE * _POINT
        shapes = [[None if one.image is None else one.image.shape for one in row] for row in grid.rows]
        aspects = [[_WIDEST if s and s[1] > _WIDEST * s[0] else s[1] / s[0] if s else 0 for s in row] for row in shapes]
        count = max(len(row) for row in aspects)
        self.widths = [
            max([row[at] * grid.height for row in aspects if at < len(row)] + [0.3 * grid.height])
            for at in range(count)
        ]
        self.left = _PAD + (_wide(grid.row_titles, grid.font) + 2 * _GAP if any(grid.row_titles) else 0)
        self.top = _PAD + 1.5 * self.line * bool(grid.title) + self.line * self._lines(grid.column_titles)
        self.rows: list[float] = []
        at = self.top
        for row in grid.rows:
            at += self.line * self._lines([one.title for one in row])
            self.rows.append(at)
            at += grid.height + _GAP
        self.bottom = at - _GAP
        self.columns = [self.left + sum(self.widths[:k]) + _GAP * k for k in range(count)]
        self.right = self.columns[-1] + self.widths[-1]
        self.bar = _BAR + 2.6 * grid.font * _POINT + self.line
        self.width = self.right + _PAD + len(grid.bars) * (self.bar + 2 * _GAP)
        self.height = self.bottom + _PAD

    def _lines(self, titles: Sequence[str]) -> int:
        return max((1 + title.count("\n") for title in titles if title), default=0)

    def box(self, left: float, top: float, width: float, height: float) -> tuple[float, float, float, float]:
        """Return a rectangle as matplotlib takes it: in shares of the figure, from below."""
        bottom = self.height - top - height
        return left / self.width, bottom / self.height, width / self.width, height / self.height

    def fitting(self, title: str, width: float) -> float:
        """Return the font size at which *title* is as wide as *width* at most."""
        return self.grid.font * min(1.0, 0.94 * width / max(_wide(title.split("\n"), self.grid.font), 1e-6))


def _wide(titles: Sequence[str], font: float) -> float:
    """Return the width of the widest of *titles*, in inches."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    kind = FontProperties(family=_STYLE["font.family"])
    widths = [_extent(title, font, kind, TextPath) for title in titles if title.strip()]
    return max(widths, default=0.0)


def _extent(title: str, font: float, kind: Any, path: Any) -> float:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # glyphs that the font lacks
        lines = [path((0, 0), line, size=font, prop=kind) for line in title.split("\n") if line.strip()]
        return float(max((line.get_extents().width for line in lines if len(line.vertices)), default=0.0)) * _POINT


def _picture(figure: Figure, place: _FigureLayout, panel: FigurePanel, row: int, column: int) -> None:
    assert panel.image is not None
    height, width = panel.image.shape[:2]
    tall = place.grid.height
    wide = tall * width / height
    if wide > place.widths[column]:  # flat: as wide as it may be
        tall, wide = place.widths[column] * height / width, place.widths[column]
    left = place.columns[column] + (place.widths[column] - wide) / 2
    top = place.rows[row] + (place.grid.height - tall) / 2
    axes = figure.add_axes(place.box(left, top, wide, tall))
    axes.imshow(panel.image, interpolation="none", aspect="auto")
    axes.set_axis_off()
    if panel.title:
        _text(figure, place, panel.title, left + wide / 2, place.rows[row] - 0.02, place.widths[column] + _GAP)


def _text(figure: Figure, place: _FigureLayout, title: str, x: float, y: float, width: float, **how: Any) -> None:
    """Write *title* above the point (*x*, *y*), centred, no wider than *width*."""
    style: dict[str, Any] = {
        "ha": "center",
        "va": "bottom",
        "fontsize": place.fitting(title, width),
        "parse_math": False,
    } | how
    figure.text(x / place.width, 1 - y / place.height, title, **style)


def _titles(figure: Figure, place: _FigureLayout) -> None:
    """Write the titles of the figure, the columns and the rows."""
    grid = place.grid
    first = min(place.rows) - place.line * place._lines([one.title for one in grid.rows[0]])
    if grid.title:
        middle = (place.left + place.right) / 2
        _text(figure, place, grid.title, middle, _PAD + 1.2 * place.line, place.width - 2 * _PAD, fontweight="bold")
    for title, left, width in zip(grid.column_titles, place.columns, place.widths, strict=False):
        _text(figure, place, title, left + width / 2, first - 0.02, width + _GAP)
    for title, top in zip(grid.row_titles, place.rows, strict=False):
        _text(figure, place, title, place.left - 2 * _GAP, top + grid.height / 2, place.left, ha="right", va="center")


def _bar(figure: Figure, place: _FigureLayout, bar: ColourBar, number: int) -> None:
    """Draw a colour bar as high as two rows at most, at the top."""
    values = np.linspace(1, -1 if bar.signed else 0, 256, dtype=np.float32)[:, None]
    tall = min(place.bottom - place.rows[0], 2 * place.grid.height + _GAP)
    left = place.right + 2 * _GAP + number * (place.bar + 2 * _GAP)
    axes = figure.add_axes(place.box(left, place.rows[0], _BAR, tall))
    low = -1 if bar.signed else 0
    axes.imshow(colours.colorize(values, bar.colormap), extent=(0, 1, low, 1), aspect="auto", interpolation="none")
    axes.set_xticks([])
    axes.yaxis.tick_right()
    axes.yaxis.set_label_position("right")
    axes.set_yticks([low, 0, 1] if bar.signed else [0, 0.5, 1])
    axes.tick_params(labelsize=0.85 * place.grid.font, length=2, width=0.5, pad=2)
    for spine in axes.spines.values():
        spine.set_linewidth(0.5)
    axes.set_ylabel(bar.label, fontsize=0.85 * place.grid.font, labelpad=2, parse_math=False)
