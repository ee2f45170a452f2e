"""Picture file ↔ uint8 RGB array: the only place that decodes and encodes pictures."""

from __future__ import annotations

import glob
import hashlib
import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxcam import files as writing
from onnxcam.errors import ImageError, OutputError

MAX_PIXELS = 2**28
"""Larger pictures are refused before they are unpacked: a file of a few kilobytes can ask for gigabytes."""

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
"""What names of pictures end with, in any case; of a folder only these are taken."""

_ACCEPTED = "give a file name, or a uint8 array [H, W, 3] in RGB order or [H, W] in grey"

# OpenCV reads this once, when it is loaded. `_declared_size` covers the case that somebody loaded it before.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MAX_PIXELS))


def read(source: str | os.PathLike[str] | NDArray[Any]) -> NDArray[np.uint8]:
    """Return the picture as uint8 RGB [H, W, 3].

    Files are turned upright by their EXIF orientation, grey becomes three equal channels, transparency is
    laid over white, 16-bit and floating pictures are scaled to 8 bits. Arrays are taken as RGB and not
    copied.

    Raises ImageError for what is no picture, is damaged or has more than MAX_PIXELS pixels.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if not isinstance(source, str | os.PathLike):
        raise ImageError(f"a picture cannot be a {type(source).__name__}; {_ACCEPTED}")
    path = Path(source)
    return _decode(_read_bytes(path), path)


def each(source: Any) -> Iterator[NDArray[np.uint8]]:
    """Yield the pictures of *source*, as `read` does: a folder, a file, an array, a list of these, or None for none.

    Of a folder the files that look like pictures are read, in order of their names; ImageError where none does.
    """
    import cv2

    if isinstance(source, list | tuple):
        for one in source:
            yield from each(one)
    elif isinstance(source, str | os.PathLike) and Path(source).is_dir():
        files = [file for file in sorted(Path(source).iterdir()) if file.is_file() and cv2.haveImageReader(str(file))]
        if not files:
            raise ImageError(f"{source}: the folder has no picture that can be read; give one with .png or .jpg files")
        yield from map(read, files)
    elif source is not None:
        yield read(source)


def read_hashed(path: str | os.PathLike[str]) -> tuple[NDArray[np.uint8], str]:
    """Return the picture in a file, as `read` does, and the SHA-256 of the file's bytes."""
    data = _read_bytes(Path(path))
    return _decode(data, Path(path)), hashlib.sha256(data).hexdigest()


def files(sources: Iterable[str | os.PathLike[str]]) -> list[str]:
    """Return the picture files that *sources* name, in their order, each as often as it is named.

    A source is a file; a folder, of which and of whose subfolders all with the name of a picture (`SUFFIXES`) are
    taken, sorted; a pattern such as ``"photos/**/*.jpg"``; or a list, a text file with a source a line, as
    ``"list.txt"`` or ``"@list"``, whose names may also be relative to where it lies. Files are not opened: whether they
    are pictures tells `read`. ImageError where a source is not there, or all together hold none.

    Example:
        >>> files(["photos", "more/*.png", "@list"])
    """
    found = [name for source in sources for name in _named(os.fspath(source))]
    if not found:
        raise ImageError("no picture is named; give files, a folder, a pattern or a list that names some")
    return found


def _named(source: str, beside: Path | None = None) -> list[str]:
    if source.startswith("@") and not os.path.exists(source):
        return _listed(Path(source[1:]))
    path = Path(source)
    if beside is not None and not path.exists():
        path = beside / path
    if path.is_dir():
        found = sorted(str(p) for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        if not found:
            raise ImageError(f"{source}: the folder has no picture; there is no file in it that ends with .png or .jpg")
        return found
    if path.is_file():
        return _listed(path) if path.suffix.lower() == ".txt" else [str(path)]
    found = sorted(p for p in glob.glob(str(path), recursive=True) if os.path.isfile(p))
    if not found and beside is None:
        what = "no file is called like this" if glob.has_magic(source) else "no such file or folder"
        raise ImageError(f"{source}: {what}; check the name")
    return found or [source]  # of a list of thousands one name may be wrong: `read` says it


def _listed(path: Path) -> list[str]:
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise ImageError(f"{path}: cannot be read as a list of pictures ({error}); it has a file name a line") from None
    return [found for line in lines if line.strip() for found in _named(line.strip(), path.parent)]


def write(path: str | os.PathLike[str], rgb: NDArray[np.uint8]) -> None:
    """Write *rgb*, uint8 [H, W, 3], as the kind of file that the suffix names (``.png``, ``.jpg``, …).

    The file appears complete or not at all. Raises OutputError.
    """
    import cv2

    path = Path(path)
    try:
        done, data = cv2.imencode(path.suffix, np.ascontiguousarray(rgb[..., ::-1]))
    except cv2.error:
        done = False
    if not done:
        raise OutputError(f"{path}: no picture can be written as '{path.suffix}'; use .png or .jpg")
    writing.write(path, data.tobytes(), overwrite=True)


def _from_array(array: NDArray[Any]) -> NDArray[np.uint8]:
    if array.dtype != np.uint8 or array.size == 0:
        raise ImageError(f"the picture is an array of {array.dtype} with shape {array.shape}; {_ACCEPTED}")
    if array.ndim == 2:
        return np.repeat(array[..., None], 3, axis=2)
    if array.ndim != 3 or array.shape[2] != 3:
        raise ImageError(f"the picture is an array with shape {array.shape}; {_ACCEPTED}")
    return array


def _read_bytes(path: Path) -> bytes:
    if os.path.isdir(path):  # unlike Path.is_dir no error where the name is too long
        raise ImageError(f"{path}: is a folder, not a picture; name the pictures in it")
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file; check the name") from None
    except (OSError, ValueError) as error:
        raise ImageError(f"{path}: cannot be read ({error}); check the file's permissions") from error
    if not data:
        raise ImageError(f"{path}: the file is empty; copy the picture again")
    return data


def _decode(data: bytes, path: Path) -> NDArray[np.uint8]:
    _check_size(data, path)
    import cv2

    upright = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH  # OpenCV obeys EXIF but drops transparency
    picture = None if _is_jpeg(data) else _imdecode(data, cv2.IMREAD_UNCHANGED, path)
    if picture is None or picture.ndim != 3 or picture.shape[2] != 4:
        return _to_rgb(_to_uint8(_imdecode(data, upright, path)))
    return _turn(_over_white(_to_uint8(picture)), _orientation(data))


def _imdecode(data: bytes, flags: int, path: Path) -> NDArray[Any]:
    import cv2

    logging = cv2.utils.logging
    level = logging.getLogLevel()
    logging.setLogLevel(logging.LOG_LEVEL_SILENT)  # the error below says it; OpenCV would say it on stderr
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        if "MAX_IMAGE" in str(error):
            raise ImageError(_too_large(path)) from error
        picture = None
    except MemoryError as error:
        raise ImageError(f"{path}: not enough memory to unpack the picture; scale it down first") from error
    finally:
        logging.setLogLevel(level)
    if picture is None:
        raise ImageError(f"{path}: is not a picture that OpenCV reads, or is damaged; save it as PNG or JPEG again")
    return np.asarray(picture)


def _check_size(data: bytes, path: Path) -> None:
    size = _declared_size(data)
    if size is not None and size[0] * size[1] > MAX_PIXELS:
        raise ImageError(_too_large(path, f" of {size[0]} x {size[1]} pixels"))
    # libpng reports a cut file on stderr and nothing silences it, so it must not get the file.
    if _is_png(data) and b"IEND" not in data[-64:]:
        raise ImageError(f"{path}: the PNG file is cut off; copy the picture again")


def _too_large(path: Path, size: str = "") -> str:
    return f"{path}: a picture{size} is above the limit of {MAX_PIXELS} pixels (2^28); scale it down first"


def _is_png(data: bytes) -> bool:
    return data.startswith(b"\x89PNG\r\n\x1a\n")


def _is_jpeg(data: bytes) -> bool:
    return data.startswith(b"\xff\xd8")


def _declared_size(data: bytes) -> tuple[int, int] | None:
    """Return (width, height) as the header of a PNG or JPEG file states it, None for other files."""
    if _is_png(data) and len(data) >= 24:
        width, height = struct.unpack(">II", data[16:24])
        return width, height
    at = 2
    while _is_jpeg(data) and at + 9 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4])
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # a start of frame
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return width, height
        at += 1 if marker == 0xFF else 2 + length  # any number of 0xFF may stand before a marker
    return None


def _to_uint8(picture: NDArray[Any]) -> NDArray[np.uint8]:
    """Scale 16-bit pictures by their full range; floats reach up to 1, or to their own maximum if larger."""
    if picture.dtype == np.uint8:
        return picture
    if picture.dtype == np.uint16:
        return ((picture.astype(np.uint32) + 128) // 257).astype(np.uint8)
    values = np.nan_to_num(picture.astype(np.float64), posinf=0, neginf=0)
    top = max(1.0, float(values.max()))
    return np.rint(np.clip(values / top, 0, 1) * 255).astype(np.uint8)


def _to_rgb(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if picture.ndim == 2 or picture.shape[2] == 1:
        return np.repeat(picture.reshape(*picture.shape[:2], 1), 3, axis=2)
    return np.ascontiguousarray(picture[..., ::-1])


def _over_white(bgra: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lay a picture with straight (not premultiplied) alpha over white; [H, W, 4] BGRA → [H, W, 3] RGB."""
    alpha = bgra[..., 3:].astype(np.uint16)
    blend = bgra[..., 2::-1] * alpha + 255 * (255 - alpha)
    return ((blend.astype(np.uint32) + 127) // 255).astype(np.uint8)


def _orientation(data: bytes) -> int:
    """Return the EXIF orientation, 1 to 8, of a picture whose transparency kept OpenCV from turning it."""
    import cv2

    if not hasattr(cv2, "imdecodeWithMetadata"):  # new in OpenCV 4.12
        return 1
    _, kinds, blocks = cv2.imdecodeWithMetadata(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    found = [block for kind, block in zip(kinds, blocks, strict=True) if kind == cv2.IMAGE_METADATA_EXIF]
    return _exif_orientation(np.asarray(found[0]).tobytes()) if found else 1


def _exif_orientation(tiff: bytes) -> int:
    """Find tag 0x0112 in the first directory of an EXIF block, which is a small TIFF file."""
    order = "<" if tiff[:2] == b"II" else ">"
    try:
        (start,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, _, _, value = struct.unpack_from(order + "HHIH", tiff, entry)
            if tag == 0x0112 and 1 <= value <= 8:
                return int(value)
    except struct.error:  # a damaged block says nothing about the picture
        pass
    return 1


def _turn(picture: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Undo an EXIF orientation: 5 to 8 are transposed, and each pair or quartet is mirrored its own way."""
    if orientation >= 5:
        picture = picture.transpose(1, 0, 2)
    vertical, horizontal = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    return np.ascontiguousarray(picture[:: -1 if vertical else 1, :: -1 if horizontal else 1])
