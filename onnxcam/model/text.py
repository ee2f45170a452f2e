"""Which text tower belongs to a model: one that the user names, or the model's own."""

from __future__ import annotations

import os
from collections.abc import Sequence

from onnxcam.errors import ModelError, TargetError
from onnxcam.graph.io import ModelLike
from onnxcam.metadata.reserved import load_bare
from onnxcam.targets import Task
from onnxcam.targets.embedding import Embedding
from onnxcam.targets.kinds import Like
from onnxcam.text_towers import TextTower

__all__ = ["find_text_tower", "takes_texts"]


def takes_texts(tasks: Sequence[Task]) -> bool:
    """Return whether a task compares embeddings, so that a text tower can belong to the model."""
    return any(Like in task.kinds for task in tasks)


def find_text_tower(
    model: ModelLike,
    tasks: Sequence[Task],
    text_model: str | os.PathLike[str] | None,
    tokenizer: str | os.PathLike[str] | None,
    provider: str,
) -> TextTower | None:
    """Return the text tower *text_model*, else that of *model* if it holds one, else None.

    Raises:
        TargetError: the user names one, but no task of the model compares embeddings.
        ModelError: *text_model* is none, its tokenizer does not fit, or there is a *tokenizer* without a text tower.
    """
    named = text_model is not None or tokenizer is not None
    if named and not takes_texts(tasks):
        raise TargetError(
            f"a text compares with the embedding of an image, but this model is {tasks[0].name}; leave out "
            "--text-model and --tokenizer (text_model=, tokenizer=)"
        )
    if text_model is not None:
        return TextTower.open(text_model, tokenizer, provider)
    own = None
    if isinstance(tasks[0], Embedding) and tasks[0].has_texts:
        own = TextTower.of(model, load_bare(model), tokenizer, provider, is_own=False)
    if own is None and tokenizer is not None:
        raise ModelError(
            "a tokenizer belongs to a text model, and this file has none; give it too, with --text-model (text_model=)"
        )
    return own
