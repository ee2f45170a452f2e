"""Images and volumes that are none: damaged, huge by their headers, of another kind than their names say."""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from collections.abc import Callable
from random import Random

import numpy as np

from tests.fuzz import commands, values, wire
from tests.fuzz.place import ROOT, Place, encoded, pixels

RASTERS = (".png", ".jpg", ".bmp", ".webp", ".tiff", ".ppm", ".pgm")
NAMES = (
    *RASTERS,
    ".png",
    ".jpg",
    ".gif",
    ".npy",
    ".npz",
    ".nii",
    ".nii.gz",
    ".txt",
    ".exr",
    ".hdr",
    "",
    ".PNG",
    ".svg",
)


def case(rng: Random, place: Place) -> list[str]:
    """Lay out one case and return the words of its command."""
    data, suffix = _file(rng)
    if rng.random() < 0.15:
        suffix = rng.choice(NAMES)
    bad = place.put(f"bad{suffix}", data)
    model = place.model()
    if suffix.startswith((".n",)) and rng.random() < 0.7:
        model = place.put("volumes.onnx", (ROOT / "models" / "volumes.onnx").read_bytes())
    if rng.random() < 0.1:
        return _in_list(rng, place, model, bad)
    good = [place.picture()] if rng.random() < 0.3 else []
    if rng.random() < 0.1:
        return ["explain", model, place.picture(), "-p", "unit", "-t", f"mask={bad}", "-o", "out"]
    return commands.on_picture(rng, model, *rng.sample([bad, *good], len(good) + 1))


def _in_list(rng: Random, place: Place, model: str, bad: str) -> list[str]:
    """Name the image in a list, among other lines."""
    lines = [bad, "list.txt", "@list.txt", "missing.png", "*.png", "**", values.text(rng).replace("\n", ""), "."]
    text = "\n".join(rng.sample(lines, rng.randrange(1, 4)))
    data = wire.mutated(rng, text.encode()) if rng.random() < 0.3 else text.encode()
    name = place.put("list.txt", data)
    return commands.on_picture(rng, model, rng.choice((name, f"@{name}")))


def _file(rng: Random) -> tuple[bytes, str]:
    """Return a file and the suffix that it ought to have."""
    if rng.random() < 0.3:
        return rng.choice(_SPECIAL)(rng)
    data, suffix = rng.choice(_SEEDS)(rng)
    return wire.mutated(rng, data), suffix


def _raster(rng: Random) -> tuple[bytes, str]:
    suffix = rng.choice(RASTERS)
    picture = pixels()
    if suffix == ".pgm":
        picture = picture[..., 0]
    elif suffix in (".png", ".tiff") and rng.random() < 0.4:
        picture = rng.choice((picture.astype(np.uint16) * 257, np.dstack([picture, picture[..., :1]]), picture[..., 0]))
    return encoded(suffix, picture), suffix


def _gif(_: Random) -> tuple[bytes, str]:
    head = b"GIF89a" + struct.pack("<HH", 4, 4) + b"\xf0\x00\x00" + bytes(range(6)) + b","
    return head + struct.pack("<HHHH", 0, 0, 4, 4) + b"\x00\x02\x05\x84\x8f\xa9\xcb\x05\x00;", ".gif"


def _npy(rng: Random) -> tuple[bytes, str]:
    buffer = io.BytesIO()
    volume = np.random.default_rng(0).random((8, 8, 8)).astype(rng.choice((np.float32, np.int16, np.uint8)))
    if rng.random() < 0.3:
        np.savez(buffer, volume)
        return buffer.getvalue(), ".npz"
    np.save(buffer, volume)
    return buffer.getvalue(), ".npy"


def _nifti(rng: Random) -> tuple[bytes, str]:
    head = bytearray(352)
    head[0:4], head[344:348] = struct.pack("<i", 348), b"n+1\0"
    head[40:56] = struct.pack("<8h", 3, 8, 8, 8, 1, 1, 1, 1)
    head[70:74], head[76:108], head[108:112] = (
        struct.pack("<2h", 16, 32),
        struct.pack("<8f", *[1.0] * 8),
        struct.pack("<f", 352),
    )
    data = bytes(head) + np.random.default_rng(0).random(512).astype(np.float32).tobytes()
    return (gzip.compress(data, mtime=0), ".nii.gz") if rng.random() < 0.3 else (data, ".nii")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png_of_size(rng: Random) -> tuple[bytes, str]:
    """A PNG, its checksums right, whose header states any size, depth and kind of colour."""
    sizes = (0, 1, 20, 16000, 16384, 16385, 2**20, 2**31 - 1, 2**32 - 1)
    head = struct.pack(
        ">IIBBBBB", rng.choice(sizes), rng.choice(sizes), rng.choice((1, 8, 16, 3)), rng.randrange(8), 0, 0, 0
    )
    body = zlib.compress(bytes(rng.choice((0, 100, 10**6))))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", body) + _chunk(b"IEND", b""), ".png"


def _png_with_text(rng: Random) -> tuple[bytes, str]:
    """A whole PNG with one more chunk, which may be none."""
    data = encoded(".png")
    kinds = (b"tEXt", b"zTXt", b"iCCP", b"eXIf", b"PLTE", b"tRNS", b"acTL", b"IDAT", b"IEND")
    kind = rng.choice(kinds)
    return data[:33] + _chunk(kind, rng.randbytes(rng.randrange(60))) + data[33:], ".png"


def _bmp_of_size(rng: Random) -> tuple[bytes, str]:
    """A BMP whose header states any size."""
    data = bytearray(encoded(".bmp"))
    sizes = (0, -1, 1, 2**15, 2**20, 2**31 - 1, -(2**31))
    data[18:26] = struct.pack("<ii", rng.choice(sizes), rng.choice(sizes))
    return bytes(data), ".bmp"


def _ppm_of_size(rng: Random) -> tuple[bytes, str]:
    """A PPM whose header states any numbers."""
    numbers = [str(values.integer(rng)) for _ in range(3)]
    return f"P{rng.randrange(1, 8)}\n{' '.join(numbers)}\n".encode() + bytes(100), rng.choice((".ppm", ".pgm"))


def _npy_of_shape(rng: Random) -> tuple[bytes, str]:
    """An NPY whose header states any shape and type, objects among them."""
    shape = tuple(values.integer(rng) for _ in range(rng.randrange(5)))
    kind = rng.choice(("<f4", "|O", "<f8", "|u1", "<U9", "[('a', '<f4')]", "<c8", "<M8", "nonsense"))
    head = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head) + 1) + head.encode() + b"\n" + bytes(64), ".npy"


def _odd_array(rng: Random) -> tuple[bytes, str]:
    """A whole NPY of numbers that are none, or of another rank."""
    buffer = io.BytesIO()
    arrays = (
        np.full((8, 8, 8), np.nan),
        np.full((4, 4, 4), np.inf),
        np.zeros((0, 8, 8)),
        np.zeros((8, 8)),
        np.array(1.0),
    )
    np.save(buffer, rng.choice(arrays).astype(np.float32))
    return buffer.getvalue(), ".npy"


def _other(rng: Random) -> tuple[bytes, str]:
    """What is no image at all."""
    small = (b"", b"\x00", b"hello\n", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"P6", b"BM", b"<svg/>", b"II*\x00")
    return rng.choice((*small, rng.randbytes(rng.randrange(1, 500)))), rng.choice(NAMES)


_SEEDS: tuple[Callable[[Random], tuple[bytes, str]], ...] = (_raster, _raster, _raster, _gif, _npy, _nifti)
_SPECIAL: tuple[Callable[[Random], tuple[bytes, str]], ...] = (
    _png_of_size,
    _png_with_text,
    _bmp_of_size,
    _ppm_of_size,
    _npy_of_shape,
    _odd_array,
    _other,
)
