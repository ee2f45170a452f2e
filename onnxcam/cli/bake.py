"""``onnxcam bake``: write a model with its explanation inside."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onnxcam.cli import options
from onnxcam.cli.summary import RunSummary, counted, shell


def command(
    model: options.ModelArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="Output file (.onnx).", show_default=False)],
    method: Annotated[
        str,
        typer.Option(
            "--method", "-m", help="Explanation method; it must need one pass only. Default: that of the model's task."
        ),
    ] = "auto",
    target: Annotated[
        str,
        typer.Option(
            "--target",
            "-t",
            help="What to explain: top, input (adds inputs such as onnxcam.class), a class, or others (docs/bake.md).",
        ),
    ] = "top",
    layer: options.LayerOption = "auto",
    map_size: Annotated[str, typer.Option("--map-size", help="Resolution of the heat map: input or layer.")] = "input",
    uint8: Annotated[
        bool, typer.Option("--uint8", help="Write the heat map as uint8, 0 to 255, instead of float, 0 to 1.")
    ] = False,
    overlay: Annotated[
        bool,
        typer.Option(
            "--overlay", help="Add an output with the heat map drawn over the image; implies --preprocess-inside."
        ),
    ] = False,
    inside: Annotated[
        bool,
        typer.Option(
            "--preprocess-inside", help="Add the preprocessing to the model: its input becomes uint8 RGB [N, h, w, 3]."
        ),
    ] = False,
    preprocess: options.PreprocessOption = None,
    labels: options.LabelsOption = None,
    settings: options.SettingsOption = None,
    count: Annotated[
        int | None,
        typer.Option("--count", help="Number of maps, for tasks with several of one image.", show_default=False),
    ] = None,
    threshold: Annotated[
        str | None,
        typer.Option(
            "--threshold",
            help="Least probability of a detection, or input (adds the input onnxcam.threshold).",
            show_default=False,
        ),
    ] = None,
    input_size: Annotated[
        tuple[int, int] | None,
        typer.Option(
            "--input-size",
            help="Height and width to which an open input is fixed. Default: open; of a detector, those of the "
            "preprocessing.",
            show_default=False,
        ),
    ] = None,
    text_model: options.TextModelOption = None,
    tokenizer: options.TokenizerOption = None,
    opset: options.OpsetOption = None,
    operators: Annotated[
        Path | None,
        typer.Option(
            help="Also write the operator list for a custom build of ONNX Runtime to this file.", show_default=False
        ),
    ] = None,
    triton: Annotated[
        Path | None,
        typer.Option(
            help="Also write the model and its config.pbtxt into this model repository of Triton Inference Server.",
            show_default=False,
        ),
    ] = None,
    overwrite: options.OverwriteOption = False,
) -> None:
    """Add the heat map to MODEL as an output. The new ONNX file needs no onnxcam to run."""
    from onnxcam.bake.bake import bake
    from onnxcam.bake.ort_build import require_operators, write_operators
    from onnxcam.bake.triton import require_repository, write_repository
    from onnxcam.cli import show

    if operators is not None:
        require_operators(operators, model, [output], overwrite=overwrite)
    if triton is not None:
        require_repository(triton, output.stem, overwrite=overwrite)
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
        count=count,
        threshold=threshold,
        opset=opset,
        size=input_size,
        text_model=text_model,
        tokenizer=tokenizer,
        overwrite=overwrite,
    )
    if operators is not None:
        write_operators(made.path, operators, overwrite=overwrite)
    if triton is not None:
        write_repository(made.path, triton, overwrite=overwrite)
    rows = [("input", *pair) for pair in made.inputs.items()] + [("new output", *pair) for pair in made.outputs.items()]
    show.table(("", "name", "type and shape"), rows)
    show.notes(made.choice, [])
    show.warnings(made.warnings)
    RunSummary(
        f"{counted(len(made.outputs), 'new output')}, opset {made.opset}",
        output,
        next=f"run it in any ONNX Runtime; in the browser: onnxcam serve --model {shell(output)}",
    ).tell()
