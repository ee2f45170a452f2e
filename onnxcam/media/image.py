"""Decode image files to uint8 RGB arrays and encode them; no other file does."""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from onnxcam import files as writing
from onnxcam import paths
from onnxcam.errors import ImageError, OutputError
from onnxcam.media import image_headers
from onnxcam.media.image_files import SUFFIXES, files
from onnxcam.media.video_frames import load_frame, split_name
from onnxcam.stderr import silence

__all__ = [
    "MAX_BYTES",
    "MAX_PIXELS",
    "QUALITY",
    "SUFFIXES",
    "RgbImage",
    "decode",
    "each",
    "encode",
    "files",
    "load",
    "read",
    "read_hashed",
    "write",
]

RgbImage: TypeAlias = NDArray[np.uint8]
"""An image in memory: uint8 [H, W, 3], RGB."""

MAX_PIXELS = 2**28
"""Images with more pixels are refused before decoding: a file of a few kilobytes can decode to gigabytes."""

MAX_BYTES = 2**31 - 1
"""Larger files, in bytes, are refused before reading."""

QUALITY = 90
"""Quality of the JPEG and WebP files that are written, where none is stated."""

_QUALITY = {".jpg": "IMWRITE_JPEG_QUALITY", ".jpeg": "IMWRITE_JPEG_QUALITY", ".webp": "IMWRITE_WEBP_QUALITY"}

_DEPTHS = (8, 10, 12, 14, 16)
"""Depths, in bits, of scanners and cameras that write 16-bit files."""

_ACCEPTED = "give a file name, or a uint8 array [H, W, 3] in RGB order or [H, W] in grey"

# OpenCV reads this once, when it is loaded. `image_headers.size` covers an OpenCV that was loaded before.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MAX_PIXELS))


def _ignore(warning: str) -> None:
    pass


def read(source: str | os.PathLike[str] | NDArray[Any], warn: Callable[[str], None] = _ignore) -> NDArray[np.uint8]:
    """Return the image in a file or array as uint8 RGB [H, W, 3].

    Files are rotated by their EXIF orientation, grey becomes three equal channels, transparency is blended with white,
    and 16-bit and floating values are scaled to 8 bits: 16-bit values by the depth that they use, 8, 10, 12, 14 or 16
    bits. *warn* takes a warning where that is less than 16. Arrays are RGB and are not copied.

    Raises ImageError for anything that is not an image, is damaged or has more than MAX_PIXELS pixels.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if not isinstance(source, str | os.PathLike):
        raise ImageError(f"an image cannot be a {type(source).__name__}; {_ACCEPTED}")
    path = Path(source)
    return decode(load(path), path, warn)


def each(source: Any) -> Iterator[NDArray[np.uint8]]:
    """Yield the images of *source*, as `read` does: a folder, a file, an array, a list of these, or None for none.

    The image files of a folder are read in the order of their names; ImageError if there are none.
    """
    import cv2

    if isinstance(source, list | tuple):
        for one in source:
            yield from each(one)
    elif isinstance(source, str | os.PathLike) and paths.kind(source) == "folder":
        inside = [path for path in sorted(paths.entries(source)) if paths.kind(path) == "file"]
        found = [path for path in inside if cv2.haveImageReader(path)]
        if not found:
            raise ImageError(f"{source}: the folder has no image that can be read; give one with .png or .jpg files")
        yield from map(read, found)
    elif source is not None:
        yield read(source)


def read_hashed(path: str | os.PathLike[str], warn: Callable[[str], None] = _ignore) -> tuple[NDArray[np.uint8], str]:
    """Return the image in a file, as `read` does, and the SHA-256 of the file's bytes."""
    data = load(path)
    return decode(data, path, warn), hashlib.sha256(data).hexdigest()


def write(path: str | os.PathLike[str], rgb: NDArray[np.uint8], quality: int = QUALITY) -> None:
    """Write *rgb*, uint8 [H, W, 3], in the format of the suffix (``.png``, ``.jpg``, …), completely or not at all.

    *quality* is that of JPEG and WebP, 1 to 100. Raises OutputError.
    """
    path = Path(path)
    writing.write(path, encode(rgb, path, quality), overwrite=True)


def encode(rgb: NDArray[np.uint8], path: Path, quality: int = QUALITY) -> bytes:
    """Return *rgb* as the bytes of the file *path*, as `write` does."""
    import cv2

    suffix = path.suffix.lower()
    settings = [getattr(cv2, _QUALITY[suffix]), quality] if suffix in _QUALITY else []
    try:
        done, data = cv2.imencode(suffix, cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2BGR), settings)
    except cv2.error:
        done = False
    if not done:
        raise OutputError(f"{path}: no image can be written as '{path.suffix}'; use .png or .jpg")
    return data.tobytes()


def _from_array(array: NDArray[Any]) -> NDArray[np.uint8]:
    if array.dtype != np.uint8 or array.size == 0:
        raise ImageError(f"the image is an array of {array.dtype} with shape {array.shape}; {_ACCEPTED}")
    if array.ndim == 2:
        return np.repeat(array[..., None], 3, axis=2)
    if array.ndim != 3 or array.shape[2] != 3:
        raise ImageError(f"the image is an array with shape {array.shape}; {_ACCEPTED}")
    return array


def load(path: str | os.PathLike[str]) -> bytes:
    """Return the bytes of an image file, or of a frame of a video such as ``clip.mp4#120``, for `decode`.

    ImageError if it cannot be read.
    """
    frame = split_name(path)
    if frame is not None:
        return load_frame(*frame)
    data = paths.read_bytes(path, ImageError, "image", MAX_BYTES)
    if not data:
        raise ImageError(f"{path}: the file is empty; copy the image again")
    return data


def decode(data: bytes, path: str | os.PathLike[str], warn: Callable[[str], None] = _ignore) -> NDArray[np.uint8]:
    """Return the image in the bytes *data*, as `read` does; messages name it *path*."""
    path = Path(path)
    _check_size(data, path)
    try:
        with silence():
            return _decode(data, path, warn)
    except MemoryError:
        raise ImageError(f"{path}: not enough memory to unpack the image; scale it down first") from None


def _decode(data: bytes, path: Path, warn: Callable[[str], None]) -> NDArray[np.uint8]:
    import cv2

    upright = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH  # OpenCV obeys EXIF but drops transparency
    picture = None if image_headers.is_jpeg(data) else _imdecode(data, cv2.IMREAD_UNCHANGED, path)
    if picture is None or picture.ndim != 3 or picture.shape[2] != 4:
        return _to_rgb(_to_uint8(_imdecode(data, upright, path), warn))
    return _turn(_over_white(_to_uint8(picture, warn, colours=3)), _orientation(data))


def _imdecode(data: bytes, flags: int, path: Path) -> NDArray[Any]:
    import cv2

    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        if "MAX_IMAGE" in str(error):
            raise ImageError(_too_large(path)) from error
        picture = None
    if picture is None and path.suffix == ".npy":
        raise ImageError(
            f"{path}: is an array, where only picture files are read; pass it in Python as uint8 [H, W, 3]"
        )
    if picture is None:
        raise ImageError(f"{path}: is not an image that OpenCV reads, or is damaged; save it as PNG or JPEG again")
    return np.asarray(picture)


def _check_size(data: bytes, path: Path) -> None:
    size = image_headers.size(data)
    if size is not None and size[0] * size[1] > MAX_PIXELS:
        raise ImageError(_too_large(path, f" of {size[0]} x {size[1]} pixels"))
    if image_headers.is_png(data) and b"IEND" not in data[-64:]:
        raise ImageError(f"{path}: the PNG file is cut off; copy the image again")


def _too_large(path: Path, size: str = "") -> str:
    return f"{path}: an image{size} is above the limit of {MAX_PIXELS} pixels (2^28); scale it down first"


def _to_uint8(picture: NDArray[Any], warn: Callable[[str], None], colours: int | None = None) -> NDArray[np.uint8]:
    """Scale 16-bit images by the depth that their *colours* use; floats by 1, or by their own maximum if larger."""
    if picture.dtype == np.uint8:
        return picture
    if picture.dtype == np.uint16:
        return _from_16_bits(picture, warn, colours)
    values = np.nan_to_num(picture.astype(np.float64), posinf=0, neginf=0)
    top = max(1.0, float(values.max()))
    if top > 1:
        warn(f"an image of {picture.dtype} values reaches {top:g}: 0 to {top:g} was scaled to 0 to 255")
    return np.rint(np.clip(values / top, 0, 1) * 255).astype(np.uint8)


def _from_16_bits(picture: NDArray[Any], warn: Callable[[str], None], colours: int | None) -> NDArray[np.uint8]:
    """Scale by the depth in use; transparency, behind the first *colours* channels, by 16 bits."""
    largest = int(picture[..., :colours].max() if picture.ndim == 3 else picture.max())
    depth = next(bits for bits in _DEPTHS if largest < 2**bits) if largest else 16
    if depth < 16:
        warn(
            f"a 16-bit image uses {depth} bits: 0 to {2**depth - 1} was scaled to 0 to 255, not 0 to 65535; if it is "
            "just dark, convert it to 8 bits"
        )
    scaled = _scaled(picture, depth)
    if colours is not None and picture.ndim == 3:
        scaled[..., colours:] = _scaled(picture[..., colours:], 16)
    return scaled


def _scaled(values: NDArray[Any], depth: int) -> NDArray[np.uint8]:
    """Scale values of *depth* bits to 8, rounded."""
    top = 2**depth - 1
    return ((values.astype(np.uint32) * 255 + top // 2) // top).astype(np.uint8)


def _to_rgb(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    import cv2

    if picture.ndim == 2 or picture.shape[2] == 1:
        return np.repeat(picture.reshape(*picture.shape[:2], 1), 3, axis=2)
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)


def _over_white(bgra: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lay an image with straight (not premultiplied) alpha over white; [H, W, 4] BGRA → [H, W, 3] RGB."""
    alpha = bgra[..., 3:].astype(np.uint16)
    blend = bgra[..., 2::-1] * alpha + 255 * (255 - alpha)
    return ((blend.astype(np.uint32) + 127) // 255).astype(np.uint8)


def _orientation(data: bytes) -> int:
    """Return the EXIF orientation, 1 to 8, of an image whose transparency kept OpenCV from turning it."""
    import cv2

    if not hasattr(cv2, "imdecodeWithMetadata"):  # new in OpenCV 4.12
        return 1
    _, kinds, blocks = cv2.imdecodeWithMetadata(np.frombuffer(data, np.uint8), flags=cv2.IMREAD_UNCHANGED)
    found = [block for kind, block in zip(kinds, blocks, strict=True) if kind == cv2.IMAGE_METADATA_EXIF]
    return _exif_orientation(np.asarray(found[0]).tobytes()) if found else 1


def _exif_orientation(tiff: bytes) -> int:
    """Return tag 0x0112 of the first directory of an EXIF block, which is a small TIFF file; 1 if missing."""
    order = "<" if tiff[:2] == b"II" else ">"
    try:
        (start,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, _, _, value = struct.unpack_from(order + "HHIH", tiff, entry)
            if tag == 0x0112 and 1 <= value <= 8:
                return int(value)
    except struct.error:  # a damaged block gives no orientation
        pass
    return 1


def _turn(picture: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Undo an EXIF orientation: 5 to 8 are transposed, others mirrored vertically, horizontally or both."""
    if orientation >= 5:
        picture = picture.transpose(1, 0, 2)
    vertical, horizontal = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    return np.ascontiguousarray(picture[:: -1 if vertical else 1, :: -1 if horizontal else 1])
