"""The card: what a model says of itself to onnxcam, as one JSON in its metadata (docs/card.md)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import onnx_ir as ir

KEY = "onnxcam"
SCHEMA = 1

CLASSIFIERS = ("multi-class", "multi-label")  # the latter where classes do not exclude each other
TASKS = [*CLASSIFIERS, "detection", "segmentation", "embedding", "text", "caption", "answer", "image"]
"""What a model does (docs/card.md says what its output is)."""


@dataclass(frozen=True)
class Card:
    """What travels inside a model. Nothing of it is needed; what is there is believed before any guess."""

    task: str | None = None  # one of `TASKS`
    preprocess: str | None = None  # a spelling of docs/preprocess.md
    labels: Sequence[str] = ()  # one name a class, letter, word or answer, in the order of the scores
    vocabulary: Mapping[str, Sequence[str]] = field(default_factory=dict)  # of each input of words: index: word
    layers: Mapping[str, str] = field(default_factory=dict)  # tensor: the innermost layer of the framework that made it
    producer: Mapping[str, str] = field(default_factory=dict)  # who made the file: {"onnxcam": "0.1.0", …}

    @classmethod
    def of(cls, metadata: Mapping[str, str]) -> Card:
        """Read the card in a model's *metadata*; an empty one where there is none that this version understands.

        A part of another form than expected is passed over.
        """
        try:
            found = json.loads(metadata.get(KEY, ""))
        except (ValueError, RecursionError):
            return cls()
        if not isinstance(found, dict) or found.get("schema") != SCHEMA:
            return cls()
        return cls(**{part.name: found[part.name] for part in fields(cls) if _fits(part.name, found.get(part.name))})

    def put(self, model: ir.Model) -> None:
        """Write the card into the metadata of *model*. Parts that are empty are left out."""
        parts = {name: value for name, value in asdict(self).items() if value}
        model.metadata_props[KEY] = json.dumps({"schema": SCHEMA, **parts}, ensure_ascii=False)

    def kept(self, model: ir.Model) -> Card:
        """Return the card with the layers of those tensors only that *model* has."""
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
    return isinstance(value, str)


def _names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)
