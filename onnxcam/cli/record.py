"""``onnxcam record``: what a model says of pictures, in a folder, to be compared later."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onnxcam.cli import options


def command(
    model: Annotated[
        Path, typer.Argument(help="The model: an .onnx file, also a baked one, or a .tflite file.", show_default=False)
    ],
    images: options.Images,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the recording.", show_default=False)],
    method: Annotated[
        str | None,
        typer.Option(
            "--method", "-m", help="A method's id. Without it: what is baked in, else gradcam.", show_default=False
        ),
    ] = None,
    target: Annotated[
        str, typer.Option("--target", "-t", help="top (each picture's own), a class index or a label.")
    ] = "top",
    classes_from: options.ClassesFrom = None,
    layer: options.OwnLayer = None,
    preprocess: options.Preprocess = None,
    labels: options.Labels = None,
    settings: options.Settings = None,
    provider: options.Provider = "auto",
    strict: Annotated[bool, typer.Option("--strict", help="End at a picture that cannot be read.")] = False,
) -> None:
    """Record what MODEL says of pictures. Scores and raw maps go into a folder, for `onnxcam compare`.

    What is killed on the way goes on where it was when the same command is given again.
    """
    from onnxcam.cli import show
    from onnxcam.compare.record import record
    from onnxcam.media import image

    made = record(
        model,
        image.files(images),
        output,
        method,
        layer=layer,
        target=target,
        classes_from=classes_from,
        preprocess=preprocess,
        labels=labels,
        provider=provider,
        settings=options.pairs(settings),
        strict=strict,
        progress=show.recording,
    )
    side = made.side
    rows = [("pictures", str(made.pictures)), ("method", side.method), ("layer", side.layer or "")]
    show.table(("", ""), [*rows, ("preprocess", side.preprocess), ("provider", side.provider)])
    show.where(output)
    show.warnings([*filter(None, [made.damaged]), *(f"left out: {why}" for _, why in made.unreadable)])
    show.warnings(made.warnings)
