"""Class names: their sources, and the index of a name."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from importlib import resources
from pathlib import Path
from typing import Any

from onnxcam import paths
from onnxcam.errors import LabelError, ModelError, TargetError, nearest
from onnxcam.metadata import sidecar
from onnxcam.metadata.card import TASKS, Card
from onnxcam.metadata.label_files import files_of_names, names_in, names_in_lines
from onnxcam.metadata.literals import literal

__all__ = ["ClassNames", "coco", "folded", "imagenet", "index", "places", "resolve"]

_METADATA = ("names", "classes", "class_names", "labels", "id2label", "categories")
"""Keys of the metadata that hold class names; Ultralytics writes `names`."""


def resolve(
    spec: str | os.PathLike[str] | Sequence[str] | None,
    count: int | None,
    *,
    path: Path | None = None,
    metadata: Mapping[str, str] | None = None,
) -> list[str] | None:
    """Return one name for each of *count* classes (None: any number), or None if there are no names.

    The first source that fits: *spec* (a file or the names), the card in the model's *metadata*, Hugging Face's
    ``config.json`` near the model at *path*, the metadata of Ultralytics and others, files of other tools beside the
    model, and for 1,000 classes (or 1,001 with a background class first) the names of ImageNet. Raises TargetError if
    *spec* does not fit.
    """
    return ClassNames(spec, path, metadata or {}).of(count)


@dataclass(frozen=True)
class _Written:
    """Class names, and where they are written."""

    names: list[str]
    source: str
    why: str = ""


def _written(path: Path | None, metadata: Mapping[str, str]) -> Iterator[_Written]:
    """Yield all names that are written in or beside the model, the strongest source first."""
    if labels := Card.of(metadata).labels:
        yield _Written(list(labels), "card")
    for found in _config(path):
        if names := names_in(found):
            yield _Written(names, "file", "config.json")
    for key in _METADATA:
        if names := _listed(metadata.get(key)):
            yield _Written(names, "metadata")
    for file, names in files_of_names(path):
        yield _Written(names, "file", f"{file} beside the model")


def _listed(text: str | None) -> list[str] | None:
    """Return the names in an entry of the metadata: a list, {index: name}, or words with commas between them."""
    if not text:
        return None
    names = names_in(literal(text))
    if names or text.lstrip()[:1] in ("[", "{", "("):
        return names
    parts = text.split("\n") if "\n" in text.strip() else text.split(",")
    return [part.strip() for part in parts if part.strip()] if len(parts) > 1 else None


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
        if self.spec is not None:
            return _explicit(self.spec, count)
        found = self._first(count)
        if found is not None:
            return list(found.names)
        return {1000: imagenet(), 1001: ["background", *imagenet()]}.get(count or 0)

    def origin(self, count: int | None) -> str:
        """Return who gives the names `of` *count* classes: a key of `onnxcam.metadata.reading.SOURCES`."""
        if self.spec is not None:
            return "user"
        found = self._first(count)
        return "guess" if found is None else found.source

    def why(self, count: int | None) -> str:
        """Return the file of the names `of` *count* classes; empty where they are not from a file."""
        found = None if self.spec is not None else self._first(count)
        return "" if found is None else found.why

    def _first(self, count: int | None) -> _Written | None:
        """Return the first names that are written for *count* classes; None for any number."""
        return next((one for one in self._all if count in (None, len(one.names))), None)

    @cached_property
    def _all(self) -> list[_Written]:
        return list(_written(self.path, self.metadata))

    @cached_property
    def multi_label(self) -> bool:
        """Whether an image may have several classes: by the user, the card, or Hugging Face's config.json."""
        if self.card.task is not None:
            return self.card.task == "multi-label"
        return sidecar.beside(self.path, "config.json").get("problem_type") == "multi_label_classification"

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


@cache
def coco() -> tuple[str, ...]:
    """Return the 80 names of COCO in the order in which detectors have them."""
    return tuple(resources.files("onnxcam").joinpath("assets/coco_labels.txt").read_text("utf-8").splitlines())


def index(label: str, labels: Sequence[str]) -> int:
    """Return the index of the class *label*: its whole name, or one of its comma-separated synonyms.

    Case is ignored, underscores are spaces; of two classes with the same name the first is taken. Raises LabelError
    with the nearest names.
    """
    found = places(labels).get(folded(label))
    if found is not None:
        return found
    raise LabelError(f"no class is named {label!r}.{nearest(label, labels) or ' Give its number instead.'}")


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
        return names_in_lines(text)
    try:
        names = names_in(json.loads(text))
    except (ValueError, RecursionError):
        names = None
    if names is None:
        raise TargetError(
            f'{path}: no labels in it; JSON labels are ["name", …], {{"0": "name", …}} or {{"id2label": …}}'
        )
    return names


def _config(path: Path | None) -> Iterator[Any]:
    """Yield the names in Hugging Face's config.json: transformers' ``id2label``, timm's ``label_names``."""
    config = sidecar.beside(path, "config.json")
    names = names_in(config.get("id2label"))
    if names is not None and not all(name.startswith("LABEL_") for name in names):  # transformers' placeholders
        yield names
    yield config.get("label_names")
