"""Text recognisers trained by CTC: that a text is read, and each character of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnxcam.errors import TargetError, nearest
from onnxcam.targets.aim import WeightsAim
from onnxcam.targets.kinds import Text, Top, Wish
from onnxcam.targets.parser import quoted
from onnxcam.targets.task import Array, Goal, Look


@dataclass(frozen=True)
class Reading:
    """A recogniser that puts out scores of an alphabet for each frame, [N, T, A] or [T, N, A]; one letter is the blank.

    log p(text) is a sum over all ways to spread the text over the frames. Its derivative by log y_t(k) is γ_t(k), how
    probable it is that frame t stands for letter k (Graves et al., 2006). What is explained is Σ γ_t(k) y_t(k) over the
    letters of the text, or those frames alone that stand for one of them, with γ held at this picture's.
    """

    output: str
    batch: int  # the axis of pictures
    labels: Sequence[str]  # the alphabet; the blank is ""
    blank: int
    name: str = "a text recogniser"
    wishes = (Top, Text)
    examples = 'text=AB12, text="A B" at=0'

    @property
    def aim(self) -> WeightsAim:
        """Return weights over the output."""
        return WeightsAim(self.output, self.batch)

    def goal(self, wish: Wish, look: Look) -> Goal:
        """Resolve *wish*; TargetError for a letter that is not in the alphabet, or a text too long for the frames."""
        logs = self._logs(look)
        text = wish.text if isinstance(wish, Text) else self._read(logs)
        at = wish.at if isinstance(wish, Text) else None
        letters = [self._index(letter, text) for letter in text]
        if not letters:
            if isinstance(wish, Text):
                raise TargetError("there is no letter in the text; name some with text=…")
            raise TargetError("the model reads no letter in this picture; name one with text=…")
        if at is not None and at >= len(letters):
            raise TargetError(f"text {text!r} has no character {at}; they are counted from 0")
        states = _occupancy(logs, letters, self.blank)
        if states is None:
            raise TargetError(
                f"text {text!r} is too long: {len(letters)} characters do not fit into {len(logs)} frames"
            )
        weights = np.zeros(logs.shape, np.float32)
        for place, letter in enumerate(letters):
            if at in (None, place):
                weights[:, letter] += states[:, 2 * place + 1]
        words = f"text={quoted(text)}"
        note = "" if isinstance(wish, Text) else f"what the model reads, {text!r}"
        return Goal(self.aim, weights, words if at is None else f"{words} at={at}", label=text, note=note)

    def _logs(self, look: Look) -> Array:
        """Return the logarithms of the probabilities [T, A]."""
        (y,) = look.tensors([self.output])
        y = np.moveaxis(y, self.batch, 0)[0].astype(np.float64)
        if y.min() >= 0 and np.allclose(y.sum(axis=1), 1, atol=1e-3):
            return np.log(np.maximum(y, 1e-30))
        top = y.max(axis=1, keepdims=True)
        return y - top - np.log(np.exp(y - top).sum(axis=1, keepdims=True))

    def _read(self, logs: Array) -> str:
        """Return the text along the best letter of each frame: repeated ones count once, blanks not at all."""
        best = logs.argmax(axis=1)
        kept = best[np.flatnonzero(np.diff(best, prepend=-1))]
        return "".join(self.labels[i] for i in kept if i != self.blank)

    def _index(self, letter: str, text: str) -> int:
        if letter not in self.labels:
            known = "".join(self.labels)
            raise TargetError(
                f"text {text!r}: {letter!r} is not in the model's alphabet, {known!r}.{nearest(letter, self.labels)}"
            )
        return list(self.labels).index(letter)


def _occupancy(logs: Array, letters: Sequence[int], blank: int) -> Array | None:
    """Return γ [T, S]: how probable each state is in each frame, given the text; None where it does not fit.

    The states are the letters with blanks around them: S = 2 L + 1. Forward and backward recursion of CTC.
    """
    states = [blank]
    for letter in letters:
        states += [letter, blank]
    emitted = logs[:, states]
    skips = np.array([s >= 2 and states[s] != blank and states[s] != states[s - 2] for s in range(len(states))])
    forward = _recursion(emitted, skips)
    turned = np.concatenate([skips[2:], [False, False]])[::-1]
    backward = _recursion(emitted[::-1, ::-1], turned)[::-1, ::-1]
    both = forward + backward - emitted
    whole = np.logaddexp.reduce(both[0])
    return None if not np.isfinite(whole) else np.exp(both - whole)


def _recursion(emitted: Array, skips: Array) -> Array:
    """Return log α_t(s) = log y_t(s) + log (α_{t−1}(s) + α_{t−1}(s − 1) + α_{t−1}(s − 2) where it may skip)."""
    out = np.full(emitted.shape, -np.inf)
    out[0, :2] = emitted[0, :2]
    for t in range(1, len(emitted)):
        stay = out[t - 1]
        step = np.concatenate([[-np.inf], stay[:-1]])
        skip = np.where(skips, np.concatenate([[-np.inf, -np.inf], stay[:-2]]), -np.inf)
        out[t] = emitted[t] + np.logaddexp(np.logaddexp(stay, step), skip)
    return out
