"""Masks: PNG files whose values are objects or classes, as in PASCAL VOC."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxcam import paths
from onnxcam.errors import TruthError
from onnxcam.media import image as pictures
from onnxcam.media import image_headers
from onnxcam.metrics.truth.annotation import Annotation, LazyMask, Object
from onnxcam.metrics.truth.source import TruthPath, TruthSource

__all__ = ["MASK_VALUES", "VOID", "MaskFiles", "MaskTruth", "annotation_of", "read_mask"]

MASK_VALUES = ("object", "class", "class+1")
VOID = 255
"""Value of unlabelled pixels in a mask, as in PASCAL VOC."""

_ENDS = ("", "_mask", "_masks")


class MaskFiles(TruthSource):
    """A folder of files of the inputs' names, each a mask of numbers, or one such file for all inputs."""

    def __init__(self, place: TruthPath, values: str = "object") -> None:
        super().__init__(place)
        self._values, self.single = values, place.kind == "file"

    @abstractmethod
    def _places(self, picture: Path) -> Iterator[Path]:
        """Yield the files that may hold the mask of *picture*, the likeliest first."""

    @abstractmethod
    def _read(self, path: Path, size: tuple[int, ...]) -> NDArray[Any]:
        """Return the mask at *path*, of an input of *size*."""

    def annotation(self, picture: Path, size: tuple[int, ...]) -> Annotation | None:
        """Return the mask of *picture*, of *size*, and an object for each value in it."""
        path = self._mask(picture)
        return None if path is None else annotation_of(self._read(path, size), size, path, self._values)

    def has(self, picture: Path) -> bool:
        """Return whether there is a mask for *picture*."""
        return self._mask(picture) is not None

    def _mask(self, picture: Path) -> Path | None:
        if self.single:
            return self.path
        return next((path for path in self._places(picture) if paths.kind(path) == "file"), None)


class MaskTruth(MaskFiles):
    """A folder of masks of the images' names, or one mask."""

    format = "masks"
    title = "a folder of PNG masks"

    @classmethod
    def fits(cls, place: TruthPath) -> bool:
        """Return whether the place is a PNG, or a folder with PNG files."""
        return place.ending == ".png" or bool(place.files(".png"))

    def missing(self, picture: Path) -> str:
        """Return the names of the masks that the image may have."""
        return f"no mask for {picture.name}: '{self.path}' has neither " + " nor ".join(_names(picture))

    def _places(self, picture: Path) -> Iterator[Path]:
        return (self.path / name for name in _names(picture))

    def _read(self, path: Path, size: tuple[int, ...]) -> NDArray[Any]:
        return read_mask(path)


def _names(picture: Path) -> list[str]:
    return [f"{picture.stem}{end}.png" for end in _ENDS]


def annotation_of(mask: NDArray[Any], size: tuple[int, ...], path: Path, values: str) -> Annotation:
    """Return the truth in the *mask* of an image of *size*; *values* is the meaning of a value, see `Truth`."""
    if mask.shape != size:
        raise TruthError(f"{path}: {_sizes(mask.shape, size)}; scale it to the same size, without smoothing")
    known = np.setdiff1d(mask, [0] if values == "object" else [0, VOID])
    if not len(known):
        raise TruthError(f"{path}: the mask is empty: no pixel is an object; leave this image out")
    if values == "object":
        return Annotation((Object(None, mask=lambda: mask > 0),))
    shift = 1 if values == "class+1" else 0
    classes = np.where(mask == VOID, -1, mask.astype(np.int64) - shift)
    labels = (int(value) - shift for value in known)
    return Annotation(tuple(Object(label, mask=_pixels(classes, label)) for label in labels), mask=classes)


def _sizes(mask: tuple[int, ...], size: tuple[int, ...]) -> str:
    """Return the sizes of a mask and of its input in words: of images, width and height."""
    is_image = len(mask) == len(size) == 2 and size[0] > 1
    own, other = (" × ".join(map(str, one[::-1] if is_image else one)) for one in (mask, size))
    return f"the mask is {own} pixels, the image {other}" if is_image else f"the mask is {own}, the input {other}"


def _pixels(classes: NDArray[np.int64], label: int) -> LazyMask:
    return lambda: classes == label


def read_mask(path: Path) -> NDArray[np.uint8]:
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
