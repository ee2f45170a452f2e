"""Arguments and options that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
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


def pairs(words: Sequence[str]) -> dict[str, str]:
    """Return ``name=value`` *words* as a dict; a usage error for any other."""
    for word in words:
        if "=" not in word.strip("="):
            raise typer.BadParameter(f"--set takes name=value, such as --set samples=50, not {word!r}")
    return dict(word.split("=", 1) for word in words)
