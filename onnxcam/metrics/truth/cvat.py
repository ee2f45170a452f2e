"""CVAT for images: one XML file of images with boxes, polygons, masks and tags."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from onnxcam.errors import TruthError
from onnxcam.metrics.truth.annotation import Annotation, Object
from onnxcam.metrics.truth.geometry import around, check_size, checked_box, checked_points, draw, filled, run_mask
from onnxcam.metrics.truth.image_index import ImageIndex
from onnxcam.metrics.truth.source import TruthPath, TruthSource
from onnxcam.metrics.truth.xml_files import attribute, number, read_xml

__all__ = ["CvatTruth"]

_FILE = "annotations.xml"


class CvatTruth(TruthSource):
    """An annotations.xml of CVAT for images 1.1, or the folder with it; polylines and points are left out."""

    format = "cvat"
    title = "CVAT XML"

    def __init__(self, place: TruthPath) -> None:
        super().__init__(place)
        path = _file(place)
        self._root = read_xml(path)
        names = [(one.text or "").strip() for one in self._root.iterfind("meta//labels/label/name")]
        self.names = names or None
        entries = [(attribute(one, "name", str(path)), one) for one in self._root.iterfind("image")]
        self._images = ImageIndex(entries, str(path))
        self.notes = self._images.notes

    @classmethod
    def fits(cls, place: TruthPath) -> bool:
        """Return whether the XML file has <annotations>."""
        path = _file(place)
        return path.suffix.lower() == ".xml" and TruthPath(path).kind == "file" and read_xml(path).tag == "annotations"

    def annotation(self, picture: Path, size: tuple[int, int]) -> Annotation | None:
        """Return the objects and tags of *picture*."""
        image = self._images.find(picture)
        if image is None:
            return None
        where = self._where(picture)
        height, width = (int(number(image.get(name, "0"), name, where)) for name in ("height", "width"))
        check_size(height, width, size, where)
        tags = tuple(attribute(one, "label", where) for one in image.iterfind("tag"))
        return Annotation(tuple(_objects(image, size, where)), tags)


def _file(place: TruthPath) -> Path:
    return place.path / _FILE if place.kind == "folder" else place.path


def _objects(image: Element, size: tuple[int, int], where: str) -> Iterator[Object]:
    for one in image:
        if one.tag == "box":
            yield Object(
                attribute(one, "label", where),
                checked_box(_numbers(one, ("xtl", "ytl", "xbr", "ybr"), where), size, where),
            )
        elif one.tag == "polygon":
            yield _polygon(one, size, where)
        elif one.tag == "mask":
            yield _mask(one, size, where)


def _numbers(one: Element, names: tuple[str, ...], where: str) -> list[float]:
    return [number(attribute(one, name, where), name, where) for name in names]


def _polygon(one: Element, size: tuple[int, int], where: str) -> Object:
    words = attribute(one, "points", where).replace(";", ",").split(",")
    points = checked_points([number(word, "a point", where) for word in words], where)
    return Object(attribute(one, "label", where), around([points], size, where), lambda: draw([points], size))


def _mask(one: Element, size: tuple[int, int], where: str) -> Object:
    left, top, width, height = map(int, _numbers(one, ("left", "top", "width", "height"), where))
    box = checked_box([left, top, left + width, top + height], size, where)
    if left < 0 or top < 0 or left + width > size[1] or top + height > size[0]:
        raise TruthError(f"{where}: a mask reaches out of the image of {size[1]} × {size[0]} pixels")
    runs = [int(number(word, "a run length", where)) for word in attribute(one, "rle", where).split(",")]

    def whole() -> np.ndarray:
        mask = filled((), size)
        mask[top : top + height, left : left + width] = run_mask(runs, (height, width), where, "C")
        return mask

    return Object(attribute(one, "label", where), box, whole)
