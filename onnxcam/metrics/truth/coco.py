"""COCO: a JSON file of images, categories, and annotations with boxes, polygons, run lengths or keypoints."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnxcam.errors import TruthError
from onnxcam.metrics.truth.annotation import Annotation, LazyMask, Object, TrueKeypoint
from onnxcam.metrics.truth.geometry import around, check_size, checked_box, checked_points, draw, floats, run_mask
from onnxcam.metrics.truth.image_index import ImageIndex
from onnxcam.metrics.truth.source import TruthPath, TruthSource
from onnxcam.numbers import parse_float
from onnxcam.text import in_message

__all__ = ["CocoTruth"]


_LISTS = {"images", "annotations"}


class CocoTruth(TruthSource):
    """Instances, keypoints or captions as COCO writes them; labels are names of categories.

    Attributes:
        pictures: The paths of the images, as the file writes them.
    """

    format = "coco"
    title = "COCO JSON"
    form = 'COCO JSON {"images": […], "annotations": […], "categories": […]}'

    def __init__(self, place: TruthPath) -> None:
        super().__init__(place)
        categories = _list(place.json, "categories", self.path)
        self._names = dict(_category(one, self.path) for one in categories)
        ids = sorted(self._names, key=lambda key: (isinstance(key, str), key))
        self.names = [self._names[key] for key in ids] or None
        images = [_image(one, self.path) for one in _list(place.json, "images", self.path)]
        self.pictures = list(dict.fromkeys(path for path, _ in images))
        self._images = ImageIndex[Mapping[str, Any]](images, str(self.path))
        self._by_image: dict[int | str, list[Mapping[str, Any]]] = defaultdict(list)
        for one in _list(place.json, "annotations", self.path):
            self._by_image[_id(one, "image_id", "an annotation", self.path)].append(one)
        self.notes = (*self._images.notes, *self._lost({image["id"] for _, image in images}))

    @classmethod
    def fits(cls, place: TruthPath) -> bool:
        """Return whether the place is a JSON object with images and annotations."""
        return place.ending == ".json" and isinstance(place.json, dict) and bool(_LISTS & set(place.json))

    def _lost(self, known: set[int | str]) -> tuple[str, ...]:
        lost = sum(len(own) for key, own in self._by_image.items() if key not in known)
        return (f"{self.path}: {lost} annotations are of images that it does not list; left out",) if lost else ()

    def annotation(self, picture: Path, size: tuple[int, int]) -> Annotation | None:
        """Return the objects in *picture*, and its caption."""
        image = self._images.find(picture)
        if image is None:
            return None
        where = self._where(picture)
        check_size(image.get("height"), image.get("width"), size, where)
        own = self._by_image.get(image["id"], [])
        captions = [one["caption"] for one in own if isinstance(one.get("caption"), str)]
        objects = tuple(self._object(one, size, where) for one in own if "caption" not in one)
        return Annotation(objects, text=captions[0] if captions else None)

    def _object(self, one: Mapping[str, Any], size: tuple[int, int], where: str) -> Object:
        where = f"{where}: annotation {in_message(str(one.get('id')))}"
        mask, box = _mask(one.get("segmentation"), size, where)
        return Object(
            self._label(one.get("category_id"), where),
            box if one.get("bbox") is None else _box(one["bbox"], size, where),
            mask,
            _keypoints(one.get("keypoints"), where),
            crowd=bool(one.get("iscrowd", 0)),
            area=parse_float(one.get("area"), low=0),
        )

    def _label(self, key: Any, where: str) -> str:
        if not isinstance(key, int | str) or key not in self._names:
            raise TruthError(f'{where}: category {in_message(repr(key))} is not in "categories"')
        return self._names[key]


def _list(value: Any, key: str, path: Path) -> list[Mapping[str, Any]]:
    """Return the list *key*; captions have no categories."""
    found = value.get(key, [] if key == "categories" else None) if isinstance(value, dict) else None
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise TruthError(f'{path}: "{key}" is no list of objects; the file is {CocoTruth.form}')
    return found


def _id(one: Mapping[str, Any], key: str, what: str, path: Path) -> int | str:
    value = one.get(key)
    if not isinstance(value, int | str):
        raise TruthError(f"{path}: {what} has no {key}; the file is {CocoTruth.form}")
    return value


def _image(one: Mapping[str, Any], path: Path) -> tuple[str, Mapping[str, Any]]:
    _id(one, "id", "an image", path)
    return str(_id(one, "file_name", "an image", path)), one


def _category(one: Mapping[str, Any], path: Path) -> tuple[Any, str]:
    return _id(one, "id", "a category", path), str(_id(one, "name", "a category", path))


def _box(value: Any, size: tuple[int, int], where: str) -> tuple[float, float, float, float]:
    box = floats(value, 4)
    if box is None:
        raise TruthError(f"{where}: {in_message(repr(value))} is no box [x, y, width, height]")
    x, y, width, height = box
    return checked_box([x, y, x + width, y + height], size, where)


def _mask(
    value: Any, size: tuple[int, int], where: str
) -> tuple[LazyMask | None, tuple[float, float, float, float] | None]:
    """Return the function that decodes a segmentation, and the box around its polygons."""
    if not value:
        return None, None
    if isinstance(value, dict):
        if value.get("size") != list(size):
            raise TruthError(
                f"{where}: the mask is of {in_message(repr(value.get('size')))} rows and columns, the "
                f"image of {list(size)}"
            )
        counts = value.get("counts")
        return lambda: run_mask(counts, size, where), None
    if not isinstance(value, list):
        raise TruthError(f"{where}: {in_message(repr(value))} is no segmentation")
    polygons = [checked_points(one, where) for one in value]
    return lambda: draw(polygons, size), around(polygons, size, where)


def _keypoints(value: Any, where: str) -> tuple[TrueKeypoint, ...]:
    if value is None:
        return ()
    found = floats(value)
    if found is None or len(found) % 3:
        raise TruthError(f"{where}: {in_message(repr(value))} are no keypoints [x1, y1, v1, x2, y2, v2, …]")
    return tuple((found[i], found[i + 1], int(found[i + 2])) for i in range(0, len(found), 3))
