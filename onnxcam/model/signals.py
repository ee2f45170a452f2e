"""From the signal in a file to the part, the channels and the rate that a model takes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxcam.errors import ImageError, PreprocessError
from onnxcam.media.signal import Signal
from onnxcam.metadata.reading import Part
from onnxcam.structure.layout import Dim, GridLayout

__all__ = ["SignalChoice", "SignalInput", "start_of"]

_COLOURS = 3
"""The number of channels of an image in colour."""
_SAME_RATE = 1e-3
"""Rates that differ by a smaller share are one: times in a table are rounded."""


@dataclass(frozen=True)
class SignalChoice:
    """What the user says of signals.

    Attributes:
        rate: The samples in a second that the model takes; None where the model says it, or nothing does.
        start: Where the part of a longer signal begins: a sample, or seconds such as ``"2.5s"``.
        resample: Change signals of another rate to the model's.
    """

    rate: float | None = None
    start: int | str | None = None
    resample: bool = False

    def check_unused(self) -> None:
        """Raise PreprocessError if something is said, for an input that is no signal."""
        if self != SignalChoice():
            raise PreprocessError(
                "rate=, start= and resample= (--rate, --start, --resample) are for signals, and this is none; leave "
                "them out"
            )

    def __post_init__(self) -> None:
        if self.rate is not None and not 0 < self.rate < 1e9:
            raise PreprocessError(f"the rate is {self.rate:g}; give the model's samples in a second, such as 16000")
        start_of(self.start, None)


def start_of(start: int | str | None, rate: float | None) -> int:
    """Return the first sample of *start*; seconds need a *rate*, and without one are 0.

    PreprocessError for another notation.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(s?)\s*", str(0 if start is None else start))
    if found is None or (not found[2] and "." in found[1]):
        raise PreprocessError(f"the start is {start!r}; give a sample, such as 8000, or seconds, such as 0.5s")
    return int(found[1]) if not found[2] else round(float(found[1]) * (rate or 0))


@dataclass(frozen=True)
class SignalInput:
    """The input of a model that takes signals, or grids of features such as spectrograms.

    Attributes:
        layout: Its layout.
        shape: Its shape, [N, …].
        choice: What the user says.
        rate: The model's rate, and how it is known; None where nothing says it.
    """

    layout: GridLayout
    shape: Sequence[Dim]
    choice: SignalChoice = field(default_factory=SignalChoice)
    rate: Part | None = None

    @property
    def channels(self) -> int | None:
        """The number of channels; None where it is open."""
        return _fixed(self.shape[self.layout.channel])

    @property
    def space(self) -> tuple[int | None, ...]:
        """The lengths of the axes of time, or of a grid; None where open."""
        return tuple(_fixed(self.shape[axis]) for axis in self.layout.space)

    @property
    def time(self) -> int:
        """Which axis of space is time: the open one, else the longer one, else the last."""
        lengths = [n or np.inf for n in self.space]
        return max(range(len(lengths)), key=lambda axis: (lengths[axis], axis))

    @property
    def takes(self) -> str:
        """For messages: what the model takes."""
        sides = " x ".join("?" if n is None else str(n) for n in (self.channels, *self.space))
        if len(self.space) == 1:
            return f"signals of {sides} (channels x samples)"
        if self.channels == _COLOURS:
            return f"images, or arrays of {sides} (channels x height x width)"
        return f"arrays of {sides} (channels x height x width)"

    def fitted(self, signal: Signal) -> Signal:
        """Return *signal* as the model takes it: float32 [C, *space]; ImageError where it does not fit."""
        shaped = self._shaped(signal)
        return self._cut(self._at_rate(replace(shaped, time=self.time)))

    def _shaped(self, signal: Signal) -> Signal:
        """Return *signal* with the model's axes, its length along time aside."""
        values = signal.values.astype(np.float32)
        if signal.kind == "sound":
            return self._sound(replace(signal, values=values))
        while values.ndim > 1 + len(self.space) and values.shape[0] == 1:
            values = values[0]
        for order, note in self._orders(values.ndim):
            found = values.transpose(order)
            found = found[None] if found.ndim == len(self.space) else found
            if self._fits(found.shape):
                shaped = replace(signal, values=np.ascontiguousarray(found))
                return shaped.noted(f"{note} {list(values.shape)}") if note and signal.kind == "array" else shaped
        what = f"an array {list(values.shape)}"
        if signal.kind == "table":
            named = f" ({', '.join(signal.channels)[:100]})" if signal.channels else ""
            what = f"a table of {values.shape[0]} columns{named} and {values.shape[1]} rows"
        raise ImageError(f"{signal.name}: is {what}, and the model takes {self.takes}; give one that fits")

    def _orders(self, rank: int) -> list[tuple[list[int], str]]:
        """Return the orders of axes to try, each with what is said of it."""
        own, axes = list(range(rank)), len(self.space)
        turned = "the axes of the array were exchanged, which is"
        if rank == axes + 1:
            others = [(own[1:] if axes == 1 else [2, 0, 1], turned)]
            return [(own, ""), ([1, 0], turned) if axes == 1 else others[0]]
        return [(own, ""), ([1, 0], turned)] if rank == axes == 2 else [(own, "")] if rank == axes else []

    def _fits(self, shape: Sequence[int]) -> bool:
        """Whether [C, *space] is the model's, the length along time aside."""
        wanted = [self.channels, *self.space]
        wanted[1 + self.time] = None
        return all(n is None or n == own for n, own in zip(wanted, shape, strict=True)) and (
            self.channels is not None or shape[0] <= shape[1 + self.time]
        )

    def _sound(self, sound: Signal) -> Signal:
        """Return a sound with the model's channels: of one channel the mean of several."""
        count, others = len(sound.values), [n for axis, n in enumerate(self.space) if axis != self.time]
        if len(self.space) > 1 and self.channels == _COLOURS:
            raise ImageError(
                f"{sound.name}: is a sound, and the model takes {self.takes}; give an image, or take a model of signals"
            )
        if any(n != 1 for n in others):
            raise ImageError(
                f"{sound.name}: is a sound, and the model takes {self.takes}, the features of one: compute them as in "
                "its training, and give them as .npy"
            )
        if self.channels not in (None, count):
            if self.channels != 1:
                raise ImageError(
                    f"{sound.name}: has {count} channels, and the model takes {self.takes}; give a sound that fits"
                )
            values = sound.values.mean(axis=0, keepdims=True)
            sound = sound.noted(f"the mean of the {count} channels of the sound was taken", values=values)
        axes = tuple(1 + axis for axis in range(len(self.space)) if axis != self.time)
        return replace(sound, values=np.expand_dims(sound.values, axes))

    def _at_rate(self, signal: Signal) -> Signal:
        """Return *signal* at the model's rate; ImageError where it has another and is not to be resampled."""
        own = None if self.rate is None else float(self.rate.value.split()[0])
        if own is None or signal.rate is None:
            if signal.rate is not None and signal.kind == "sound":
                return signal.noted(
                    f"the model does not state its rate; the {signal.rate:g} Hz of the sound were taken as they are: "
                    "state rate= (--rate)"
                )
            return replace(signal, rate=signal.rate or own)
        if abs(own - signal.rate) <= _SAME_RATE * own:
            return replace(signal, rate=own)
        if not self.choice.resample:
            raise ImageError(
                f"{signal.name}: is sampled at {signal.rate:g} Hz, and the model takes {own:g} Hz; resample it first, "
                "or add resample=True (--resample)"
            )
        values = _resampled(signal.values, signal.rate, own, 1 + self.time)
        return signal.noted(f"resampled from {signal.rate:g} to {own:g} Hz", values=values, rate=own)

    def _cut(self, signal: Signal) -> Signal:
        """Return the part of *signal* that the model takes; ImageError where none is chosen, or it is too short."""
        axis = 1 + self.time
        count, wanted = signal.values.shape[axis], self.space[self.time]
        start, unit = self.choice.start, "samples" if len(self.space) == 1 else "rows of time"
        if isinstance(start, str) and "s" in start and not signal.rate:
            raise PreprocessError(f"the start is {start}, but no rate is known; state rate= (--rate), or give a sample")
        first, length = start_of(start, signal.rate), wanted or count
        last = count - (wanted or 1)
        if count < (wanted or 1):
            raise ImageError(f"{signal.name}: has {count} {unit}, and the model takes {wanted}; give a longer signal")
        if first > last:
            raise ImageError(f"{signal.name}: has {count} {unit}, and a part from {first} on is too short; start at "
                             f"{last} or before (--start)")  # fmt: skip
        if start is None and last and wanted:
            seconds = f", or 0s to {last / signal.rate:g}s" if signal.rate else ""
            raise ImageError(
                f"{signal.name}: has {count} {unit}, and the model takes {wanted}; choose where they start with "
                f"start= (--start): 0 to {last}{seconds}"
            )
        values = (
            signal.values.take(range(first, min(count, first + length)), axis) if wanted or first else signal.values
        )
        return replace(signal, values=values, start=first)


def _fixed(length: Dim) -> int | None:
    return length if isinstance(length, int) and length > 0 else None


def _resampled(values: NDArray[Any], old: float, new: float, axis: int) -> NDArray[np.float32]:
    try:
        from scipy.signal import resample_poly
    except ImportError:
        raise ImageError("resampling needs SciPy; pip install 'onnxcam[signals]'") from None
    ratio = Fraction(new / old).limit_denominator(10_000)
    if not 1e-3 < new / old < 1e3:
        raise ImageError(f"{old:g} Hz cannot be resampled to {new:g} Hz, a thousand times less or more; state the rate")
    return np.asarray(resample_poly(values, ratio.numerator, ratio.denominator, axis=axis), np.float32)
