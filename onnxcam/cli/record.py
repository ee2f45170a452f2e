"""``onnxcam record``: write predictions and maps of a model to a folder, for a later comparison."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from onnxcam.cli import options
from onnxcam.cli.summary import FirstResult, RunSummary, done_of, guess_of, shell
from onnxcam.paths import left_out


def command(
    model: Annotated[Path, typer.Argument(help="Model: .onnx (also baked) or .tflite.", show_default=False)],
    images: options.ImagesArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="Recording folder.", show_default=False)],
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            "-m",
            help="Explanation method. Default: the baked one, otherwise that of the task.",
            show_default=False,
        ),
    ] = None,
    target: Annotated[
        str,
        typer.Option("--target", "-t", help="Class to explain: top (per image), an index or a label; or like='a dog'."),
    ] = "top",
    explain_from: options.ExplainFromOption = None,
    layer: options.OwnLayerOption = None,
    preprocess: options.PreprocessOption = None,
    labels: options.LabelsOption = None,
    settings: options.SettingsOption = None,
    provider: options.ProviderOption = "auto",
    text_model: options.TextModelOption = None,
    tokenizer: options.TokenizerOption = None,
    frames: options.FramesOption = None,
    layers: Annotated[
        bool,
        typer.Option("--layers", help="Also record the layers for the first 16 images, for onnxcam compare --layers."),
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at an unreadable image instead of skipping it.")
    ] = False,
    overwrite: options.ReplaceOption = False,
) -> None:
    """Record predictions and raw maps of MODEL for each image. `onnxcam compare` compares two recordings.

    An interrupted run resumes when you repeat the command.
    """
    from onnxcam.cli import show
    from onnxcam.compare.record import record
    from onnxcam.media import image
    from onnxcam.media.video import frames_of

    names, told = frames_of(image.files(images), frames)
    made = record(
        model,
        names,
        output,
        method,
        layer=layer,
        target=target,
        explain_from=explain_from,
        preprocess=preprocess,
        labels=labels,
        provider=provider,
        settings=options.pairs(settings),
        strict=strict,
        text_model=text_model,
        tokenizer=tokenizer,
        layers=layers,
        overwrite=overwrite,
        progress=show.recording,
        told=FirstResult(show.print_err),
    )
    info = made.info
    rows = [("pictures", str(made.pictures)), ("method", info.method), ("layer", info.layer or "")]
    show.table(("recording", "value"), [*rows, ("preprocess", info.preprocess), ("provider", info.provider)])
    show.where(output)
    show.warnings([*filter(None, [made.damaged]), *left_out(made.unreadable)])
    show.warnings([*told, *made.warnings])
    total = made.pictures + len(made.unreadable)
    RunSummary(
        done_of(made.pictures, total, "image", [info.method]),
        f"{output}{os.sep}",
        guess_of(info.preprocess, info.preprocess_source),
        next=f"onnxcam compare {shell(explain_from or 'REFERENCE')} {shell(output)}",
    ).tell()
