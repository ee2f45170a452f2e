"""``onnxcam bake``: the model that explains itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onnxcam.cli import options


def command(
    model: options.Model,
    output: Annotated[Path, typer.Option("--output", "-o", help="The .onnx file to write.", show_default=False)],
    method: Annotated[str, typer.Option("--method", "-m", help="A method of one pass.")] = "gradcam",
    target: Annotated[
        str, typer.Option("--target", "-t", help="top, input (one more input, onnxcam.class), or a class.")
    ] = "top",
    layer: options.Layer = "auto",
    map_size: Annotated[str, typer.Option("--map-size", help="Size of the heat map: input or layer.")] = "input",
    uint8: Annotated[bool, typer.Option("--uint8", help="The heat map from 0 to 255 in place of 0 to 1.")] = False,
    overlay: Annotated[
        bool, typer.Option("--overlay", help="Also the coloured picture; the preprocessing comes inside.")
    ] = False,
    inside: Annotated[
        bool,
        typer.Option("--preprocess-inside", help="Take uint8 RGB pictures [N, h, w, 3] of the input's size."),
    ] = False,
    preprocess: options.Preprocess = None,
    labels: options.Labels = None,
    settings: options.Settings = None,
    opset: options.Opset = None,
    operators: Annotated[
        Path | None,
        typer.Option(help="Also write the operators that a custom build of ONNX Runtime needs.", show_default=False),
    ] = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Bake the heat map into MODEL. The file that is written explains itself."""
    from onnxcam.bake.bake import bake
    from onnxcam.bake.ort_build import require_operators, write_operators
    from onnxcam.cli import show

    if operators is not None:
        require_operators(operators, model, [output], overwrite=overwrite)
    if map_size not in ("input", "layer"):
        raise typer.BadParameter(f"--map-size is input or layer, not {map_size!r}")
    made = bake(
        model,
        output,
        method,
        layer=layer,
        target=target,
        map_size=map_size,  # type: ignore[arg-type]
        uint8=uint8,
        overlay=overlay,
        inside=inside or overlay,
        preprocess=preprocess,
        labels=labels,
        settings=options.pairs(settings),
        opset=opset,
        overwrite=overwrite,
    )
    if operators is not None:
        write_operators(made.path, operators, overwrite=overwrite)
    rows = [("input", *pair) for pair in made.inputs.items()] + [("new output", *pair) for pair in made.outputs.items()]
    show.table(("", "name", "type and shape"), rows)
    show.notes(made.choice, [])
    for warning in made.warnings:
        show.tell(f"warning: {warning}", "yellow")
