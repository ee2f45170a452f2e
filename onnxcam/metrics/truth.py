"""Ground truth: masks in a folder, or boxes in a JSON file, checked against each image."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxcam import paths
from onnxcam.errors import TruthError
from onnxcam.media import image as pictures
from onnxcam.media import image_headers
from onnxcam.numbers import parse_float
from onnxcam.targets.notation import Corners, Label
from onnxcam.text import in_message

__all__ = ["MASK_VALUES", "VOID", "Annotation", "Truth"]

MASK_VALUES = ("object", "class", "class+1")
VOID = 255
"""Value of unlabelled pixels in a mask, as in PASCAL VOC."""

_ENDS = ("", "_mask", "_masks")
_FORMS = '{"img.jpg": [[x1, y1, x2, y2], …]} or {"img.jpg": [{"label": …, "box": [x1, y1, x2, y2]}, …]}'


@dataclass(frozen=True)
class Annotation:
    """Objects of one class in one image: a mask bool [H, W], and boxes (x1, y1, x2, y2) in pixels."""

    mask: NDArray[np.bool_]
    boxes: tuple[Corners, ...]


class Truth:
    """Ground truth of images.

    Args:
        source: A folder of masks, PNG files of the image's size (``img.png``, ``img_mask.png`` or ``img_masks.png`` for
            ``img.jpg``); a single mask; or a JSON file of boxes, ``{"img.jpg": [[x1, y1, x2, y2], …]}`` or, with
            classes, ``{"img.jpg": [{"label": "cat", "box": [x1, y1, x2, y2]}, …]}``, in pixels of the image; x2 and y2
            are exclusive.
        values: Meaning of value k in a mask: ``"object"``, the object for any k but 0; ``"class"``, class k, 0 is
            background; ``"class+1"``, class k − 1, 0 is background. 255 is unlabelled.

    Raises:
        TruthError: the file is missing, unreadable, or does not fit an image.

    Example:
        >>> Truth("masks").regions("img.jpg", (480, 640))[None].boxes
    """

    def __init__(self, source: str | os.PathLike[str], values: str = "object") -> None:
        self.path, self.values = Path(source), values
        if values not in MASK_VALUES:
            raise TruthError(f"values of masks are {', '.join(MASK_VALUES)}, not {values!r}")
        self._boxes: dict[str, Any] | None = None
        self._kind = paths.kind(self.path)
        if self._kind == "missing":
            raise TruthError(
                f"truth '{in_message(self.path)}' does not exist; give a folder of masks, or a JSON file of boxes"
            )
        if self._kind == "special":
            paths.check_file(self.path, TruthError, "truth")
        if self._kind == "file" and self.path.suffix.lower() == ".json":
            self._boxes = _read_json(self.path)
        elif self._kind == "file" and self.path.suffix.lower() != ".png":
            raise TruthError(f"truth '{self.path}' is no folder of masks, no PNG and no JSON; give one of them")

    @property
    def single(self) -> bool:
        """Whether there is one mask, which is of one image."""
        return self._boxes is None and self._kind == "file"

    def regions(self, picture: str | os.PathLike[str], size: tuple[int, int]) -> dict[Label | None, Annotation]:
        """Return the objects of each class in *picture*, an image of *size* (H, W); None is an unknown class."""
        if self._boxes is not None:
            return _of_boxes(self._entry(Path(picture)), size, f"{self.path}: {Path(picture).name}")
        path = self._mask(Path(picture))
        return _of_mask(_read_mask(path), size, path, self.values)

    def _entry(self, picture: Path) -> list[Any]:
        assert self._boxes is not None
        for key in (str(picture), picture.as_posix(), picture.name):
            if key in self._boxes:
                entry = self._boxes[key]
                if not isinstance(entry, list) or not entry:
                    raise TruthError(f"{self.path}: {key} has no list of objects; it is {_FORMS}")
                return entry
        raise TruthError(f"{self.path}: no entry for {picture.name}; its keys are names of images")

    def _mask(self, picture: Path) -> Path:
        if self._kind == "file":
            return self.path
        masks = [self.path / f"{picture.stem}{end}.png" for end in _ENDS]
        for path in masks:
            if paths.kind(path) == "file":
                return path
        raise TruthError(
            f"no mask for {picture.name}: '{self.path}' has neither " + " nor ".join(p.name for p in masks)
        )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(paths.read_text(path, TruthError, "truth"))
    except (ValueError, RecursionError):
        raise TruthError(f"truth '{path}' is no JSON; it is {_FORMS}") from None
    if not isinstance(value, dict):
        raise TruthError(f"truth '{path}' is no object of images; it is {_FORMS}")
    return value


def _read_mask(path: Path) -> NDArray[np.uint8]:
    """Return the values of the mask at *path*, uint8 [H, W]; for a PNG with palette (PASCAL VOC), the indices."""
    data = pictures.load(path)
    if not image_headers.is_png(data):
        raise TruthError(f"{path}: a mask is a PNG, which this file is not; save it as a grey PNG of 8 bits")
    picture = pictures.decode(data, path)
    depth, kind = data[24], data[25]  # header fields; every PNG that decodes has them
    if depth == 16 or kind in (4, 6):
        what = "16 bits" if depth == 16 else "transparency"
        raise TruthError(f"{path}: a mask with {what}; save it as a grey PNG of 8 bits")
    if kind == 3:
        return _places(picture, data, path)
    if kind == 2:
        return np.asarray(picture.max(2), np.uint8)
    return np.asarray(picture[..., 0] // (255 // (2**depth - 1)), np.uint8)  # OpenCV scales low bit depths to 255


def _places(picture: NDArray[np.uint8], data: bytes, path: Path) -> NDArray[np.uint8]:
    """Return for each pixel the index of its colour in the palette of the PNG *data*."""
    palette = next((body for kind, body in image_headers.png_chunks(data) if kind == b"PLTE"), b"")
    colours = np.frombuffer(palette[: len(palette) // 3 * 3], np.uint8).reshape(-1, 3)
    codes, first = np.unique(_codes(colours), return_index=True)
    wanted = _codes(picture)
    places = np.searchsorted(codes, wanted)
    if places.max() >= len(codes) or (codes[places] != wanted).any():
        raise TruthError(f"{path}: the mask has colours that are not in its palette; save it as a grey PNG of 8 bits")
    return first[places].astype(np.uint8)


def _codes(colours: NDArray[np.uint8]) -> NDArray[np.int64]:
    return colours.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])


def _of_mask(mask: NDArray[np.uint8], size: tuple[int, int], path: Path, values: str) -> dict[Label | None, Annotation]:
    if mask.shape != size:
        raise TruthError(
            f"{path}: the mask is {mask.shape[1]} × {mask.shape[0]} pixels, the image {size[1]} × {size[0]}; "
            "scale it to the image's size, without smoothing"
        )
    if values == "object":
        found: dict[Label | None, NDArray[np.bool_]] = {None: mask > 0}
    else:
        shift = 1 if values == "class+1" else 0
        found = {int(value) - shift: mask == value for value in np.unique(mask) if value not in (0, VOID)}
    if not found or not any(part.any() for part in found.values()):
        raise TruthError(f"{path}: the mask is empty: no pixel is an object; leave this image out")
    return {label: Annotation(part, _boxes_around(part)) for label, part in found.items()}


def _boxes_around(mask: NDArray[np.bool_]) -> tuple[Corners, ...]:
    """Return the bounding box of each connected component of *mask*."""
    import cv2

    count, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    return tuple((float(x), float(y), float(x + w), float(y + h)) for x, y, w, h, _ in stats[1:count])


def _of_boxes(entry: list[Any], size: tuple[int, int], where: str) -> dict[Label | None, Annotation]:
    found: dict[Label | None, list[Corners]] = {}
    for thing in entry:
        labelled = isinstance(thing, Mapping)
        label = thing.get("label") if labelled else None
        if labelled and not isinstance(label, int | str):
            raise TruthError(f"{where}: an object has no label; it is {_FORMS}")
        found.setdefault(label, []).append(_box(thing.get("box") if labelled else thing, size, where))
    return {label: Annotation(_filled(boxes, size), tuple(boxes)) for label, boxes in found.items()}


def _box(value: Any, size: tuple[int, int], where: str) -> Corners:
    box = _corners(value)
    if box is None:
        raise TruthError(f"{where}: {in_message(repr(value))} is no box [x1, y1, x2, y2]")
    x1, y1, x2, y2 = box
    if x2 <= x1 or y2 <= y1:
        raise TruthError(f"{where}: box {value} is empty: x2 must be above x1, and y2 above y1")
    if x1 < 0 or y1 < 0 or x2 > size[1] or y2 > size[0]:
        raise TruthError(
            f"{where}: box {value} reaches out of the image of {size[1]} × {size[0]} pixels; was the image scaled?"
        )
    return box


def _corners(value: Any) -> Corners | None:
    if not isinstance(value, list) or len(value) != 4 or not all(isinstance(each, int | float) for each in value):
        return None
    x1, y1, x2, y2 = map(parse_float, value)
    return None if x1 is None or y1 is None or x2 is None or y2 is None else (x1, y1, x2, y2)


def _filled(boxes: list[Corners], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the mask of pixels whose centre lies in one of *boxes*; a box without any marks its nearest pixel."""
    mask = np.zeros(size, bool)
    for x1, y1, x2, y2 in boxes:
        left, top = (min(round(low), full - 1) for low, full in ((x1, size[1]), (y1, size[0])))
        mask[top : max(round(y2), top + 1), left : max(round(x2), left + 1)] = True
    return mask
