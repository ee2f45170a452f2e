"""``onnxcam instrument``: activations and gradients as extra outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onnxcam.cli import options


def command(
    model: options.Model,
    output: Annotated[Path, typer.Option("--output", "-o", help="The .onnx file to write.", show_default=False)],
    layer: Annotated[
        list[str] | None,
        typer.Option(
            "--layer",
            "-l",
            help="Layer to expose; repeatable. auto chooses one, all-blocks takes the end of every block.",
            show_default=False,
        ),
    ] = None,
    gradients: Annotated[
        bool, typer.Option("--gradients/--no-gradients", help="The gradient of a class's score at each layer.")
    ] = True,
    input_gradient: Annotated[bool, typer.Option("--input-gradient", help="Also the gradient at the input.")] = False,
    overwrite: options.Overwrite = False,
) -> None:
    """Put activations and gradients out. MODEL is written anew with them as extra outputs."""
    from onnxcam.cli import show
    from onnxcam.instrument import instrument

    layers = layer or ["auto"]
    added = instrument(model, output, layers, gradients=gradients, input_gradient=input_gradient, overwrite=overwrite)
    show.table(("new output", "meaning"), added)
    if not (gradients or input_gradient):
        return
    show.out.print(
        f"{output}: run it with one more input, 'onnxcam.class' (int64 [N]; -1: the model's own top class)",
        markup=False,
    )
