"""Boxes: a JSON object of images, each a list of boxes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnxcam.errors import TruthError
from onnxcam.metrics.truth.annotation import Annotation, Object
from onnxcam.metrics.truth.geometry import checked_box
from onnxcam.metrics.truth.image_index import ImageIndex
from onnxcam.metrics.truth.source import TruthPath, TruthSource
from onnxcam.text import in_message

__all__ = ["BoxTruth"]


class BoxTruth(TruthSource):
    """Boxes of each image, ``{"img.jpg": [[x1, y1, x2, y2], …]}``."""

    format = "boxes"
    title = "JSON of boxes"
    form = 'JSON {"img.jpg": [[x1, y1, x2, y2], …]} or {"img.jpg": [{"label": …, "box": [x1, y1, x2, y2]}, …]}'

    def __init__(self, place: TruthPath) -> None:
        super().__init__(place)
        if not isinstance(place.json, dict):
            raise TruthError(f"truth '{self.path}' is no object of images; it is {self.form}")
        self._images = ImageIndex[Any](place.json.items(), str(self.path))

    @classmethod
    def fits(cls, place: TruthPath) -> bool:
        """Return whether the place is a JSON object of lists by the names of images."""
        return (
            place.ending == ".json"
            and isinstance(place.json, dict)
            and all("." in key or isinstance(value, list) for key, value in place.json.items())
        )

    def annotation(self, picture: Path, size: tuple[int, int]) -> Annotation | None:
        """Return the objects in *picture*."""
        entry = self._images.find(picture)
        if entry is None:
            return None
        if not isinstance(entry, list) or not entry:
            raise TruthError(f"{self.path}: {in_message(picture.name)} has no list of objects; it is {self.form}")
        where = self._where(picture)
        return Annotation(tuple(self._object(one, size, where) for one in entry))

    def _object(self, thing: Any, size: tuple[int, int], where: str) -> Object:
        if not isinstance(thing, Mapping):
            return Object(None, checked_box(thing, size, where))
        label = thing.get("label")
        if not isinstance(label, int | str):
            raise TruthError(f"{where}: an object has no label; it is {self.form}")
        return Object(label, checked_box(thing.get("box"), size, where))

    def missing(self, picture: Path) -> str:
        """Return that no key is the image's name."""
        return f"{self.path}: no entry for {in_message(picture.name)}; its keys are names of images"
