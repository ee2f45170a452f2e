"""CSV: a table with a header; its columns are found by their names."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from onnxcam.errors import TruthError
from onnxcam.metrics.truth.annotation import Annotation, Object
from onnxcam.metrics.truth.geometry import check_size, checked_box
from onnxcam.metrics.truth.image_index import ImageIndex
from onnxcam.metrics.truth.source import TruthPath, TruthSource
from onnxcam.numbers import parse_float
from onnxcam.targets.notation import Corners, Label
from onnxcam.text import in_message

__all__ = ["CsvTruth"]

_IMAGE = ("image", "img", "filename", "file_name", "file", "path", "filepath", "image_path", "image_name", "image_id")
_LABEL = ("label", "class", "class_name", "category", "label_name", "class_id", "target")
_TEXT = ("text", "transcription", "words", "caption", "plate")
_BOXES = (("x1", "y1", "x2", "y2"), ("xmin", "ymin", "xmax", "ymax"), ("left", "top", "right", "bottom"))
_WIDE = (("x", "y", "w", "h"), ("x", "y", "width", "height"), ("left", "top", "width", "height"))
_COUNTERS = ("", "unnamed: 0", "index", "id")
_SIZE = ("width", "height")


@dataclass(frozen=True)
class _CsvColumns:
    """Places of the columns that are read."""

    image: int
    label: int | None = None
    text: int | None = None
    box: tuple[int, ...] = ()
    wide: bool = False  # whether the box is x, y, width, height
    numbers: tuple[int, ...] = ()
    size: tuple[int, ...] = ()  # width and height of the image

    def said(self, header: Sequence[str]) -> str:
        named: dict[str, list[int | None]] = {"image": [self.image], "label": [self.label], "text": [self.text]}
        named |= {"box": [*self.box], "numbers": [*self.numbers], "size": [*self.size]}
        found = {what: [repr(header[at]) for at in own if at is not None] for what, own in named.items()}
        return ", ".join(f"{what} from {' '.join(own)}" for what, own in found.items() if own)


class CsvTruth(TruthSource):
    """Rows of image and label, box, text or numbers; an image may have several rows."""

    format = "csv"
    title = "CSV with a header"
    form = "a CSV file with a header, image,label or image,class,x1,y1,x2,y2"

    def __init__(self, place: TruthPath) -> None:
        super().__init__(place)
        self._header, rows = _read(place)
        self._columns = self._found(rows)
        by_image: dict[str, list[tuple[int, list[str]]]] = defaultdict(list)
        for line, row in rows:
            by_image[row[self._columns.image]].append((line, row))
        bare = not any("." in name.replace("\\", "/").rpartition("/")[2] for name in by_image)
        self._images = ImageIndex(by_image.items(), str(self.path), stems=bare)
        self.locates = bool(self._columns.box)
        self.notes = (f"{self.path}: {in_message(self._columns.said(self._header))}",)

    @classmethod
    def fits(cls, place: TruthPath) -> bool:
        """Return whether the place is a .csv or .tsv file."""
        return place.ending in (".csv", ".tsv")

    def annotation(self, picture: Path, size: tuple[int, int]) -> Annotation | None:
        """Return what the rows of *picture* say."""
        rows = self._images.find(picture)
        if rows is None:
            return None
        columns = self._columns
        for line, row in rows[:1] if columns.size else ():
            width, height = (int(self._number(row, at, line)) for at in columns.size)
            check_size(height, width, size, f"{self.path}, line {line}")
        boxed = [(line, row) for line, row in rows if columns.box and any(row[at] for at in columns.box)]
        labels = () if columns.box else (self._label(row) for _, row in rows)
        texts = [row[columns.text] for _, row in rows if columns.text is not None]
        return Annotation(
            tuple(Object(self._label(row), self._box(row, size, line)) for line, row in boxed),
            tuple(dict.fromkeys(label for label in labels if label is not None)),
            text=texts[0] if texts else None,
            numbers=tuple(self._number(rows[0][1], at, rows[0][0]) for at in columns.numbers),
        )

    def _found(self, rows: list[tuple[int, list[str]]]) -> _CsvColumns:
        places = {name.strip().lower(): at for at, name in reversed(list(enumerate(self._header)))}
        image, label, text = (
            next((places[name] for name in names if name in places), None) for names in (_IMAGE, _LABEL, _TEXT)
        )
        boxes = [own for own in (*_BOXES, *_WIDE) if all(name in places for name in own)]
        box = tuple(places[name] for name in boxes[0]) if boxes else ()
        numeric = {at for at in range(len(self._header)) if all(parse_float(row[at]) is not None for _, row in rows)}
        if label in numeric and any(_whole(row[label]) is None for _, row in rows if label is not None):
            label = None  # 3.7 is no class
        sized = bool(boxes) and boxes[0] not in _WIDE and all(name in places for name in _SIZE)
        sizes = tuple(places[name] for name in _SIZE) if sized else ()
        counters = {places[name] for name in _COUNTERS if name in places}
        used = {image, label, text, *box, *sizes, *counters}
        numbers = () if boxes else tuple(sorted(numeric - used))
        if image is None or (label is None and text is None and not box and not numbers):
            raise TruthError(
                f"{self.path}: its first line is {in_message(','.join(self._header))}; it is a header with the columns "
                "image and label, class, text, x1,y1,x2,y2 or numbers"
            )
        return _CsvColumns(image, label, text, box, bool(boxes) and boxes[0] in _WIDE, numbers, sizes)

    def _label(self, row: list[str]) -> Label | None:
        """Return the class as written; 3.0 is 3."""
        words = "" if self._columns.label is None else row[self._columns.label]
        return _whole(words) or words or None

    def _box(self, row: list[str], size: tuple[int, int], line: int) -> Corners:
        x1, y1, x2, y2 = (self._number(row, at, line) for at in self._columns.box)
        corners = [x1, y1, x1 + x2, y1 + y2] if self._columns.wide else [x1, y1, x2, y2]
        return checked_box(corners, size, f"{self.path}, line {line}")

    def _number(self, row: list[str], at: int, line: int) -> float:
        found = parse_float(row[at])
        if found is None:
            raise TruthError(
                f"{self.path}, line {line}: {in_message(self._header[at])} is {in_message(repr(row[at]))}, which is no "
                "number"
            )
        return found


def _whole(words: str) -> str | None:
    """Return the whole number in *words*, such as 3 or 3.0, as 3; None for anything else."""
    value = parse_float(words, low=0)
    return str(int(value)) if value is not None and value.is_integer() else None


def _read(place: TruthPath) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the header, and each row with its line."""
    first = place.text.partition("\n")[0]
    mark = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(place.text, newline=""), delimiter=mark)
    try:
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if row]
    except csv.Error as error:
        raise TruthError(f"{place.path}, line {reader.line_num}: it is no CSV ({error})") from None
    if len(rows) < 2:
        raise TruthError(f"{place.path}: it has no rows; it is {CsvTruth.form}")
    (_, header), *rest = rows
    for line, row in rest:
        if len(row) != len(header):
            raise TruthError(f"{place.path}, line {line}: {len(row)} cells, and the header has {len(header)}")
    return header, rest
