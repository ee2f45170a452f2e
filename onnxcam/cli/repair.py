"""``onnxcam repair``: a quantised model that fails, made to pass with few nodes in float."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onnxcam.cli import options
from onnxcam.cli.summary import RunSummary, counted, shell

if TYPE_CHECKING:
    from onnxcam.diagnosis.repair_result import Repair


def command(
    reference: Annotated[
        str,
        typer.Argument(
            metavar="FLOAT",
            help="Float model (.onnx). -: there is none; INT8 without rounding takes its place, and weights are not "
            "repaired.",
            show_default=False,
        ),
    ],
    candidate: Annotated[
        Path,
        typer.Argument(
            metavar="INT8",
            help="Quantised model (.onnx). A QOperator file becomes one in QDQ form.",
            show_default=False,
        ),
    ],
    images: options.ImagesArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="Repaired file (.onnx).", show_default=False)],
    require: options.RequireOption = None,
    report: Annotated[
        Path | None,
        typer.Option("--report", help="Folder for repair.json and the lists of --write.", show_default=False),
    ] = None,
    write: Annotated[
        str | None,
        typer.Option(
            "--write",
            help="Lists of the nodes to keep in float, for other quantisers: ort, nncf, qnn, aimet, tensorrt, tflite; "
            "several with commas. They are written into the folder of --report. Default: ort.",
            show_default=False,
        ),
    ] = None,
    method: Annotated[str, typer.Option("--method", "-m", help="Explanation method.")] = "auto",
    target: Annotated[
        str, typer.Option("--target", "-t", help="Class to explain, of classifiers: top, an index or a label.")
    ] = "top",
    layer: options.LayerOption = "auto",
    preprocess: options.PreprocessOption = None,
    labels: options.LabelsOption = None,
    settings: options.SettingsOption = None,
    provider: options.ProviderOption = "auto",
    most: Annotated[int, typer.Option("--most", min=1, help="Largest number of images for the search.")] = 16,
    float_outputs: Annotated[
        bool, typer.Option("--float-outputs", help="Outputs in integers may become floats.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print repair.json.")] = False,
    overwrite: options.OverwriteOption = False,
) -> None:
    """Write a form of INT8 that meets requirements. Requirements are those of `onnxcam validate`.
    The form has better scales where they are enough, and as few nodes in float as are needed.

    Half of the images serve the search; the other half confirms the result. Exit code 0: the file is repaired, or it
    passes as it is and is copied. 1: no repair meets the requirements. 2: bad input, or the requirements fail
    even in float.
    """
    from onnxcam import files
    from onnxcam.cli import show
    from onnxcam.diagnosis.keep_float import formats
    from onnxcam.diagnosis.repair import repair
    from onnxcam.diagnosis.repair_report import INDEX, save_report
    from onnxcam.errors import OutputError
    from onnxcam.graph.io import copy, files_of
    from onnxcam.media import image
    from onnxcam.progress import quiet

    lists = formats("ort" if write is None else write)
    if write is not None and report is None:
        raise OutputError("--write needs a folder for its lists; name it with --report")
    real = options.float_model(reference)
    inputs: list[str | Path] = [*files_of(candidate), *files_of(real), *image.files(images)]
    files.require_writable(output, inputs, overwrite=overwrite)
    files.require_place(output)
    if report is not None:
        files.require_place(report, folder=True, option="--report")
        files.refuse_finished(report, INDEX, "a finished repair", overwrite=overwrite, option="--report")
        files.require_writable(report / INDEX, inputs, overwrite=overwrite, option="--report")
    with show.waiting("searching for a repair"):
        found = repair(
            real,
            candidate,
            images,
            require=require,
            target=target,
            most=most,
            float_outputs=float_outputs,
            method=method,
            layer=layer,
            preprocess=preprocess,
            labels=labels,
            settings=options.pairs(settings),
            provider=provider,
            progress=quiet if show.err.is_terminal else show.diagnosing,  # at a terminal there is the spinner
        )
    if found.already:
        copy(candidate, output, overwrite=overwrite)
    elif found.passed:
        found.save(output, inputs, overwrite=overwrite)
    if report is not None:
        save_report(found, report, lists, overwrite=overwrite)
        show.warnings(found.keep.warnings)
    _print(found, as_json)
    search, confirmation = found.images
    others = f"{confirmation} other{'s' * (confirmation != 1)}"
    models = ("validate", reference, output) if found.passed else ("diagnose", reference, candidate)
    RunSummary(
        f"{counted(search, 'image')} for the search, {others} for the confirmation",
        output if found.passed else "",
        next="" if found.already else " ".join(["onnxcam", *map(shell, (*models, images[0]))]),
    ).tell()
    wrote = f"; {'copied' if found.already else 'written'} to {output}" if found.passed else ""
    show.print_err(f"{found.sentence}{wrote}", "green" if found.passed else "red")
    if not found.passed:
        raise typer.Exit(1)


def _print(found: Repair, as_json: bool) -> None:
    from onnxcam.cli import show

    if as_json:
        show.json(found.as_dict())
    else:
        rows = [
            (one.words, _number(one.before), _number(one.after), "holds" if one.holds else "FAILS")
            for one in found.measures
        ]
        show.table(("required", "# before", "# after", ""), rows)
        for rewrite in found.rewrites:
            show.print_out(f"new units: {rewrite.words}")
        for name in found.nodes:
            show.print_out(f"in float: {name}")
        if found.slower is not None:
            show.print_out(f"time of a run: {found.slower:.2f} of that before, as measured on this machine")
    show.warnings(found.warnings)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
