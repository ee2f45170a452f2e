"""YOLO: a data.yaml, and one text file of rows for each image: boxes, polygons (-seg, -obb) or keypoints (-pose)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onnxcam import paths
from onnxcam.errors import TruthError
from onnxcam.media.image import SUFFIXES
from onnxcam.metrics.truth.annotation import Annotation, Object, TrueKeypoint
from onnxcam.metrics.truth.geometry import around, checked_box, checked_points, draw
from onnxcam.metrics.truth.image_index import ImageIndex
from onnxcam.metrics.truth.source import TruthPath, TruthSource
from onnxcam.numbers import parse_float, parse_int
from onnxcam.text import in_message

__all__ = ["YoloTruth"]

_YAML = (".yaml", ".yml")
_SPLITS = ("train", "val", "test")
_OTHERS = {"classes.txt", "labels.txt", "obj.names", "train.txt", "val.txt", "test.txt", "readme.txt"}
_YAML_LIMIT = 2**20
_ROW = "class x y width height, class x1 y1 x2 y2 x3 y3 …, or with keypoints, as shares of the image"


class YoloTruth(TruthSource):
    """A data.yaml, the folder with it, or a folder of text files; coordinates are shares of the image."""

    format = "yolo"
    title = "YOLO (data.yaml)"
    form = "a YOLO data.yaml, or a folder of *.txt of rows"

    def __init__(self, place: TruthPath) -> None:
        super().__init__(place)
        config = _config(place)
        values = {} if config is None else _read_yaml(config)
        self.names = _names(values.get("names"), config or self.path) or _classes_file(place)
        self._shape = _keypoint_shape(values.get("kpt_shape"), config or self.path)
        folders = [self.path] if config is None else list(_folders(values, config))
        labels = [path for folder in folders for path in _label_files(folder)]
        if not labels:
            where = ", ".join(f"'{in_message(folder)}'" for folder in folders[:3])
            raise TruthError(f"truth '{self.path}': no label files *.txt of the images' names below {where}")
        self._labels = ImageIndex(((path, path) for path in labels), str(self.path), stems=True)
        pictures = [path for folder in folders for path in _pictures(folder)]
        self._images = ImageIndex(((path, path) for path in pictures), str(self.path))
        self.notes = self._labels.notes

    @classmethod
    def fits(cls, place: TruthPath) -> bool:
        """Return whether the place is a data.yaml, or a folder with one or with text files of rows."""
        return _config(place) is not None or any(map(_is_label_file, _texts(place)))

    def annotation(self, picture: Path, size: tuple[int, int]) -> Annotation | None:
        """Return the objects in *picture*; an image without a label file has none."""
        path = self._file(picture)
        if path is not None:
            return Annotation(tuple(self._object(row, size) for row in _rows(path)))
        return Annotation() if self.has(picture) else None

    def has(self, picture: Path) -> bool:
        """Return whether there is a label file for *picture*, or *picture* is in a folder of images."""
        return self._file(picture) is not None or self._images.find(picture) is not None

    def _file(self, picture: Path) -> str | None:
        return self._labels.find(_beside(picture)) or self._labels.find(picture)

    def missing(self, picture: Path) -> str:
        """Return the name of the text file that the image must have."""
        return f"{self.path}: no {in_message(picture.stem)}.txt for {in_message(picture.name)}; leave this image out"

    def _object(self, row: _LabelRow, size: tuple[int, int]) -> Object:
        label, values, scale = self._label(row), row.numbers[1:], size[::-1]
        if len(values) >= 4 and self._shape and len(values) == 4 + self._shape[0] * self._shape[1]:
            return Object(label, _box(values[:4], size, row.where), keypoints=_points(values[4:], self._shape[1], size))
        if len(values) == 4:
            return Object(label, _box(values, size, row.where))
        if len(values) < 6 or len(values) % 2:
            words = "" if self._shape else "; keypoints need kpt_shape in data.yaml"
            raise TruthError(f"{row.where}: {len(row.numbers)} columns; a row is {_ROW}{words}")
        points = checked_points(values, row.where) * np.array(scale)
        return Object(label, around([points], size, row.where), lambda: draw([points], size))

    def _label(self, row: _LabelRow) -> str | int:
        index = parse_int(row.numbers[0], 0, 10**6)
        if index is None:
            raise TruthError(f"{row.where}: {row.numbers[0]:g} is no class index; a row is {_ROW}")
        if self.names is None:
            return index
        if index >= len(self.names):
            raise TruthError(f"{row.where}: class {index}, and data.yaml names {len(self.names)} classes")
        return self.names[index]


@dataclass(frozen=True)
class _LabelRow:
    where: str
    numbers: list[float]


def _rows(path: str) -> Iterator[_LabelRow]:
    for count, line in enumerate(paths.read_text(path, TruthError, "label file").splitlines(), 1):
        if words := line.split():
            found = [parse_float(word) for word in words]
            where = f"{in_message(path)}, line {count}"
            numbers = [one for one in found if one is not None]
            if len(numbers) < len(found):
                raise TruthError(f"{where}: {in_message(line)} are no numbers; a row is {_ROW}")
            if max(numbers[1:], default=0) > 2 or min(numbers[1:], default=0) < -1:
                raise TruthError(f"{where}: coordinates are shares of the image, from 0 to 1; these seem to be pixels")
            yield _LabelRow(where, numbers)


def _box(values: list[float], size: tuple[int, int], where: str) -> tuple[float, float, float, float]:
    (x, y, width, height), (high, wide) = values, size
    corners = [(x - width / 2) * wide, (y - height / 2) * high, (x + width / 2) * wide, (y + height / 2) * high]
    return checked_box(corners, size, where)


def _points(values: list[float], each: int, size: tuple[int, int]) -> tuple[TrueKeypoint, ...]:
    rows = [values[start : start + each] for start in range(0, len(values), each)]
    return tuple((row[0] * size[1], row[1] * size[0], int(row[2]) if each == 3 else 2) for row in rows)


def _config(place: TruthPath) -> Path | None:
    """Return the data.yaml: the file itself, or the one in the folder."""
    if place.kind == "file":
        return place.path if place.ending in _YAML else None
    files = [path for path in place.files(*_YAML) if "names" in paths.read_text(path, TruthError, "truth", _YAML_LIMIT)]
    return next((path for path in files if path.stem == "data"), files[0] if len(files) == 1 else None)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        import yaml
    except ImportError:
        raise TruthError(f"{path}: YAML needs PyYAML, which is not installed; pip install 'onnxcam[truth]'") from None
    text = paths.read_text(path, TruthError, "truth", _YAML_LIMIT)
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" in line {mark.line + 1}" if mark else ""
        raise TruthError(f"{path}: it is no YAML, or breaks off{place}") from None
    if not isinstance(value, dict):
        raise TruthError(f"{path}: it has no names of classes; it is {YoloTruth.form}")
    return value


def _names(value: Any, path: Path) -> list[str] | None:
    """Return the names of the classes: a list, or an object by index."""
    if value is None:
        return None
    if isinstance(value, dict) and set(value) == set(range(len(value))):
        value = [value[index] for index in range(len(value))]
    if not isinstance(value, list) or not value or not all(isinstance(name, str | int | float) for name in value):
        raise TruthError(f'{path}: "names" are no list of class names, and none by index 0, 1, 2, …')
    return [str(name) for name in value]


def _classes_file(place: TruthPath) -> list[str] | None:
    path = place.path / "classes.txt"
    if place.kind != "folder" or paths.kind(path) != "file":
        return None
    return [line.strip() for line in paths.read_text(path, TruthError, "truth").splitlines() if line.strip()] or None


def _keypoint_shape(value: Any, path: Path) -> tuple[int, int] | None:
    if value is None:
        return None
    found = [parse_int(one, 1, 10**4) for one in value] if isinstance(value, list) and len(value) == 2 else [None]
    if None in found or found[1] not in (2, 3):
        raise TruthError(f"{path}: kpt_shape is no list [number of keypoints, 2 or 3]")
    return int(found[0] or 0), int(found[1] or 0)


def _folders(values: dict[str, Any], config: Path) -> Iterator[Path]:
    """Yield the folders of images of all splits; the folder of *config* if it names none."""
    written = values.get("path")
    root = config.parent / (written if isinstance(written, str) else "")
    base = root if paths.kind(root) == "folder" else config.parent
    given = [values.get(split) for split in _SPLITS]
    named = [one for split in given for one in (split if isinstance(split, list) else [split]) if isinstance(one, str)]
    found = [path for one in named for path in (base / one, config.parent / one.removeprefix("../"))]
    yield from dict.fromkeys(path for path in found if paths.kind(path) == "folder")
    if not any(paths.kind(path) == "folder" for path in found):
        yield config.parent


def _label_files(folder: Path) -> Iterator[str]:
    """Yield the label files beside the images in *folder*, and in the folder labels that goes with images."""
    for place in dict.fromkeys([folder, _beside(folder)]):
        yield from (path for path in sorted(paths.below(place)) if _is_named_as_labels(path))


def _pictures(folder: Path) -> Iterator[str]:
    return (path for path in sorted(paths.below(folder)) if os.path.splitext(path)[1].lower() in SUFFIXES)


def _beside(path: Path) -> Path:
    """Return *path* with its last folder ``images`` replaced by ``labels``."""
    parts = list(path.parts)
    places = [place for place, part in enumerate(parts) if part == "images"]
    return Path(*parts[: places[-1]], "labels", *parts[places[-1] + 1 :]) if places else path


def _is_named_as_labels(path: str) -> bool:
    return path.lower().endswith(".txt") and os.path.basename(path).lower() not in _OTHERS


def _texts(place: TruthPath) -> list[Path]:
    """Return some text files in the folder, or in its folder ``labels`` and the folders in that."""
    labels = TruthPath(place.path / "labels")
    found = [*place.files(".txt"), *labels.files(".txt")]
    found += [path for folder in labels.folders() for path in TruthPath(folder).files(".txt")[:5]]
    return [path for path in found if _is_named_as_labels(str(path))][:20]


def _is_label_file(path: Path) -> bool:
    """Return whether the first line is numbers as in a row."""
    try:
        line = paths.read_text(path, TruthError, "label file").partition("\n")[0].split()
    except TruthError:
        return False
    return len(line) >= 5 and all(parse_float(word) is not None for word in line)
