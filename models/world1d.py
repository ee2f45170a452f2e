"""The world along time: heartbeats with events among them, and words of a few sounds, with the place of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]

LENGTH, RATE = 1024, 128  # samples of a trace, and in a second
EVENTS = ("early", "spike", "tremor", "pause")
FRAMES, COEFFICIENTS, FRAME_RATE = 49, 10, 50
WORDS = ("yes", "no", "left", "right")
_SOUNDS = {"yes": (0, 1, 2), "no": (3, 4), "left": (5, 1, 3), "right": (2, 4, 0)}


@dataclass(frozen=True)
class TimedEvent:
    """Something that happens from sample *first* to *last*."""

    label: str
    first: int
    last: int

    def mask(self, length: int) -> Mask:
        """Where it is, `[T]`."""
        at = np.arange(length)
        return (at >= self.first) & (at < self.last)


@dataclass(frozen=True)
class Trace:
    """A trace, float32 `[T]`, or the features of a sound, `[T, K]`, and the events in it."""

    values: Array
    events: tuple[TimedEvent, ...]

    def mask(self, label: str) -> Mask:
        """When any event of this class happens, `[T]`."""
        length = len(self.values)
        none = np.zeros(length, bool)
        return np.logical_or.reduce([one.mask(length) for one in self.events if one.label == label] or [none])


def trace(rng: np.random.Generator) -> Trace:
    """Draw eight seconds of heartbeats with one or two events: a beat too early, a spike, a tremor or a pause."""
    period = int(rng.uniform(0.75, 1.0) * RATE)
    beats = [*range(int(rng.integers(20, period)), LENGTH - 40, period)]
    inner = [int(k) for k in rng.permutation(np.arange(1, len(beats) - 1))]
    kinds = [str(kind) for kind in rng.choice(EVENTS, rng.integers(1, 3), replace=False)]
    values, events, dropped, early = np.zeros(LENGTH), [], set(), {}
    used: list[int] = []
    for kind in kinds:
        at = next((k for k in inner if all(abs(k - other) > 2 for other in used)), None)
        if at is None:
            break
        used.append(at)
        beat = beats[at]
        if kind == "early":
            moved = beat - int(0.3 * period)
            early[at] = moved
            events.append(TimedEvent(kind, moved - 16, moved + 24))
        elif kind == "pause":
            dropped.add(at)
            events.append(TimedEvent(kind, beats[at - 1] + 44, beats[at + 1] - 10))
        elif kind == "spike":
            place = beat + int(0.55 * period)
            values[place : place + 3] += rng.choice([-1, 1]) * rng.uniform(0.7, 1.2)
            events.append(TimedEvent(kind, place - 8, place + 11))
        else:
            span = int(rng.integers(50, 90))
            place = beat + int(0.4 * period)
            inside = np.arange(min(span, LENGTH - place))
            swell = np.sin(np.pi * inside / span)
            values[place : place + span] += 0.35 * swell * np.sin(2 * np.pi * rng.uniform(18, 28) * inside / RATE)
            events.append(TimedEvent(kind, place, min(place + span, LENGTH)))
    time = np.arange(LENGTH)
    for number, beat in enumerate(beats):
        if number not in dropped:
            values += _beat(time - early.get(number, beat), wide=number in early)
    values += 0.15 * np.sin(2 * np.pi * rng.uniform(0.1, 0.4) * time / RATE + rng.uniform(0, 6))
    values += rng.normal(0, rng.uniform(0.01, 0.05), LENGTH)
    return Trace((values * rng.uniform(0.8, 1.2)).astype(np.float32), tuple(events))


def _beat(t: NDArray[np.int64], wide: bool) -> NDArray[np.float64]:
    """P, Q, R, S and T waves around sample 0; a *wide* beat starts in a ventricle and has no P wave."""
    waves = [(0, 7, 0.9), (16, 9, -0.4)] if wide else [(-20, 5, 0.12), (-4, 1.6, -0.12), (0, 1.8, 1), (4, 2, -0.25)]
    waves.append((34, 9, 0.25))
    return sum((height * np.exp(-(((t - at) / width) ** 2)) for at, width, height in waves), np.zeros(len(t)))


def word(rng: np.random.Generator) -> Trace:
    """Draw a word, as `FRAMES` frames of `COEFFICIENTS` features, in noise, with a click elsewhere."""
    label = str(rng.choice(WORDS))
    sounds = _SOUNDS[label]
    steps = rng.integers(4, 7, len(sounds))
    first = int(rng.integers(1, FRAMES - steps.sum() - 1))
    values = rng.normal(0, 0.45, (FRAMES, COEFFICIENTS))
    values[:, 0] -= 2  # silence
    place = first
    for sound, count in zip(sounds, steps, strict=True):
        shape = 2.2 * np.random.default_rng([7, sound]).normal(0, 1, COEFFICIENTS)  # the same in every word
        values[place : place + count] += shape * rng.uniform(0.7, 1.1)
        place += int(count)
    others = [t for t in range(FRAMES - 2) if t + 2 < first - 1 or t > place + 1]
    if others:
        click = int(rng.choice(others))
        values[click : click + 2] += rng.normal(0, 1.5, COEFFICIENTS)
    return Trace(values.astype(np.float32), (TimedEvent(label, first, place),))
