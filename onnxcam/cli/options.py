"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[Path, typer.Argument(help="The model, an .onnx file.", show_default=False)]
Layer = Annotated[str, typer.Option("--layer", "-l", help="The layer: auto, or a tensor's, node's or module's name.")]
Preprocess = Annotated[
    str | None,
    typer.Option(
        "--preprocess",
        "-p",
        help="How a picture becomes the tensor: a preset (imagenet, inception, caffe, unit, raw) or key=value,… "
        "Without it: what the file says, or an announced guess.",
        show_default=False,
    ),
]
Labels = Annotated[str | None, typer.Option("--labels", help="File of class names, one a line.", show_default=False)]
Provider = Annotated[str, typer.Option("--provider", help="auto, cpu, cuda, or another of ONNX Runtime's.")]
