"""``onnxcam export``: a model of another framework becomes an .onnx file that explains itself, proven equal."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Annotated, Any

import typer

from onnxcam.cli import options


def command(
    source: Annotated[
        str,
        typer.Argument(
            help="A .pt2, .pt (TorchScript), .keras, .h5, .pb or .tflite file, a SavedModel folder, "
            "or package.module:callable that makes the model.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The .onnx file to write.", show_default=False)],
    argument: Annotated[
        list[str] | None,
        typer.Option("--arg", help="key=value for the callable; repeatable.", metavar="KEY=VALUE", show_default=False),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Its weights: .pt, .pth or .safetensors.", show_default=False)
    ] = None,
    unsafe_pickle: Annotated[
        bool, typer.Option("--unsafe-pickle", help="Read pickled objects and Lambda layers, which may run any code.")
    ] = False,
    example: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            help="What a PyTorch model takes, such as image=1x3x224x224:float32 (name and type may be left out); "
            "repeatable.",
            metavar="SPEC",
            show_default=False,
        ),
    ] = None,
    dynamic: Annotated[str, typer.Option(help="Open axes: none, batch, or size (batch, height, width).")] = "batch",
    inputs: Annotated[
        str | None,
        typer.Option(help="Names of the inputs, separated by commas (of a .pb: which they are).", show_default=False),
    ] = None,
    outputs: Annotated[
        str | None,
        typer.Option(help="Names of the outputs (of a .pb or a dict: which to keep).", show_default=False),
    ] = None,
    signature: Annotated[str | None, typer.Option(help="Which signature of a SavedModel.", show_default=False)] = None,
    opset: Annotated[int | None, typer.Option(help="The opset; else the exporter's.", show_default=False)] = None,
    preprocess: options.Preprocess = None,
    labels: options.Labels = None,
    task: Annotated[
        str | None, typer.Option(help="What it does: multi-class, multi-label, … (docs/card.md).", show_default=False)
    ] = None,
    expose: Annotated[
        str | None,
        typer.Option(
            help="Layers whose activations become outputs: names separated by commas, auto, all-blocks.",
            show_default=False,
        ),
    ] = None,
    gradients: Annotated[
        bool, typer.Option("--gradients", help="Also the gradient of a class's score at these layers.")
    ] = False,
    input_gradient: Annotated[bool, typer.Option("--input-gradient", help="Also the gradient at the input.")] = False,
    precision: Annotated[str, typer.Option(help="float32, fp16 or int8.")] = "float32",
    calibrate: Annotated[
        Path | None, typer.Option(help="For int8: a folder of pictures to measure ranges on.", show_default=False)
    ] = None,
    verify_on: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PICTURE", help="A picture to compare on, beside random numbers; repeatable.", show_default=False
        ),
    ] = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Convert PyTorch or TensorFlow to ONNX. SOURCE may be Keras or TFLite too; it is proven that nothing changed."""
    from onnxcam.cli import show
    from onnxcam.converters import from_file

    with show.waiting(f"converting {source}"):
        made = from_file(
            source,
            output,
            example=example or (),
            arguments=dict(map(_argument, argument or ())),
            weights=weights,
            unsafe_pickle=unsafe_pickle,
            dynamic=dynamic,
            inputs=_words(inputs),
            outputs=_words(outputs),
            signature=signature,
            opset=opset,
            preprocess=preprocess,
            labels=labels,
            task=task,
            expose=_words(expose) or (),
            gradients=gradients,
            input_gradient=input_gradient,
            precision=precision,
            calibrate=calibrate,
            verify_on=verify_on or (),
            overwrite=overwrite,
        )
    show.conversion(made)


def _words(text: str | None) -> list[str] | None:
    return [word.strip() for word in text.split(",")] if text else None


def _argument(text: str) -> tuple[str, Any]:
    """Read ``key=value``: a Python literal, else the text itself."""
    key, equals, value = text.partition("=")
    if not equals or not key.isidentifier():
        raise typer.BadParameter(f"--arg {text!r} is no key=value")
    try:
        return key, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return key, value
