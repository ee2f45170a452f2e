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
Baked = Annotated[
    Path | None, typer.Option("--model", help="A baked model that the page opens at once.", show_default=False)
]
Runtime = Annotated[
    Path | None,
    typer.Option(
        help="The npm package onnxruntime-web, a folder or .tgz; without it: fetched once from the npm registry.",
        show_default=False,
    ),
]
Provider = Annotated[str, typer.Option("--provider", help="auto, cpu, cuda, or another of ONNX Runtime's.")]


Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that onnxcam did not write.")]
Images = Annotated[
    list[str],
    typer.Argument(help="Pictures: files, folders, patterns in quotes, or lists (.txt, @list).", show_default=False),
]
OwnLayer = Annotated[
    str | None,
    typer.Option("--layer", "-l", help="The layer: a tensor's, node's or module's name.", show_default=False),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="name=value, a setting of the method; repeatable.", show_default=False),
]
Opset = Annotated[
    int | None,
    typer.Option("--opset", help="An older opset, 13 at least, for an older runtime.", show_default=False),
]
ClassesFrom = Annotated[
    Path | None,
    typer.Option(
        "--classes-from", help="A recording: of each picture explain the class that it explained.", show_default=False
    ),
]
Truth = Annotated[
    Path | None,
    typer.Option(
        "--truth", help="Where the objects are: a folder of masks (PNG), or a JSON of boxes.", show_default=False
    ),
]
MaskValues = Annotated[
    str,
    typer.Option(
        "--mask-values",
        help="What k in a mask means: object (any but 0), class (class k, 0 is none), class+1 (class k-1).",
    ),
]
Require = Annotated[
    str | None,
    typer.Option(
        "--require",
        "-r",
        help='What must hold, in place of the default: "iou>=0.6,top1>=0.99"; iou.low is the lower end of the '
        "interval, iou.worst the worst picture.",
        show_default=False,
    ),
]
Inputs = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        help="name=value, another input of the model: words, numbers, an .npy file or a picture; repeatable.",
        show_default=False,
    ),
]
Wrt = Annotated[
    str | None,
    typer.Option("--wrt", help="Which input to explain: one of several pictures, or a question.", show_default=False),
]


def pairs(words: Sequence[str] | None, option: str = "--set", example: str = "samples=50") -> dict[str, str]:
    """Return ``name=value`` *words* as a dict; a usage error for any other."""
    words = words or []
    for word in words:
        if "=" not in word.strip("="):
            raise typer.BadParameter(f"{option} takes name=value, such as {option} {example}, not {word!r}")
    return dict(word.split("=", 1) for word in words)
