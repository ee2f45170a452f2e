"""Read the headers of image files: size and chunks, before anything is decoded."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from contextlib import suppress

__all__ = ["WidthHeight", "is_jpeg", "is_png", "png_chunks", "size"]

WidthHeight = tuple[int, int]


def size(data: bytes) -> WidthHeight | None:
    """Return (width, height) from the header; None for an unknown format."""
    for magic, read in _READERS.items():
        if data.startswith(magic):
            with suppress(struct.error, IndexError):
                return read(data)
            return None
    return None


def is_png(data: bytes) -> bool:
    """Return whether *data* starts as a PNG file."""
    return data.startswith(_PNG)


def is_jpeg(data: bytes) -> bool:
    """Return whether *data* starts as a JPEG file."""
    return data.startswith(_JPEG)


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the kind and the body of each chunk of a PNG file."""
    at = len(_PNG)
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4])
        yield data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        at += 12 + length


def _png(data: bytes) -> WidthHeight | None:
    width, height = struct.unpack_from(">II", data, 16)
    return width, height


def _jpeg(data: bytes) -> WidthHeight | None:
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4])
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # a start of frame
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        at += 1 if marker == 0xFF else 2 + length  # any number of 0xFF may precede a marker
    return None


def _gif(data: bytes) -> WidthHeight | None:
    width, height = struct.unpack_from("<HH", data, 6)
    return width, height


def _bmp(data: bytes) -> WidthHeight | None:
    if struct.unpack_from("<I", data, 14)[0] == 12:  # OS/2's
        width, height = struct.unpack_from("<HH", data, 18)
    else:
        width, height = struct.unpack_from("<ii", data, 18)
    return abs(width), abs(height)  # rows from the top have a negative height


def _webp(data: bytes) -> WidthHeight | None:
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF


def _tiff(data: bytes) -> WidthHeight | None:
    """Read tags 256 and 257 of the first directory; None for BigTIFF, which OpenCV checks."""
    order = "<" if data[:2] == b"II" else ">"
    magic, start = struct.unpack_from(order + "HI", data, 2)
    if magic != 42:
        return None
    found: dict[int, int] = {}
    for entry in range(start + 2, start + 2 + 12 * struct.unpack_from(order + "H", data, start)[0], 12):
        tag, kind, _ = struct.unpack_from(order + "HHI", data, entry)
        found[tag] = struct.unpack_from(order + ("H" if kind == 3 else "I"), data, entry + 8)[0]
    return (found[256], found[257]) if 256 in found and 257 in found else None


def _pnm(data: bytes) -> WidthHeight | None:
    found = re.match(rb"P[1-6](?:\s|#[^\n]*\n)+(\d{1,19})(?:\s|#[^\n]*\n)+(\d{1,19})", data[:4096])
    return (int(found[1]), int(found[2])) if found else None


_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
_READERS = {_PNG: _png, _JPEG: _jpeg, b"GIF8": _gif, b"BM": _bmp, b"RIFF": _webp, b"P": _pnm}
_READERS |= dict.fromkeys((b"II", b"MM"), _tiff)
