"""Class names: their sources, and the index of a name."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from importlib import resources
from pathlib import Path
from typing import Any

from onnxcam import paths
from onnxcam.errors import ModelError, TargetError, nearest
from onnxcam.metadata import sidecar
from onnxcam.metadata.card import TASKS, Card
from onnxcam.metadata.literals import literal

__all__ = ["ClassNames", "folded", "imagenet", "index", "places", "resolve"]


def resolve(
    spec: str | os.PathLike[str] | Sequence[str] | None,
    count: int | None,
    *,
    path: Path | None = None,
    metadata: Mapping[str, str] | None = None,
) -> list[str] | None:
    """Return one name for each of *count* classes (None: any number), or None if there are no names.

    The first source that fits: *spec* (a file or the names), the card in the model's *metadata*, Hugging Face's
    ``config.json`` near the model at *path*, Ultralytics' metadata, and for 1,000 classes (or 1,001 with a background
    class first) the names of ImageNet. Raises TargetError if *spec* does not fit.
    """
    if spec is not None:
        return _explicit(spec, count)
    metadata = metadata or {}
    for names in (list(Card.of(metadata).labels), *_config(path), metadata.get("names")):
        found = _names(literal(names) if isinstance(names, str) else names)
        if found and count in (None, len(found)):
            return found
    return {1000: imagenet(), 1001: ["background", *imagenet()]}.get(count or 0)


@dataclass(frozen=True)
class ClassNames:
    """The sources of a model's class names: the user's *spec*, else the file's folder and metadata."""

    spec: str | os.PathLike[str] | Sequence[str] | None = None
    path: Path | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    said: Mapping[str, str] = field(default_factory=dict)
    """What the user says in place of the card: `task`, `scores`, `boxes`, `letters`."""

    def of(self, count: int | None) -> list[str] | None:
        """Return one name for each of *count* classes; see `resolve`."""
        return resolve(self.spec, count, path=self.path, metadata=self.metadata)

    def origin(self, count: int | None) -> str:
        """Return who gives the names `of` *count* classes: a key of `onnxcam.metadata.reading.SOURCES`."""
        if self.spec is not None:
            return "user"
        for source, found in (("card", list(Card.of(self.metadata).labels)), ("metadata", self._named())):
            if found and count in (None, len(found)):
                return source
        return "file" if resolve(None, None, path=self.path) else "guess"

    def _named(self) -> list[str] | None:
        names = self.metadata.get("names")
        return None if names is None else _names(literal(names))

    @cached_property
    def card(self) -> Card:
        """The model's card, with what the user says in its place."""
        return replace(Card.of(self.metadata), **dict[str, Any](self.said))

    def check(self) -> None:
        """Raise ModelError where the user names a task that there is not."""
        task = self.said.get("task")
        if task is not None and task not in TASKS:
            raise ModelError(f"there is no task {task!r}; take one of {', '.join(TASKS)}")

    def source(self, part: str) -> str | None:
        """Return who says *part* of the card, ``"user"`` or ``"card"``; None where neither does."""
        return "user" if part in self.said else "card" if getattr(self.card, part) else None


@cache
def _imagenet() -> tuple[str, ...]:
    text = resources.files("onnxcam").joinpath("assets/imagenet_labels.txt").read_text("utf-8")
    return tuple(text.splitlines())


def imagenet() -> list[str]:
    """Return the 1,000 names of ImageNet-1k in the order of its classes."""
    return list(_imagenet())


def index(label: str, labels: Sequence[str]) -> int:
    """Return the index of the class *label*: its whole name, or one of its comma-separated synonyms.

    Case is ignored, underscores are spaces; of two classes with the same name the first is taken. Raises TargetError
    with the nearest names.
    """
    found = places(labels).get(folded(label))
    if found is not None:
        return found
    raise TargetError(f"no class is named {label!r}.{nearest(label, labels) or ' Give its number instead.'}")


def places(labels: Sequence[str]) -> dict[str, int]:
    """Return the index of each `folded` name and synonym; whole names and earlier classes take precedence."""
    whole = [(folded(name), number) for number, name in enumerate(labels)][::-1]
    synonyms = {part.strip(): number for name, number in whole for part in name.split(",")}
    return synonyms | dict(whole)


def folded(name: str) -> str:
    """Return *name* in the form in which names are compared."""
    return name.strip().replace("_", " ").casefold()


def _explicit(spec: str | os.PathLike[str] | Sequence[str], count: int | None) -> list[str]:
    if isinstance(spec, str | os.PathLike):
        names, where = _read(Path(spec)), str(spec)
    else:
        names, where = [str(name) for name in spec], "labels"
    if count not in (None, len(names)):
        raise TargetError(f"{where}: {len(names)} labels, but the model has {count} classes; give one for each class")
    return names


def _read(path: Path) -> list[str]:
    text = paths.read_text(path, TargetError, "file of labels")
    if path.suffix.lower() != ".json":
        return [line.strip() for line in text.rstrip().splitlines()]
    try:
        names = _names(json.loads(text))
    except (ValueError, RecursionError):
        names = None
    if names is None:
        raise TargetError(
            f'{path}: no labels in it; JSON labels are ["name", …], {{"0": "name", …}} or {{"id2label": …}}'
        )
    return names


def _config(path: Path | None) -> Iterable[Any]:
    """Yield the names in Hugging Face's config.json: transformers' ``id2label``, timm's ``label_names``."""
    config = sidecar.beside(path, "config.json")
    names = _names(config.get("id2label"))
    if names is not None and not all(name.startswith("LABEL_") for name in names):  # transformers' placeholders
        yield names
    yield config.get("label_names")


def _names(value: Any) -> list[str] | None:
    """Return the names in a list, in {index: name} or in {"id2label": either}; None for anything else.

    A name may be a list that ends with it, as Keras's ``["n02123045", "tabby"]``.
    """
    if isinstance(value, dict):
        value = value.get("id2label", value)
    if isinstance(value, dict):
        by_index = {str(key): name for key, name in value.items() if key in range(len(value)) or isinstance(key, str)}
        value = [by_index.get(str(number)) for number in range(len(by_index))]
    if not isinstance(value, list):
        return None
    names = [name[-1] if isinstance(name, list) and name else name for name in value]
    names = [str(name) if type(name) is int else name for name in names]  # digits, angles
    return names if all(isinstance(name, str) for name in names) else None
