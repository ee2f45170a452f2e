"""Modalities of signals: networks of signals, and networks of images that also take grids of numbers."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxcam.errors import ImageError, PreprocessError, nearest
from onnxcam.media import signal
from onnxcam.media.frame import Frame
from onnxcam.media.resample import placed, resized
from onnxcam.media.signal import Signal
from onnxcam.metadata.reading import SOURCES, Part
from onnxcam.model.modality import Array, ImageModality
from onnxcam.model.signals import SignalInput
from onnxcam.structure.place import Place
from onnxcam.text import in_message

__all__ = ["SCALINGS", "ImageOrSignalModality", "SignalModality"]

SCALINGS = ("raw", "zscore", "minmax", "peak")
"""How the numbers of a signal are scaled: not at all; each channel minus its mean, divided by its standard deviation;
its minimum and maximum to 0 and 1; or divided by its largest magnitude."""


@dataclass
class SignalModality:
    """Signals, float32 [C, T], or grids of features, [C, H, W].

    Attributes:
        input: What the model takes.
        dtype: The dtype of its tensor.
        units: Scale and zero point of an integer tensor; None where the graph does not give them.
        spec: How numbers are scaled: one of `SCALINGS`, or a function from the numbers to the tensor; None guesses.
        source: How *spec* is known, a key of `onnxcam.metadata.reading.SOURCES`.
        warn: Takes the warning about a guess.
    """

    input: SignalInput
    dtype: np.dtype[Any]
    units: tuple[float, int] | None
    spec: object
    warn: Callable[[str], None]
    source: str = "guess"
    _said: bool = field(default=False, init=False)

    @property
    def reading(self) -> Part:
        """The scaling."""
        why = "the numbers as they are, of a .wav file from -1 to 1" if self.spec is None else ""
        return Part("preprocessing", str(self.spec or SCALINGS[0]), self.source, why)

    @property
    def rate(self) -> Part | None:
        """The model's samples in a second, and how they are known."""
        return self.input.rate

    @property
    def guess(self) -> str:
        """That the scaling is a guess; empty where it is none."""
        if self.spec is not None:
            return ""
        return f"the preprocessing is a guess ({SCALINGS[0]}): state it (--preprocess)"

    def decodes(self, path: str) -> bool:
        """No file is an image."""
        return False

    def read(self, source: Any) -> Signal:
        """Return the signal as the model takes it; ImageError where it does not fit."""
        if isinstance(source, np.ndarray) and source.dtype == np.uint8 and source.ndim == 3 and source.shape[-1] == 3:
            raise ImageError(
                f"an image was given, and the model takes {self.input.takes}; give a .wav, .csv or .npy file"
            )
        return self.input.fitted(signal.read(source))

    def array(self, source: Any) -> Array:
        """Return the numbers."""
        return self.read(source).values

    def tensor(self, seen: Signal) -> Array:
        """Scale the numbers, and order the axes."""
        x = seen.values.astype(np.float64)
        if callable(self.spec):
            return np.asarray(self.spec(seen.values))
        if self.spec is not None and self.spec not in SCALINGS:
            raise PreprocessError(
                f"a signal's preprocessing is one of {', '.join(SCALINGS)}, not {self.spec!r}."
                f"{nearest(str(self.spec), SCALINGS)}"
            )
        if self.spec is None and not self._said:
            self._said = True
            self.warn(
                f"the preprocessing is a guess: {SCALINGS[0]!r}, the numbers as they are (of .wav files from -1 to 1); "
                f"state preprocess= (--preprocess) as one of {', '.join(SCALINGS)}"
            )
        layout = self.input.layout
        order = [layout.channel, *layout.space]
        ordered = _scaled(x, str(self.spec)).transpose([order.index(axis) for axis in range(1, 1 + len(order))])
        return np.ascontiguousarray(self._typed(ordered, seen.name)[None])

    def _typed(self, x: NDArray[np.float64], name: str) -> Array:
        """Return *x* in the dtype of the tensor; integers are quantised by the units of the graph."""
        if self.dtype.kind not in "iu":
            return x.astype(self.dtype)
        whole = np.rint(x if self.units is None else x / self.units[0] + self.units[1])
        info = np.iinfo(self.dtype)
        if self.units is None and (np.abs(whole - x).max() > 0 or whole.min() < info.min or whole.max() > info.max):
            raise ImageError(
                f"{name}: holds numbers that are no {self.dtype}, which the model takes, and its file gives no scale; "
                "quantise the signal first"
            )
        return whole.clip(info.min, info.max).astype(self.dtype)

    def pixels(self, seen: Signal) -> Array:
        """Return the numbers, [C, *space]."""
        return seen.values

    def notes(self, seen: Signal) -> Sequence[str]:
        """Return what was read otherwise than a user may think."""
        return seen.notes

    def affine(self, seen: Signal) -> None:
        """Signals have no position in a scanner."""

    def size(self, seen: Signal) -> tuple[int, ...]:
        """Return the number of samples, or the lengths of a grid."""
        return seen.values.shape[1:]

    def frame(self, seen: Signal) -> Frame | None:
        """The tensor covers the whole signal; a grid is like an image."""
        height, width = seen.values.shape[1:] if seen.values.ndim == 3 else (0, 0)
        return Frame(0, 0, width, height) if height else None

    def view(self, seen: Signal) -> None:
        """A signal is no image."""

    def enlarge(
        self,
        flat: Array,
        seen: Signal,
        place: Place | None,
        tensor: tuple[int, ...],
        size: tuple[int, ...] | None = None,
    ) -> NDArray[np.float32]:
        """Return the map resized linearly; the tensor has the signal's size."""
        cells, own = flat.astype(np.float32), seen.values.shape[1:]
        if place is not None:
            cells = placed(place.upright(cells), place.intervals, place.seen, own)
        wanted = size or own
        return np.asarray(cells if cells.shape == wanted else resized(cells, wanted), np.float32)


@dataclass
class ImageOrSignalModality:
    """A network of images by its input, which may be one of features: the file that is given decides.

    Attributes:
        images: How images are read.
        signals: How grids of numbers are read.
    """

    images: ImageModality
    signals: SignalModality
    _last: ImageModality | SignalModality | None = field(default=None, init=False)

    def _of(self, seen: Any) -> Any:
        return self.signals if isinstance(seen, Signal) else self.images

    @property
    def reading(self) -> Part:
        """The preprocessing of what was read last."""
        return (self._last or self.images).reading

    @property
    def rate(self) -> Part | None:
        """The model's samples in a second, where signals are read."""
        return self.signals.rate if self._last is self.signals else None

    @property
    def guess(self) -> str:
        """That the preprocessing is a guess; empty where it is none."""
        return (self._last or self.images).guess

    def decodes(self, path: str) -> bool:
        """Whether the file *path* is not one of a signal."""
        return not path.lower().endswith(signal.SUFFIXES)

    def read(self, source: Any) -> Any:
        """Return the image, or the signal in a file of signals or an array of numbers that are no colours."""
        of_numbers = isinstance(source, np.ndarray) and (
            source.dtype.kind == "f" or source.dtype in (np.int16, np.int8)
        )
        is_signal = isinstance(source, Signal) or (
            isinstance(source, str | os.PathLike) and not self.decodes(os.fspath(source))
        )
        self._last = self.signals if is_signal or of_numbers else self.images
        if self._last is self.images:
            self.signals.input.choice.check_unused()
            self.require_images(source)
        return self._last.read(source)

    def require_images(self, source: Any) -> None:
        """Raise ImageError where the model states the rate of signals, and the user no preprocessing of images."""
        rate = self.signals.rate
        if rate is not None and self.images.reading.source != "user":
            is_file = isinstance(source, str | os.PathLike)
            given = f"{in_message(source)}: is an image" if is_file else "an image was given"
            raise ImageError(
                f"{given}, and the model takes signals: {SOURCES[rate.source]} states {rate.value}; give a .wav, .csv "
                "or .npy file, or state how images become its input (--preprocess)"
            )

    def array(self, source: Any) -> Array:
        """Return the pixels or numbers."""
        seen = self.read(source)
        return np.asarray(self._of(seen).pixels(seen))

    def tensor(self, seen: Any) -> Array:
        """Return the model's tensor."""
        return np.asarray(self._of(seen).tensor(seen))

    def pixels(self, seen: Any) -> Array:
        """Return the pixels or numbers."""
        return np.asarray(self._of(seen).pixels(seen))

    def notes(self, seen: Any) -> Sequence[str]:
        """Return what was read otherwise than a user may think."""
        return tuple(self._of(seen).notes(seen))

    def affine(self, seen: Any) -> None:
        """Neither has a position in a scanner."""

    def size(self, seen: Any) -> tuple[int, ...]:
        """Return the lengths of the spatial axes."""
        return tuple(self._of(seen).size(seen))

    def frame(self, seen: Any) -> Frame | None:
        """Return the part that the tensor covers."""
        found: Frame | None = self._of(seen).frame(seen)
        return found

    def view(self, seen: Any) -> Frame | None:
        """Return the part of an image that the tensor covers."""
        found: Frame | None = self._of(seen).view(seen)
        return found

    def enlarge(
        self, flat: Array, seen: Any, place: Place | None, tensor: tuple[int, ...], size: tuple[int, ...] | None = None
    ) -> NDArray[np.float32]:
        """Return the map at the size of the image or signal, or another."""
        return np.asarray(self._of(seen).enlarge(flat, seen, place, tensor, size), np.float32)


def _scaled(x: NDArray[np.float64], kind: str) -> NDArray[np.float64]:
    axes = tuple(range(1, x.ndim))
    if kind == "zscore":
        return (x - x.mean(axes, keepdims=True)) / np.maximum(x.std(axes, keepdims=True), 1e-12)
    if kind == "minmax":
        low, high = x.min(axes, keepdims=True), x.max(axes, keepdims=True)
        return (x - low) / np.maximum(high - low, 1e-12)
    return x / np.maximum(np.abs(x).max(axes, keepdims=True), 1e-12) if kind == "peak" else x
