"""Class names in files of other tools beside a model, such as ``labels.txt`` of Teachable Machine."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from onnxcam import paths
from onnxcam.errors import ModelError
from onnxcam.metadata import block_yaml

__all__ = ["files_of_names", "names_in", "names_in_lines"]

_FILES = (
    "{model}.txt",
    "{model}.json",
    "*labels*.txt",
    "*labels*.json",
    "label.txt",
    "labelmap.txt",
    "label_map.json",
    "*classes*.txt",
    "*classes*.json",
    "class_names.*",
    "class_indices.json",
    "categories.*",
    "synset*.txt",
    "signature.json",
    "metadata.json",
    "inference.yml",
    "data.yaml",
    "*tags.csv",
)
"""Patterns of files, the likeliest first: Keras, Lobe, Teachable Machine, PaddleClas, Ultralytics, WD14 …"""
_KEYS = ("id2label", "labels", "Label", "label_list", "label_names", "classes", "class_names", "names", "categories")
_MOST = 16
"""Files that are read."""
_NUMBERED = re.compile(r"(\d+)\s*[:,;]?\s+(.+)")
_SYNSET = re.compile(r"n\d{8}[\s,]+(.+)")


def files_of_names(path: Path | None) -> Iterator[tuple[str, list[str]]]:
    """Yield the name of each file of class names beside the model at *path*, and the class names."""
    for file in _beside(path)[:_MOST]:
        with suppress(ModelError):
            names = _read(file, paths.read_text(file, ModelError, "file of labels"))
            if names:
                yield file.name, names


def _beside(path: Path | None) -> list[Path]:
    if path is None:
        return []
    folder, stem = path.absolute().parent, re.sub(r"([*?[])", r"[\1]", path.stem)
    found = [file for pattern in _FILES for file in sorted(folder.glob(pattern.format(model=stem)))]
    return list(dict.fromkeys(found))


def _read(file: Path, text: str) -> list[str] | None:
    """Return the class names in *text*, of the form that the name of *file* says; None where it has none."""
    if file.suffix == ".csv":
        return _column(text)
    try:
        if file.suffix == ".json":
            return names_in(json.loads(text))
        if file.suffix in (".yml", ".yaml"):
            return names_in(block_yaml.parse(text))
    except (ValueError, SyntaxError, RecursionError):
        return None
    return names_in_lines(text) if file.suffix == ".txt" else None


def _column(text: str) -> list[str] | None:
    """Return the column ``name`` of a table (WD14's selected_tags.csv); None where it has none."""
    rows = list(csv.DictReader(text.splitlines()))
    names = [row.get("name") for row in rows]
    return [name for name in names if name] if names and all(names) else None


def names_in_lines(text: str) -> list[str]:
    """Return the class names of *text*, one on each line, without the numbers or synsets before them."""
    lines = [line.strip() for line in text.rstrip().splitlines()]
    numbered = [_NUMBERED.fullmatch(line) for line in lines]
    if all(one is not None and int(one[1]) == number for number, one in enumerate(numbered)):
        return [one[2] for one in numbered if one is not None]
    synsets = [one for line in lines if (one := _SYNSET.fullmatch(line)) is not None]
    return [one[1] for one in synsets] if len(synsets) == len(lines) else lines


def names_in(value: Any) -> list[str] | None:
    """Return the class names in a list, {index: name}, {name: index}, or below one of the usual keys; else None.

    A name may be a list that ends with it, as Keras's ``["n02123045", "tabby"]``.
    """
    if isinstance(value, dict):
        found = (names_in(value[key]) for key in _KEYS if isinstance(value.get(key), list | dict))
        known = next((names for names in found if names), None) or _below(value)
        return known or _in_order(_by_index(value))
    return _in_order(value)


def _below(value: dict[Any, Any]) -> list[str] | None:
    """Return the label list of PaddleClas's post-processing, whatever its name."""
    after = value.get("PostProcess")
    steps = after.values() if isinstance(after, dict) else ()
    return next((_in_order(step["label_list"]) for step in steps if _has(step, "label_list")), None)


def _has(step: Any, key: str) -> bool:
    return isinstance(step, dict) and isinstance(step.get(key), list)


def _by_index(value: dict[Any, Any]) -> list[Any] | None:
    """Return the names of {index: name} or {name: index} in the order of the indices."""
    count = len(value)
    if sorted(map(str, value.values())) == sorted(map(str, range(count))) and not _is_numbered(value):
        return sorted(value, key=lambda name: int(value[name]))
    by_index = {str(key): name for key, name in value.items() if key in range(count) or isinstance(key, str)}
    return [by_index.get(str(number)) for number in range(len(by_index))]


def _is_numbered(value: dict[Any, Any]) -> bool:
    return all(str(number) in map(str, value) for number in range(len(value)))


def _in_order(value: Any) -> list[str] | None:
    """Return the class names in a list; None for anything else."""
    if not isinstance(value, list | Sequence) or isinstance(value, str):
        return None
    names = [name[-1] if isinstance(name, list) and name else name for name in value]
    names = [str(name) if type(name) is int else name for name in names]  # digits, angles
    return names if all(isinstance(name, str) for name in names) else None
