"""Options of commands that open a vision-language decoder, whose model is several files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NotRequired, TypedDict, Unpack

import typer

from onnxcam.cli import options
from onnxcam.text import visible

if TYPE_CHECKING:
    from onnxcam.explainer.explainer import Explainer
    from onnxcam.explainer.manifest import Folder
    from onnxcam.graph.io import ModelLike

PartsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--part",
        help="A part of a vision-language decoder, vision=FILE, embed=FILE or decoder=FILE, in place of MODEL; "
        "repeatable. A folder with all parts can be MODEL (docs/decoders.md).",
        show_default=False,
    ),
]
PromptOption = Annotated[
    str | None,
    typer.Option(
        "--prompt",
        help="What a vision-language decoder is asked: a question for its chat template, or the whole prompt with "
        "<image> in it.",
        show_default=False,
    ),
]
ImageTokenOption = Annotated[
    str | None,
    typer.Option(
        "--image-token",
        help="Token of a vision-language decoder that stands for a part of the image. Default: by its config.json.",
        show_default=False,
    ),
]
TilesOption = Annotated[
    str | None,
    typer.Option(
        "--tiles",
        metavar="ROWSxCOLUMNS",
        help="Tiles into which the image is cut beside the whole, for the decoders Idefics3, SmolVLM and InternVL.",
        show_default="1x1",
    ),
]
OpenImagesArgument = Annotated[
    list[str] | None,
    typer.Argument(help="Images: files, folders, quoted glob patterns, or lists (.txt, @list).", show_default=False),
]


class Asked(TypedDict):
    """How a decoder is opened; see `onnxcam.decoders.load.join`."""

    prompt: str | None
    tokenizer: Path | None
    image_token: str | None
    preprocess: str | None
    tiles: NotRequired[tuple[int, int]]


def tiles(text: str | None) -> tuple[int, int]:
    """Return rows and columns of *text*, such as 2x3."""
    rows, cross, columns = (text or "1x1").partition("x")
    if not (cross and rows.isdecimal() and columns.isdecimal() and 0 < int(rows) <= 64 and 0 < int(columns) <= 64):
        raise typer.BadParameter("--tiles takes ROWSxCOLUMNS, such as --tiles 2x3")
    return int(rows), int(columns)


def opened(
    model: Path, images: Sequence[str] | None, parts: Sequence[str] | None, asked: Asked
) -> tuple[ModelLike, list[str]]:
    """Return the model, joined where it is parts, and the images; with *parts* there is no argument MODEL."""
    from onnxcam.decoders.load import join

    named = options.pairs(parts, "--part", "vision=vision_encoder.onnx")
    if named:
        return join(named, **asked), [str(model), *(images or [])]
    if not images:
        raise typer.BadParameter("missing argument 'IMAGES...'")
    return joined(model, **asked), list(images)


def joined(model: Path, **asked: Unpack[Asked]) -> ModelLike:
    """Return *model*, joined where it is a folder of parts; a usage error for options of decoders where it is none."""
    from onnxcam.decoders.files import has_parts
    from onnxcam.decoders.load import join

    if has_parts(model):
        return join(model, **asked)
    given = {"prompt": asked["prompt"], "image_token": asked["image_token"], "tiles": asked.get("tiles")}
    for name, value in given.items():
        if value not in (None, (1, 1)):
            raise typer.BadParameter(
                f"--{name.replace('_', '-')} is for vision-language decoders; give the folder of its parts as MODEL, "
                "or --part"
            )
    return model


def write_words(explainer: Explainer, folder: Folder, output: Path, *, overwrite: bool) -> None:
    """Write the page of the words and the sheets, if the model is a decoder, and say where the page is."""
    from onnxcam.cli import show
    from onnxcam.describing.page import write_words
    from onnxcam.metadata.prompting import Prompting

    prompting = Prompting.of(explainer.network.names.metadata)
    if prompting is not None:
        written = write_words(folder.explained, output, prompting.words, overwrite=overwrite)
        show.print_err(f"prompt: {visible(prompting.words, 400)}", "dim")
        if written:
            show.print_err(f"page: {written[0]}", "dim")
