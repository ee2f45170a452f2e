"""``onnxcam labels``: the classes of a model, or those that a word finds."""

from __future__ import annotations

import shlex
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
    """List the classes of MODEL that a word finds. It finds them by name, by spelling, and for ImageNet by WordNet's
    groups.

    Classes that --target any:WORD explains together are marked.
    """
    from onnxcam.cli import show
    from onnxcam.inspection import class_list
    from onnxcam.metadata.class_words import search, word_group

    known = class_list(model, labels, task)
    names = known.names
    if known.guessed:
        show.warnings([f"the names are a guess by the number of classes, {len(names)}; --labels FILE gives others"])
    found = dict.fromkeys(range(len(names)), "") if word is None else search(word, names)
    group, members = word_group(word, names) if word is not None and known.has_groups else (None, ())
    if as_json:
        columns = ("class", "name", "found_by", *(["in_group"] if word is not None else []))
        rows = [(index, names[index], how or None, index in members) for index, how in found.items()]
        show.json([dict(zip(columns, row, strict=False)) for row in rows])
        return
    columns = ("# class", "name", *([] if word is None else ["found by"]), *([] if group is None else [group]))
    marked = [(str(index), names[index], how, "yes" if index in members else "") for index, how in found.items()]
    show.table(columns, [row[: len(columns)] for row in marked])
    if word is not None:
        target = group or names[next(iter(found))]
        said = [text for option, text in (("--labels", labels), ("--task", task)) if text for text in (option, text)]
        show.next_step(shlex.join(["onnxcam", "explain", str(model), "IMAGE", "--target", target, *said]))
