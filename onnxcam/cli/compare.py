"""``onnxcam compare``: compare two recordings, image by image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onnxcam.cli import effects, options, verdict
from onnxcam.cli.summary import FirstResult


def command(
    reference: Annotated[Path, typer.Argument(help="Reference recording (a folder).", show_default=False)],
    candidate: Annotated[
        Path, typer.Argument(help="Recording to check against the reference (a folder).", show_default=False)
    ],
    truth: options.TruthOption = None,
    mask_values: options.MaskValuesOption = "object",
    require: options.RequireOption = None,
    common: Annotated[
        bool, typer.Option("--common", help="Compare only the images that both have, instead of an error.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Compare even if the methods, or the cropping and scaling of images, differ."),
    ] = False,
    images: Annotated[
        list[str] | None,
        typer.Option(
            "--images",
            "-i",
            help="Folder with the images, to show them in the report; repeatable.",
            show_default=False,
        ),
    ] = None,
    layers: Annotated[
        bool, typer.Option("--layers", help="Also report the first layer where the two models disagree.")
    ] = False,
    overwrite: options.ReplaceOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print validation.json.")] = False,
    output: Annotated[Path, typer.Option("--output", "-o", help="Report folder.")] = Path("onnxcam-validation"),
) -> None:
    """Compare two recordings image by image. Exit code 0: all requirements are met, 1: at least one fails, 3:
    undecided, because the inputs of the two models differ.

    Make recordings with `onnxcam record`, on a device with `onnxcam pack`, or in firmware (docs/recording.md).
    """
    from onnxcam.cli import show
    from onnxcam.compare.compare_recordings import compare_recordings
    from onnxcam.metrics.truth import Truth

    if truth is None:
        effects.require_no_effect_is_asked("mask_values", "without --truth")
    found = compare_recordings(
        reference,
        candidate,
        output,
        common=common,
        force=force,
        truth=None if truth is None else Truth(truth, mask_values),
        require=require,
        overwrite=overwrite,
        images=images or (),
        layers=layers,
        progress=show.comparing,
        told=FirstResult(show.print_err),
    )
    verdict.finish(found, output, overwrite=overwrite, as_json=as_json)
