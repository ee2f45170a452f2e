"""``onnxcam export``: convert a model of another framework to ONNX and verify the result."""

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
            "or package.module:callable that returns the model.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Output file (.onnx).", show_default=False)],
    argument: Annotated[
        list[str] | None,
        typer.Option("--arg", help="Argument of the callable; repeatable.", metavar="KEY=VALUE", show_default=False),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Weights of the model: .pt, .pth or .safetensors.", show_default=False)
    ] = None,
    unsafe_pickle: Annotated[
        bool,
        typer.Option("--unsafe-pickle", help="Load pickled objects and Lambda layers; they can run arbitrary code."),
    ] = False,
    example: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            help="Input of a PyTorch model, for example image=1x3x224x224:float32 (name and type are optional); "
            "repeatable.",
            metavar="SPEC",
            show_default=False,
        ),
    ] = None,
    dynamic: Annotated[
        str, typer.Option(help="Dynamic axes: none, batch, or size (batch, height and width).")
    ] = "batch",
    inputs: Annotated[
        str | None,
        typer.Option(help="Comma-separated input names (for a .pb: its input tensors).", show_default=False),
    ] = None,
    outputs: Annotated[
        str | None,
        typer.Option(help="Comma-separated output names (for a .pb or a dict: outputs to keep).", show_default=False),
    ] = None,
    signature: Annotated[str | None, typer.Option(help="Signature of a SavedModel.", show_default=False)] = None,
    opset: Annotated[
        int | None, typer.Option(help="ONNX opset. Default: the one of the exporter.", show_default=False)
    ] = None,
    preprocess: options.PreprocessOption = None,
    labels: options.LabelsOption = None,
    task: Annotated[
        str | None,
        typer.Option(help="Task of the model: multi-class, multi-label, … (docs/card.md).", show_default=False),
    ] = None,
    expose: Annotated[
        str | None,
        typer.Option(
            help="Layers whose activations become outputs: comma-separated names, auto or all-blocks.",
            show_default=False,
        ),
    ] = None,
    gradients: Annotated[
        bool,
        typer.Option("--gradients", help="Also output the gradient of the class score with respect to these layers."),
    ] = False,
    input_gradient: Annotated[
        bool, typer.Option("--input-gradient", help="Also output the gradient with respect to the input.")
    ] = False,
    precision: Annotated[str, typer.Option(help="Precision of the exported model: float32, fp16 or int8.")] = "float32",
    calibrate: Annotated[
        Path | None, typer.Option(help="Folder of calibration images for int8.", show_default=False)
    ] = None,
    verify_on: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="IMAGE",
            help="Image to verify the conversion on, besides random inputs; repeatable.",
            show_default=False,
        ),
    ] = None,
    overwrite: options.OverwriteOption = False,
) -> None:
    """Convert PyTorch, TensorFlow, Keras or TFLite to ONNX. The outputs of both are compared."""
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
