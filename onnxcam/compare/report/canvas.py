"""What the maps of a report are drawn on: an image, a drawn signal, or three planes of a volume."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxcam.compare.array_inputs import drawn_record, volume_again
from onnxcam.compare.drawing import drawn_classes, unpacked
from onnxcam.compare.image_comparison import ImageComparison
from onnxcam.compare.map_comparison import Kept, ObjectComparison
from onnxcam.compare.report.marks import boxed, changes, dotted, enlarged, nearest, pale, signed
from onnxcam.compare.tasks.cell_maps import unpacked_cells
from onnxcam.errors import ImageError
from onnxcam.media import heatmap, image, planes, readable
from onnxcam.media.image import RgbImage
from onnxcam.media.image_files import OF_NUMBERS
from onnxcam.targets.notation import Corners

__all__ = ["CANDIDATE", "REFERENCE", "SIDE", "Canvas", "PictureCanvas", "VolumeCanvas", "canvas_of"]

SIDE = 320
"""Maximum longer side of images in a report, in pixels."""
REFERENCE, CANDIDATE = (31, 119, 208), (232, 89, 12)
"""Colours of boxes, RGB."""
_RECORD = 110
"""Height of a drawn signal, in pixels."""


class Canvas(ABC):
    """The image of a comparison at the size of a report, grey if it cannot be shown; ``missing`` says why."""

    missing: str = ""
    parts: int = 1
    """How many pictures lie one below the other."""

    @abstractmethod
    def picture(self, pair: ImageComparison) -> RgbImage:
        """Return the image with all that both models find."""

    @abstractmethod
    def over(self, kept: NDArray[np.floating], box: Corners | None) -> RgbImage:
        """Return the image under a map, in [0, 1], with the box of what it explains."""

    @abstractmethod
    def difference(self, reference: NDArray[np.floating], candidate: NDArray[np.floating]) -> RgbImage:
        """Return the candidate's map minus the reference's: red is positive, blue negative."""

    @abstractmethod
    def outputs(self, pair: ImageComparison) -> tuple[RgbImage, RgbImage, RgbImage] | None:
        """Return what both models put out, drawn, and where it differs; None if it is not drawn."""

    def at(self, one: ObjectComparison) -> Canvas:
        """Return the canvas for the maps of *one* thing."""
        return self

    def maps(self, one: ObjectComparison) -> tuple[RgbImage | None, RgbImage | None, RgbImage | None]:
        """Return the reference's map of *one* thing, the candidate's, and their difference; None without a map."""
        own, (first, second) = self.at(one), one.maps
        drawn = [None if kept is None else own.over(kept, box) for kept, box in zip(one.maps, one.boxes, strict=True)]
        both = None if first is None or second is None else own.difference(first, second)
        return drawn[0], drawn[1], both


def canvas_of(pair: ImageComparison, folders: Sequence[str] | None = None) -> Canvas:
    """Return what the maps of *pair* are drawn on. Files outside *folders* are not opened; None allows any folder."""
    try:
        if folders is not None:
            _require_inside(pair.picture, folders)
        return _volume(pair) if len(pair.size) > 2 else PictureCanvas(_shrunk(pair, _read(pair)), pair.size)
    except ImageError as error:
        missing = str(error)
    if len(pair.size) > 2:
        return VolumeCanvas(np.full((1, 1, 1, 3), 128, np.uint8), _view(pair, None), None, missing)
    return PictureCanvas(np.full((*_fitted(pair), 3), 128, np.uint8), pair.size, missing)


@dataclass(frozen=True)
class PictureCanvas(Canvas):
    """An image or drawn signal of *size* (H, W) that was made smaller, uint8 [h, w, 3]."""

    ground: RgbImage
    size: tuple[int, ...]
    missing: str = ""

    @property
    def _shape(self) -> tuple[int, int]:
        return self.ground.shape[0], self.ground.shape[1]

    def picture(self, pair: ImageComparison) -> RgbImage:
        """Return the image with all boxes or points."""
        picture = self.ground
        for answer, colour in zip(pair.answers, (REFERENCE, CANDIDATE), strict=True):
            for one in answer.data.get("objects", ()):
                picture = boxed(picture, one["box"], colour, self.size)
            for one in answer.data.get("keypoints", ()):
                picture = dotted(picture, one["point"], colour, self.size)
        return picture

    def over(self, kept: NDArray[np.floating], box: Corners | None) -> RgbImage:
        """Return the overlay."""
        return boxed(heatmap.overlay(self.ground, enlarged(kept, self._shape)), box, (255,) * 3, self.size)

    def difference(self, reference: NDArray[np.floating], candidate: NDArray[np.floating]) -> RgbImage:
        """Return the difference over the image in pale grey."""
        first, second = (enlarged(one, self._shape) for one in (reference, candidate))
        return heatmap.overlay(pale(self.ground), signed(second - first), 0.9)

    def outputs(self, pair: ImageComparison) -> tuple[RgbImage, RgbImage, RgbImage] | None:
        """Return the drawings that the comparison kept."""
        drawn = [unpacked(text) for text in pair.details.get("drawings", ())]
        first, second = ([None if one is None else nearest(one, self._shape) for one in drawn] + [None, None])[:2]
        if first is None or second is None:
            return None
        return first, second, changes(self.ground, first, second)


@dataclass(frozen=True)
class VolumeCanvas(Canvas):
    """Planes of a volume: its voxels in grey, uint8 [D, H, W, 3], and where it is cut."""

    grey: NDArray[np.uint8]
    view: planes.PlaneView
    affine: NDArray[np.float64] | None
    missing: str = ""
    parts: int = 3

    def at(self, one: ObjectComparison) -> VolumeCanvas:
        """Return the planes through the largest value of the reference's map, else of the candidate's."""
        view = _cut(_upright(self.view), one.maps, self.affine)
        return self if view == self.view else replace(self, view=view)

    def picture(self, pair: ImageComparison) -> RgbImage:
        """Return the planes."""
        return self._drawn(lambda plane: self._slice(self.grey, plane))

    def over(self, kept: NDArray[np.floating], box: Corners | None) -> RgbImage:
        """Return the planes under the map."""
        heat = kept.astype(np.float32)
        return self._drawn(
            lambda plane: heatmap.overlay(self._slice(self.grey, plane), np.clip(self._slice(heat, plane), 0, 1))
        )

    def difference(self, reference: NDArray[np.floating], candidate: NDArray[np.floating]) -> RgbImage:
        """Return the difference over the planes in pale grey."""
        change = candidate.astype(np.float32) - reference.astype(np.float32)
        return self._drawn(
            lambda plane: heatmap.overlay(pale(self._slice(self.grey, plane)), signed(self._slice(change, plane)), 0.9)
        )

    def outputs(self, pair: ImageComparison) -> tuple[RgbImage, RgbImage, RgbImage] | None:
        """Return the classes of a segmentation in the planes, which the comparison kept."""
        found = [unpacked_cells(one) for one in pair.details.get("found", ())]
        if len(found) != 2:
            return None
        background = pair.details["background"]
        first, second = (
            {plane: self._classes(cells, plane, background) for plane in self.view.planes} for cells in found
        )
        return (
            self._drawn(first.__getitem__),
            self._drawn(second.__getitem__),
            self._drawn(lambda plane: changes(self._slice(self.grey, plane), first[plane], second[plane])),
        )

    def _classes(self, cells: NDArray[Any], plane: planes.Plane, background: int | None) -> RgbImage:
        """Return the classes in one plane as colours; of several classes in a cell, the first one."""
        if cells.dtype == bool:
            cells = np.where(cells.any(axis=0), cells.argmax(axis=0), -1)
        cut = self.view.cut(cells.astype(np.int16), plane, smooth=False)
        return nearest(drawn_classes(cut, background), self.view.shape(plane))

    def _slice(self, volume: NDArray[Any], plane: planes.Plane) -> NDArray[Any]:
        return self.view.cut(volume, plane)

    def _drawn(self, draw: Callable[[planes.Plane], RgbImage]) -> RgbImage:
        return planes.stacked([self.view.panel(draw(plane), plane) for plane in self.view.planes])


def _volume(pair: ImageComparison) -> VolumeCanvas:
    seen = volume_again(pair.picture, pair.size, pair.sha256)
    return VolumeCanvas(planes.greyed(seen.data), _view(pair, seen.affine), seen.affine)


def _view(pair: ImageComparison, affine: NDArray[np.float64] | None) -> planes.PlaneView:
    return _cut(pair.size, pair.maps, affine)


def _cut(size: Sequence[int], maps: Sequence[Kept], affine: NDArray[np.float64] | None) -> planes.PlaneView:
    """Return the planes through the largest value of the first of *maps* that there is, else through the middle."""
    known = next((kept for kept in maps if kept is not None and kept.any()), None)
    at = [n // 2 for n in size]
    if known is not None:
        cells = zip(planes.peak(known), known.shape, size, strict=True)
        at = [int((cell + 0.5) * n / count) for cell, count, n in cells]
    return planes.PlaneView.through(at, size, affine)


def _upright(view: planes.PlaneView) -> list[int]:
    """Return the size of the volume in its own order of axes."""
    return [view.size[view.order.index(axis)] for axis in range(3)]


def _fitted(pair: ImageComparison) -> tuple[int, int]:
    height, width = readable.fitted((pair.size[0], pair.size[1]), SIDE)
    return (_RECORD if pair.size[0] == 1 else height), width


def _shrunk(pair: ImageComparison, picture: RgbImage) -> RgbImage:
    return readable.shrunk(picture, _fitted(pair))


def _read(pair: ImageComparison) -> RgbImage:
    is_record = pair.picture.lower().endswith(OF_NUMBERS)
    picture = drawn_record(pair.picture, pair.size) if is_record else image.read(pair.picture)
    data = image.load(pair.picture)
    if hashlib.sha256(data).hexdigest() != pair.sha256:
        raise ImageError(f"{pair.picture}: the file has changed since the comparison")
    return picture


def _require_inside(picture: str, folders: Sequence[str]) -> None:
    """Raise ImageError if *picture*, a path from a recording, is no file in one of *folders*."""
    place = Path(os.path.realpath(picture))
    if not any(place.is_relative_to(os.path.realpath(folder)) for folder in folders) or not (
        place.is_file() or place.is_dir()
    ):
        raise ImageError(f"{picture}: is not opened, as its path comes from a recording; give its folder with --images")
