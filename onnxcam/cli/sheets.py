"""Options of figures and sheets, and the sheet of a command."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onnxcam import files
from onnxcam.cli.summary import RunSummary, done_of
from onnxcam.paths import left_out

if TYPE_CHECKING:
    from onnxcam.explainer.explainer import Explainer
    from onnxcam.explainer.grid import ExplanationGrid
    from onnxcam.media.heatmap import Opacity

OpacityOption = Annotated[
    str,
    typer.Option(
        "--opacity",
        help="Opacity of the map in the overlay: value (as strong as the map), or a number from 0 to 1.",
    ),
]
ColormapOption = Annotated[
    str | None,
    typer.Option(
        "--colormap",
        help="Colour map: inferno (default), viridis, cividis, magma, plasma, blues (default for maps of pixels and "
        "signals), turbo, jet, hot or gray.",
        show_default=False,
    ),
]
ColorbarOption = Annotated[
    bool | None,
    typer.Option("--colorbar/--no-colorbar", help="Draw a colour bar. Default: on sheets only.", show_default=False),
]
TitleOption = Annotated[
    str | None,
    typer.Option(
        "--title",
        help="Title above an overlay or a sheet; auto: the target and the method, of a sheet the model.",
        show_default=False,
    ),
]
BesideOption = Annotated[bool, typer.Option("--beside", help="Draw the image beside its overlay.")]
SheetOption = Annotated[
    Path | None,
    typer.Option(
        "--sheet",
        help="Write one figure, .png, .pdf or .svg, in place of the output folder: images in rows; targets, or several "
        "--method and --layer, in columns (docs/sheets.md).",
        show_default=False,
    ),
]
ScaleOption = Annotated[
    str,
    typer.Option(
        "--scale",
        help="Of a sheet: which maps of a method have one scale: image (those of an image), all, or own (none).",
    ),
]
DpiOption = Annotated[int, typer.Option("--dpi", min=20, max=1200, help="Of a sheet: pixels in an inch of a PNG.")]


def opacity(words: str) -> Opacity:
    """Return the opacity in *words*, ``value`` or a number; raise a usage error for other words."""
    from onnxcam.errors import OutputError
    from onnxcam.media.heatmap import BY_VALUE, require_opacity

    try:
        return require_opacity(words if words == BY_VALUE else float(words))
    except (ValueError, OutputError) as error:
        raise typer.BadParameter(f"--opacity takes value, or a number from 0 to 1, not {words!r}") from error


@dataclass(frozen=True)
class SheetRun:
    """A sheet that a command writes to *path*; *look* are options of `onnxcam.sheet`."""

    path: Path
    overwrite: bool
    look: dict[str, Any]

    def check(self, inputs: Sequence[str | Path]) -> None:
        """Raise OutputError where the sheet cannot be written: before the model is read."""
        from onnxcam.explainer.sheet import require_scale
        from onnxcam.media.figure import require_kind, require_matplotlib

        require_kind(self.path)
        require_matplotlib()
        require_scale(self.look["scale"])
        files.require_writable(self.path, inputs, overwrite=self.overwrite, option="--sheet")
        files.require_place(self.path, option="--sheet")

    def save(self, grid: ExplanationGrid) -> None:
        """Write the sheet of *grid*."""
        grid.sheet(**self.look).save(self.path, overwrite=self.overwrite)

    def write(
        self,
        explainers: Sequence[Explainer],
        names: Sequence[str],
        targets: Sequence[str | None],
        *,
        strict: bool,
        as_json: bool,
    ) -> None:
        """Explain the images, write the sheet, and print what is on it."""
        from onnxcam.cli import show
        from onnxcam.explainer.grid import explain_grid

        grid = explain_grid(explainers, names, targets, strict=strict, progress=show.explaining)
        self.save(grid)
        if as_json:
            show.json(grid.entries)
        else:
            show.print_out(str(self.path))
        show.warnings(left_out(grid.failed))
        entries = grid.entries
        for explainer in explainers:
            show.notes(explainer.choice, [{"note": "", **one} for one in entries if one["method"] == explainer.method])
        total, methods = len(dict.fromkeys(names)), dict.fromkeys(one["method"] for one in entries)
        guessed = {part.name: part.value for part in explainers[0].reading if part.guessed}
        done = done_of(len({one["image"] for one in entries}), total, "image", methods)
        RunSummary(done, self.path, guessed, next="the files of each map: the same command without --sheet").tell()
