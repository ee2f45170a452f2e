"""ImageFolder: a folder for each class with the images of this class."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from onnxcam import paths
from onnxcam.media.image import SUFFIXES
from onnxcam.metrics.truth.annotation import Annotation
from onnxcam.metrics.truth.image_index import ImageIndex
from onnxcam.metrics.truth.source import TruthPath, TruthSource

__all__ = ["ImageFolderTruth"]

_SPLITS = {"train", "training", "val", "valid", "validation", "test", "testing"}
_NO_CLASSES = {"images", "masks", "labels", "annotations", "jpegimages", "segmentationclass", "segmentationobject"}


class ImageFolderTruth(TruthSource):
    """A folder of class folders, perhaps below folders train, val and test; the folder's name is the class."""

    format = "imagefolder"
    title = "a folder of class folders"
    locates = False

    def __init__(self, place: TruthPath) -> None:
        super().__init__(place)
        classes = list(_classes(place))
        self.names = sorted({folder.name for folder in classes}) or None
        entries = ((path, folder.name) for folder in classes for path in _pictures(folder))
        self._images = ImageIndex(entries, str(self.path))
        self.notes = self._images.notes

    @classmethod
    def fits(cls, place: TruthPath) -> bool:
        """Return whether each folder in the place has images."""
        classes = list(_classes(place))
        named = {folder.name.lower() for folder in classes}
        return bool(classes) and not named & _NO_CLASSES and all(next(_pictures(folder), None) for folder in classes)

    def annotation(self, picture: Path, size: tuple[int, int]) -> Annotation | None:
        """Return the class of *picture*."""
        name = self._images.find(picture)
        return None if name is None else Annotation(classes=(name,))


def _classes(place: TruthPath) -> Iterator[Path]:
    """Yield the class folders."""
    folders = place.folders()
    if {folder.name.lower() for folder in folders} <= _SPLITS:
        folders = [own for folder in folders for own in TruthPath(folder).folders()]
    yield from folders


def _pictures(folder: Path) -> Iterator[str]:
    return (path for path in paths.below(folder) if os.path.splitext(path)[1].lower() in SUFFIXES)
