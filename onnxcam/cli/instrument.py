"""``onnxcam instrument``: add activations and gradients as outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onnxcam.cli import options
from onnxcam.cli.summary import RunSummary, counted


def command(
    model: options.ModelArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="Output file (.onnx).", show_default=False)],
    layer: Annotated[
        list[str] | None,
        typer.Option(
            "--layer",
            "-l",
            help="Layer to expose; repeatable. auto chooses one, all-blocks takes the last layer of every block.",
            show_default=False,
        ),
    ] = None,
    gradients: Annotated[
        bool,
        typer.Option(
            "--gradients/--no-gradients", help="Output the gradient of the class score with respect to each layer."
        ),
    ] = True,
    input_gradient: Annotated[
        bool, typer.Option("--input-gradient", help="Also output the gradient with respect to the input.")
    ] = False,
    overwrite: options.OverwriteOption = False,
) -> None:
    """Add activations and gradients of MODEL as outputs. Writes a new ONNX file."""
    from onnxcam.cli import show
    from onnxcam.instrument import instrument

    layers = layer or ["auto"]
    added = instrument(model, output, layers, gradients=gradients, input_gradient=input_gradient, overwrite=overwrite)
    show.table(("new output", "meaning"), added)
    seeded = gradients or input_gradient
    run = "run it with one more input, 'onnxcam.class' (int64 [N]; -1: the model's own top class)"
    RunSummary(counted(len(added), "new output"), output, next=run if seeded else "").tell()
