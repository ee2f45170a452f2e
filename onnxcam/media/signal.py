"""`Signal`: what a network of signals takes, from .wav, .csv, .npy and .npz files, or arrays."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from onnxcam import paths
from onnxcam.errors import ImageError
from onnxcam.media import image_files, numpy_files, table_files, wav
from onnxcam.text import in_message

__all__ = ["SUFFIXES", "Signal", "SignalSource", "read"]

SUFFIXES = image_files.OF_NUMBERS
"""Suffixes of the files of signals."""
_ACCEPTED = "give a .wav, .csv or .npy file, or an array of numbers"
_LARGEST = 1e30


@dataclass(frozen=True)
class Signal:
    """Numbers along time, or along time and frequency.

    Attributes:
        values: As in the file; `fitted` to a model, float32 [C, T] or, of a spectrogram, [C, H, W].
        rate: Samples in a second; None where it is not known.
        channels: The names of the columns of a table; empty where there are none.
        start: The place of the first sample in the file.
        notes: What was read otherwise than a user may think.
        kind: ``"sound"``, ``"table"`` or ``"array"``.
        name: For messages: the file.
        time: Which axis of space is time.
    """

    values: NDArray[Any]
    rate: float | None = None
    channels: tuple[str, ...] = ()
    start: int = 0
    notes: tuple[str, ...] = ()
    kind: str = "array"
    name: str = "the array"
    time: int = 0

    def noted(self, note: str, **changes: Any) -> Signal:
        """Return the signal with one more *note*, and *changes*."""
        return replace(self, notes=(*self.notes, note), **changes)

    @property
    def times(self) -> NDArray[np.float64]:
        """The time of each sample, in seconds where the rate is known, else in samples: [T]."""
        places = self.start + np.arange(self.values.shape[1 + self.time], dtype=np.float64)
        return places / self.rate if self.rate else places

    @property
    def unit(self) -> str:
        """The unit of `times`."""
        return "seconds" if self.rate else "samples"


SignalSource: TypeAlias = "str | os.PathLike[str] | NDArray[Any] | Signal"


def read(source: Any) -> Signal:
    """Return the signal in a file or an array; ImageError for anything else, and for numbers that are not finite."""
    if isinstance(source, Signal):
        return source
    if isinstance(source, np.ndarray):
        return _checked(Signal(source))
    if not isinstance(source, str | os.PathLike):
        raise ImageError(f"a signal cannot be a {type(source).__name__}; {_ACCEPTED}")
    path = Path(source)
    suffix, name = path.suffix.lower(), in_message(path)
    paths.check_file(path, ImageError, "signal")
    if suffix == ".wav":
        values, rate = wav.read(path)
        return _checked(Signal(values, rate, kind="sound", name=name))
    if suffix in table_files.SUFFIXES:
        table = table_files.read(path)
        return Signal(table.values, table.rate, table.names, notes=table.notes, kind="table", name=name)
    if suffix in numpy_files.SUFFIXES:
        return _checked(Signal(numpy_files.read(path, ImageError), name=name))
    what = "an image" if suffix in image_files.SUFFIXES else f"a file of the kind {suffix!r}"
    raise ImageError(f"{name}: is {what}, and the model takes signals; {_ACCEPTED}")


def _checked(signal: Signal) -> Signal:
    values = signal.values
    if values.dtype.kind not in "biuf" or values.size == 0:
        raise ImageError(f"{signal.name}: is {values.dtype} of shape {list(values.shape)}, no signal; {_ACCEPTED}")
    if values.dtype.kind == "f" and not (np.abs(values) <= _LARGEST).all():
        place = [int(axis) for axis in np.argwhere(~(np.abs(values) <= _LARGEST))[0]]
        raise ImageError(
            f"{signal.name}: holds NaN, infinity or numbers above {_LARGEST:g}, the first at {place}; mend the signal "
            "first"
        )
    return signal
