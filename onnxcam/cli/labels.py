"""``onnxcam labels``: the classes of a model, or those that a word finds."""

from __future__ import annotations

from typing import Annotated

import typer

from onnxcam.cli import options


def command(
    model: options.ModelArgument,
    word: Annotated[
        str | None, typer.Argument(help="Word to look for, such as cat. Default: list all.", show_default=False)
    ] = None,
    labels: options.LabelsOption = None,
    task: options.TaskOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the classes of MODEL that a word finds: by name, by spelling, and for ImageNet by WordNet's groups."""
    from onnxcam.cli import show
    from onnxcam.inspection import class_names
    from onnxcam.metadata.class_words import search, word_target

    names = class_names(model, labels, task)
    found = dict.fromkeys(range(len(names)), "") if word is None else search(word, names)
    if as_json:
        show.json([{"class": index, "name": names[index], "found_by": how or None} for index, how in found.items()])
        return
    columns = ("# class", "name", "found by")[: 2 if word is None else 3]
    show.table(columns, [(str(index), names[index], how)[: len(columns)] for index, how in found.items()])
    target = None if word is None else word_target(word, names)
    if target is not None:
        show.next_step(f"onnxcam explain {model} IMAGE --target {target}")
