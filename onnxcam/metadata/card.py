"""The card: a model's description for onnxcam, one JSON object in its metadata (docs/card.md)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import onnx_ir as ir

__all__ = ["CLASSIFIERS", "KEY", "SCHEMA", "TASKS", "Card"]

KEY = "onnxcam"
SCHEMA = 1

CLASSIFIERS = ("multi-class", "multi-label")
"""Tasks of classifiers; the classes of a multi-label one do not exclude each other."""
TASKS = [*CLASSIFIERS, "detection", "segmentation", "embedding", "text", "caption", "answer", "image"]
"""Values of `task` (docs/card.md); `onnxcam.targets.register_task` adds more."""


@dataclass(frozen=True)
class Card:
    """The description of a model. Every part is optional, and takes precedence over a guess."""

    task: str | None = None  # one of `TASKS`
    preprocess: str | None = None  # as in docs/preprocess.md
    labels: Sequence[str] = ()  # one name per class, letter, word or answer, in the order of the scores
    vocabulary: Mapping[str, Sequence[str]] = field(default_factory=dict)  # by input of words: the word of each index
    layers: Mapping[str, str] = field(default_factory=dict)  # by tensor: the innermost layer of the framework
    producer: Mapping[str, str] = field(default_factory=dict)  # tools and versions: {"onnxcam": "0.1.0", …}
    scores: str | None = None  # the output of class scores
    boxes: str | None = None  # the output of boxes, and their convention: "OUTPUT" or "OUTPUT:convention"
    rate: float | None = None  # of a model of signals: the samples in a second
    letters: str | None = None  # of a text recogniser: the letters in order, or a file with one on each line

    @classmethod
    def of(cls, metadata: Mapping[str, str]) -> Card:
        """Read the card in a model's *metadata*; an empty card if there is none, or one of another schema.

        A part of another form than expected is ignored.
        """
        try:
            found = json.loads(metadata.get(KEY, ""))
        except (ValueError, RecursionError):
            return cls()
        if not isinstance(found, dict) or found.get("schema") != SCHEMA:
            return cls()
        return cls(**{part.name: found[part.name] for part in fields(cls) if _fits(part.name, found.get(part.name))})

    def put(self, model: ir.Model) -> None:
        """Write the card into the metadata of *model*, without empty parts."""
        parts = {name: value for name, value in asdict(self).items() if value}
        model.metadata_props[KEY] = json.dumps({"schema": SCHEMA, **parts}, ensure_ascii=False)

    def kept(self, model: ir.Model) -> Card:
        """Return the card without the layers of tensors that *model* does not have."""
        made = {value.name for node in model.graph.all_nodes() for value in node.outputs}
        return replace(self, layers={tensor: layer for tensor, layer in self.layers.items() if tensor in made})


def _fits(part: str, value: Any) -> bool:
    if part == "task":
        return value in TASKS
    if part == "labels":
        return _names(value)
    if part == "vocabulary":
        return isinstance(value, dict) and all(_names(words) for words in value.values())
    if part in ("layers", "producer"):
        return isinstance(value, dict) and all(isinstance(name, str) for name in value.values())
    if part == "rate":
        return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e9
    return isinstance(value, str)


def _names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)
