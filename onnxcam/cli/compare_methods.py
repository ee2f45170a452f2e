"""``onnxcam compare-methods``: explanation methods beside each other on the same images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onnxcam.cli import effects, options, sheets
from onnxcam.cli.summary import RunSummary, done_of, shell
from onnxcam.paths import left_out


def command(
    model: options.ModelArgument,
    images: options.ImagesArgument,
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            "-m",
            help="Method to compare; repeatable. Default: ten, of each family some.",
            show_default=False,
        ),
    ] = None,
    target: Annotated[
        str | None, typer.Option("--target", "-t", help="What to explain (docs/targets.md).", show_default=False)
    ] = None,
    layer: options.LayerOption = "auto",
    preprocess: options.PreprocessOption = None,
    labels: options.LabelsOption = None,
    task: options.TaskOption = None,
    provider: options.ProviderOption = "auto",
    sheet: Annotated[
        Path | None,
        typer.Option(
            "--sheet",
            help="Also write a figure of the maps, .png, .pdf or .svg: each image and a map of it by each method.",
            show_default=False,
        ),
    ] = None,
    title: sheets.TitleOption = None,
    opacity: sheets.OpacityOption = "value",
    colormap: sheets.ColormapOption = None,
    dpi: sheets.DpiOption = 200,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at an image that cannot be explained instead of skipping it.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the table, and the agreement of each two.")] = False,
    overwrite: options.OverwriteOption = False,
) -> None:
    """Compare methods by time and agreement of their maps. Also shows what each assumes, and a sheet of the maps."""
    from onnxcam.cli import show
    from onnxcam.explainer.explainer import Explainer
    from onnxcam.media import image
    from onnxcam.methods import find_method
    from onnxcam.metrics.agreement import COMPARED, compare_methods

    if sheet is None:
        effects.require_no_effect_is_asked("title opacity colormap dpi", "without --sheet")
    for one in method or ():
        find_method(one)
    look = {"opacity": sheets.opacity(opacity), "colormap": colormap, "dpi": dpi, "original": True, "scale": "own"}
    look["title"] = Path(model).stem if title == "auto" else title
    names = image.files(images)
    figure = None if sheet is None else sheets.SheetRun(sheet, overwrite, look)
    if figure is not None:
        figure.check([model, *names])
    explainer = Explainer(
        model, layer=layer, provider=provider, preprocess=preprocess, labels=labels, task=task, spin=len(names) == 1
    )
    explainer.check(target)
    found = compare_methods(explainer, names, method or COMPARED, [target], strict=strict, progress=show.explaining)
    if figure is not None:
        figure.save(found.grid)
    if as_json:
        show.json(found.as_dict())
    else:
        lines = [
            (
                row.method,
                "" if row.seconds is None else f"{1000 * row.seconds:.0f}",
                "" if row.agreement is None else f"{row.agreement:.2f}",
                row.nearest or "",
                row.assumes,
            )
            for row in found.rows
        ]
        show.table(("method", "# ms an image", "# agreement", "nearest", "assumes"), lines)
    show.warnings(
        [f"{row.method} does not apply: {row.refused}" for row in found.rows if row.refused]
        + left_out(found.grid.failed)
    )
    rows = [row for row in found.rows if row.agreement is not None]
    odd = min(rows, key=lambda row: row.agreement or 0.0, default=None) if len(rows) > 2 else None
    done = len(dict.fromkeys(names)) - len({name for name, _ in found.grid.failed})
    RunSummary(
        done_of(done, len(dict.fromkeys(names)), "image", [row.method for row in found.rows if not row.refused]),
        "" if sheet is None else sheet,
        {part.name: part.value for part in explainer.reading if part.guessed},
        "" if odd is None else f"{odd.method}: it agrees least with the others",
        f"which one to trust: onnxcam evaluate {shell(model)} IMAGES"
        + "".join(f" -m {row.method}" for row in rows[:2]),
    ).tell()
