"""Ground truth of images, in the format that a file or folder has."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from onnxcam import paths
from onnxcam.errors import TruthError, nearest
from onnxcam.metrics.truth.annotation import Annotation, Region, regions
from onnxcam.metrics.truth.array_masks import ArrayMaskTruth
from onnxcam.metrics.truth.box_json import BoxTruth
from onnxcam.metrics.truth.coco import CocoTruth
from onnxcam.metrics.truth.cvat import CvatTruth
from onnxcam.metrics.truth.image_folder import ImageFolderTruth
from onnxcam.metrics.truth.labelme import LabelmeTruth
from onnxcam.metrics.truth.masks import MASK_VALUES, MaskTruth
from onnxcam.metrics.truth.source import TruthPath, TruthSource
from onnxcam.metrics.truth.table import CsvTruth
from onnxcam.metrics.truth.voc import VocTruth
from onnxcam.metrics.truth.yolo import YoloTruth
from onnxcam.targets.classification import class_index
from onnxcam.targets.notation import Label
from onnxcam.text import in_message

__all__ = ["FORMATS", "Truth"]

FORMATS: Mapping[str, type[TruthSource]] = {
    one.format: one
    for one in (
        CocoTruth,
        LabelmeTruth,
        BoxTruth,
        VocTruth,
        CvatTruth,
        YoloTruth,
        CsvTruth,
        MaskTruth,
        ArrayMaskTruth,
        ImageFolderTruth,
    )
}
"""Formats by name; the first one that fits is read."""
_SYNSET = re.compile(r"n\d{8}")
"""Number of a class in ImageNet."""
_TITLES = ", ".join(one.title for one in FORMATS.values())


class Truth:
    """Ground truth of images.

    Args:
        source: A file or folder (docs/truth-formats.md): COCO JSON, Pascal VOC, YOLO, CSV, Labelme, CVAT, a
            folder of class folders, a folder of PNG masks or of masks as arrays, or a JSON file of boxes.
            ``"coco:PATH"`` names the format.
        values: Meaning of value k in a mask: ``"object"``, the object for any k but 0; ``"class"``, class k, 0 is
            background; ``"class+1"``, class k − 1, 0 is background. 255 is unlabelled.
        format: Name of the format; None: what the file or folder looks like.

    Attributes:
        path: The file or folder.
        format: Name of the format.
        names: Names of all classes in the order of their indices; None if the truth does not say.
        notes: What the user should know: columns that were read, entries that were left out.

    Raises:
        TruthError: the file is missing, unreadable, of no known format, or does not fit an image.

    Example:
        >>> Truth("instances_val2017.json").annotation("000000000139.jpg", (426, 640)).objects
    """

    def __init__(self, source: str | os.PathLike[str], values: str = "object", format: str | None = None) -> None:
        given, self.path = _split(source)
        self.values = values
        if values not in MASK_VALUES:
            raise TruthError(f"values of masks are {', '.join(MASK_VALUES)}, not {values!r}")
        place = TruthPath(self.path)
        kind = _source(place, format or given)
        of_masks = kind if issubclass(kind, MaskTruth | ArrayMaskTruth) else None
        self._source = kind(place) if of_masks is None else of_masks(place, values)
        self.format = kind.format

    @property
    def single(self) -> bool:
        """Whether the truth is of one image only."""
        return self._source.single

    @property
    def locates(self) -> bool:
        """Whether there are boxes or masks, not only classes, text or numbers."""
        return self._source.locates

    @property
    def names(self) -> Sequence[str] | None:
        """Names of all classes in the order of their indices, if the truth has them."""
        return self._source.names

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know."""
        return self._source.notes

    def annotation(self, picture: str | os.PathLike[str], size: tuple[int, ...]) -> Annotation | None:
        """Return the truth of *picture*, an image of *size* (H, W); None if the truth does not have it.

        A signal has the size (1, T), a volume (D, H, W).
        """
        if isinstance(self._source, ArrayMaskTruth):
            return self._source.annotation(Path(picture), size)
        if len(size) != 2 and self.locates:
            raise TruthError(
                f"'{self.path}' has places in images ({self._source.title}), and {in_message(Path(picture).name)} is a "
                f"volume; give {ArrayMaskTruth.title} of its size"
            )
        return self._source.annotation(Path(picture), (size[-2], size[-1]))

    def required(self, picture: str | os.PathLike[str], size: tuple[int, ...]) -> Annotation:
        """Return `annotation`; TruthError if the truth does not have *picture*."""
        found = self.annotation(picture, size)
        if found is None:
            raise TruthError(self._source.missing(Path(picture)))
        return found

    def coverage(self, pictures: Sequence[str | os.PathLike[str]]) -> tuple[str, ...]:
        """Return a sentence that counts the *pictures* that the truth does not have, if there are any."""
        lost = [picture for picture in pictures if not self._source.has(Path(picture))]
        if not lost:
            return ()
        first = in_message(Path(lost[0]).name)
        return (f"{self.path}: {len(lost)} of {len(pictures)} images are not in the truth, the first is {first}",)

    def regions(self, picture: str | os.PathLike[str], size: tuple[int, ...]) -> dict[Label | None, Region]:
        """Return the pixels of each class in *picture*, an image of *size* (H, W); None is an unknown class."""
        return regions(self.required(picture, size), size)

    def index(self, label: Label, classes: int, names: Sequence[str] | None) -> int:
        """Return the index of *label* in a model of *classes* with *names*, see `class_index`."""
        if self.names is not None and label in self.names and self._in_order(classes, names):
            return list(self.names).index(str(label))
        return class_index(label, classes, names)

    def class_names(self, classes: int, names: Sequence[str] | None) -> Sequence[str] | None:
        """Return the names that give the indices of labels in a model of *classes* with *names*."""
        return self.names if self._in_order(classes, names) else names

    def order_notes(self, classes: int, names: Sequence[str] | None) -> tuple[str, ...]:
        """Return a sentence if the order of the truth's names gives the indices of the model's classes."""
        if self.names is None or not self._in_order(classes, names):
            return ()
        return (f"classes are taken in the order of the truth: class 0 of the model is {in_message(self.names[0])}",)

    def _in_order(self, classes: int, names: Sequence[str] | None) -> bool:
        """Return whether names do not tell the classes: the model has none, or the truth has ImageNet's numbers."""
        own = self.names or ()
        return len(own) == classes and (names is None or all(map(_SYNSET.fullmatch, own)))


def _split(source: str | os.PathLike[str]) -> tuple[str | None, Path]:
    """Return the format and the path in ``format:path``; no format if there is a file of the whole name."""
    name, colon, rest = os.fspath(source).partition(":")
    if colon and name.lower() in FORMATS and paths.kind(source) == "missing":
        return name.lower(), Path(rest)
    return None, Path(source)


def _source(place: TruthPath, format: str | None) -> type[TruthSource]:
    if place.kind == "missing":
        raise TruthError(f"truth '{in_message(place.path)}' does not exist; check the path")
    if place.kind == "special":
        paths.check_file(place.path, TruthError, "truth")
    if format is not None:
        if format not in FORMATS:
            raise TruthError(f"formats of truth are {', '.join(FORMATS)}, not {format!r}.{nearest(format, FORMATS)}")
        return FORMATS[format]
    for kind in FORMATS.values():
        if kind.fits(place):
            return kind
    raise TruthError(
        f"truth '{in_message(place.path)}' is of no known format; those are {_TITLES} (docs/truth-formats.md)"
    )
