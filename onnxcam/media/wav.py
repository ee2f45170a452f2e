"""Read .wav files: PCM of 8, 16, 24 and 32 bits, and floating samples of 32 and 64 bits."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnxcam import paths
from onnxcam.errors import ImageError
from onnxcam.text import in_message

__all__ = ["read"]

_MAX_BYTES = 2**31 - 1
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_COMPRESSED = {2: "Microsoft ADPCM", 6: "A-law", 7: "mu-law", 17: "IMA ADPCM", 49: "GSM", 85: "MP3"}
_OPEN = (0, 0xFFFFFFFF)
"""The length that a program writes which does not know it yet; the samples then end with the file."""


@dataclass(frozen=True)
class _WavFormat:
    kind: int
    channels: int
    rate: int
    bits: int


def read(path: Path) -> tuple[NDArray[np.float32], float]:
    """Return the samples of a .wav file, float32 [C, T], PCM scaled to -1 to 1, and their rate in Hz.

    ImageError for a file that is cut off, holds compressed sound or is no .wav file.
    """
    data, name = paths.read_bytes(path, ImageError, "sound", _MAX_BYTES), in_message(path)
    if len(data) < 12 or data[:4] not in (b"RIFF", b"RF64") or data[8:12] != b"WAVE":
        what = "is empty" if not data else "is no .wav file"
        raise ImageError(f"{name}: {what}; save the sound as PCM .wav again")
    stated: _WavFormat | None = None
    at = 12
    while at + 8 <= len(data):
        kind, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        body = data[at + 8 : at + 8 + length]
        if kind == b"fmt ":
            stated = _format(body, name)
        elif kind == b"data":
            if stated is None:
                break
            body = data[at + 8 :] if length in _OPEN else body
            if length not in _OPEN and len(body) < length:
                raise ImageError(
                    f"{name}: the sound is cut off, {len(body):,} of {length:,} bytes are there; copy the file again"
                )
            return _samples(body, stated, name), float(stated.rate)
        at += 8 + length + length % 2
    raise ImageError(f"{name}: no sound is in it (no fmt or data chunk), or it is cut off; copy the file again")


def _format(body: bytes, name: str) -> _WavFormat:
    if len(body) < 16:
        raise ImageError(f"{name}: its format is cut off; copy the file again")
    kind, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", body)
    if kind == _EXTENSIBLE and len(body) >= 26:
        (kind,) = struct.unpack_from("<H", body, 24)
    known = {_PCM: (8, 16, 24, 32), _FLOAT: (32, 64)}.get(kind, ())
    if bits in known and (channels == 0 or rate == 0):
        what = "0 samples in a second" if channels else "0 channels"
        raise ImageError(f"{name}: its header says {what}; export the sound again, or write its samples as .csv")
    if bits not in known:
        what = _COMPRESSED.get(kind, f"of format {kind}, {bits} bits, {channels} channels")
        raise ImageError(f"{name}: holds sound that is {what}; save it as PCM .wav of 16 bits")
    return _WavFormat(kind, channels, rate, bits)


def _samples(body: bytes, form: _WavFormat, name: str) -> NDArray[np.float32]:
    size = form.bits // 8
    count = len(body) // (size * form.channels)
    if count == 0:
        raise ImageError(f"{name}: has no samples; record the sound again")
    body = body[: count * size * form.channels]
    flat: NDArray[np.float32]
    if form.kind == _FLOAT:
        flat = np.frombuffer(body, f"<f{size}").astype(np.float32)
    elif size == 1:  # unsigned
        flat = (np.frombuffer(body, np.uint8).astype(np.float32) - np.float32(128)) / np.float32(128)
    elif size == 3:
        wide = np.zeros((count * form.channels, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(body, np.uint8).reshape(-1, 3)
        flat = wide.view("<i4")[:, 0].astype(np.float32) / np.float32(2**31)
    else:
        flat = np.frombuffer(body, f"<i{size}").astype(np.float32) / np.float32(2 ** (form.bits - 1))
    return np.ascontiguousarray(flat.reshape(count, form.channels).T)
