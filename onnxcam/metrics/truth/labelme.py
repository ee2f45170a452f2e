"""Labelme: one JSON file of shapes for each image."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from onnxcam.errors import TruthError
from onnxcam.metrics.truth.annotation import Annotation, Object
from onnxcam.metrics.truth.geometry import around, check_size, checked_box, checked_points, draw, floats
from onnxcam.metrics.truth.image_index import ImageIndex
from onnxcam.metrics.truth.source import TruthPath, TruthSource, read_json
from onnxcam.text import in_message

__all__ = ["LabelmeTruth"]

_LOOKED_AT = 20


class LabelmeTruth(TruthSource):
    """A folder of JSON files, or one: polygons, rectangles and circles; other shapes are left out."""

    format = "labelme"
    title = "Labelme JSON"

    def __init__(self, place: TruthPath) -> None:
        super().__init__(place)
        files = place.files(".json") if place.kind == "folder" else [place.path]
        self._images = ImageIndex(((str(path), path) for path in files), str(self.path), stems=True)
        self.single, self.notes = place.kind == "file", self._images.notes

    @classmethod
    def fits(cls, place: TruthPath) -> bool:
        """Return whether the place is, or has, a JSON object with shapes."""
        if place.kind == "file":
            return place.ending == ".json" and _has_shapes(place.json)
        return any(_has_shapes(read_json(path)) for path in place.files(".json")[:_LOOKED_AT])

    def annotation(self, picture: Path, size: tuple[int, int]) -> Annotation | None:
        """Return the shapes in *picture*."""
        path = self.path if self.single else self._images.find(picture)
        if path is None:
            return None
        value, where = read_json(path), str(path)
        if not _has_shapes(value):
            raise TruthError(f'{where}: it has no "shapes"; it is no file of Labelme')
        check_size(value.get("imageHeight"), value.get("imageWidth"), size, where)
        found = (_object(one, size, where) for one in value["shapes"])
        return Annotation(tuple(one for one in found if one is not None))


def _has_shapes(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("shapes"), list)


def _object(one: Any, size: tuple[int, int], where: str) -> Object | None:
    """Return the object of a shape; None for points and lines."""
    if not isinstance(one, dict) or not isinstance(one.get("label"), str):
        raise TruthError(f"{where}: a shape has no label")
    label, points = one["label"], one.get("points")
    if not isinstance(points, list) or any(floats(point, 2) is None for point in points):
        raise TruthError(f"{where}: the points of {in_message(label)} are no list of [x, y]")
    corners = np.array(points, float).reshape(-1, 2)
    kind = one.get("shape_type", "polygon")
    if kind == "rectangle" and len(corners) in (2, 4):
        return Object(label, checked_box([*corners.min(0).tolist(), *corners.max(0).tolist()], size, where))
    if kind == "circle" and len(corners) == 2:
        corners = _circle(corners)
    elif kind != "polygon":
        return None
    polygon = checked_points(corners.reshape(-1).tolist(), where)
    return Object(label, around([polygon], size, where), lambda: draw([polygon], size))


def _circle(points: np.ndarray) -> np.ndarray:
    """Return the corners of a polygon along the circle with a centre and a point on it."""
    angles = np.linspace(0, 2 * math.pi, 64, endpoint=False)
    radius = np.hypot(*(points[1] - points[0]))
    return points[0] + radius * np.stack([np.cos(angles), np.sin(angles)], 1)
