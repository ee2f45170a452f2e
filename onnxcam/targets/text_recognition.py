"""Text recognition, by CTC or with one letter for each slot: a text, or one of its characters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from onnxcam.errors import ModelError, TargetError, nearest
from onnxcam.metadata.reading import Part
from onnxcam.targets.aim import WeightsAim
from onnxcam.targets.alphabet import Alphabet, Letters, find_letters, fit, unknown
from onnxcam.targets.ctc import occupancy
from onnxcam.targets.decoding import Decoding, find_decoding
from onnxcam.targets.dense import who
from onnxcam.targets.evidence import Evidence
from onnxcam.targets.frames import Frames, find_frames
from onnxcam.targets.goal import Array, Goal, Look
from onnxcam.targets.kinds import Text, Top
from onnxcam.targets.notation import quoted
from onnxcam.targets.registry import TargetKind, Task, resolves
from onnxcam.text import visible

__all__ = ["TextRecognition"]


@dataclass(frozen=True)
class TextRecognition(Task):
    """A text recogniser: scores of an alphabet for each frame, [N, T, A] or [T, N, A].

    Of slots, frame t shows letter t of the text, until the letter that ends or pads it: the explained scalar is the sum
    of the scores of the text's letters.

    With CTC one letter is the blank. p(text) is the sum of the probabilities of all alignments of the text with the
    frames. The derivative of log p(text) with respect to log y_t(k) is γ_t(k), the probability that frame t aligns with
    letter k (Graves et al., 2006). The explained scalar is Σ γ_t(k) y_t(k) over the letters of the text, or over one of
    them, with γ fixed at this image's.
    """

    frames: Frames
    alphabet: Alphabet
    decoding: Decoding
    source: str = "graph"
    name: str = "a text recogniser"
    cards = ("text",)
    method = "refined-layercam"

    @classmethod
    def find(cls, evidence: Evidence, known: bool) -> Iterator[Task]:
        """Yield a text recogniser for each output of scores of letters.

        These are outputs that the user or the card names, that fit letters which are written somewhere, or that are
        probabilities of many letters for each part of the image's width.
        """
        wanted, written = evidence.output("scores"), list(find_letters(evidence))
        for frames in find_frames(evidence):
            if wanted is not None and frames.scores is not wanted:
                continue
            fits = ((one, fit(one, frames.letters, frames.runs(evidence))) for one in written)
            letters = next(((one, alphabet) for one, alphabet in fits if alphabet is not None), None)
            source = who(evidence, known) or frames.source(evidence)
            if letters is not None and (source or letters[0].explicit):
                decoding = find_decoding(evidence, frames, letters[1])
                yield cls(frames, letters[1], decoding, source or letters[0].source)
            elif source:
                _check(written, frames)
                alphabet = unknown(frames.letters, frames.runs(evidence))
                yield cls(frames, alphabet, find_decoding(evidence, frames, alphabet), source)

    def parts(self) -> Iterator[Part]:
        """Yield the scores and the letters."""
        yield Part("scores", repr(self.frames.output), self.source)
        yield Part("letters", str(self.alphabet), self.alphabet.source, self.alphabet.why)
        yield Part("decoding", str(self.decoding), self.decoding.source, self.decoding.why)

    @property
    def labels(self) -> Sequence[str]:
        """The letter of each score."""
        return self.alphabet.letters

    @property
    def blank(self) -> int:
        """The index of the blank."""
        return self.alphabet.blank

    @property
    def aim(self) -> WeightsAim:
        """Return weights over the output."""
        return WeightsAim(self.frames.output, self.frames.batch)

    def _examples(self, kind: type[TargetKind]) -> tuple[str, ...]:
        if kind is not Text:
            return super()._examples(kind)
        letters = [i for i in range(len(self.labels)) if i != self.blank and self.labels[i].strip()][:2]
        text = quoted(self.alphabet.join(letters))
        return f"text={text}", f"text={text} at=0"

    def letters(self, look: Look) -> list[str]:
        """Return the letters that the model reads."""
        logs = self._logs(look)
        return [self.labels[int(logs[t].argmax())] for t in self._kept(logs)]

    @resolves(Text)
    def text(self, target: Text, look: Look) -> Goal:
        """The recognition of a text, or of one of its characters."""
        if not target.text:
            raise TargetError("there is no letter in the text; name some with text=…")
        return self._goal(self._logs(look), target.text, target.at)

    @resolves(Top)
    def top(self, target: Top, look: Look) -> Goal:
        """The recognition of the text that the model reads."""
        logs = self._logs(look)
        text = self._read(logs)
        if not text:
            raise TargetError("the model reads no letter in this image; name one with text=…")
        hint = "" if self.alphabet.known else ", indices of letters; name the letters by letters= (--letters)"
        return replace(self._goal(logs, text), note=f"what the model reads, {_shown(text)}{hint}")

    def _goal(self, logs: Array, text: str, at: int | None = None) -> Goal:
        """Return the goal for *text*; TargetError for a letter outside the alphabet, or more letters than frames."""
        letters = [self._index(letter, text) for letter in self.alphabet.split(text)]
        if at is not None and at >= len(letters):
            raise TargetError(f"text {_shown(text)} has no character {at}; they are counted from 0")
        weights = self._slots(logs, letters, at) if self.decoding.slots else self._aligned(logs, letters, at)
        if weights is None:
            raise TargetError(
                f"text {_shown(text)} is too long: {len(letters)} characters do not fit into {len(logs)} "
                f"{'slots' if self.decoding.slots else 'frames'}"
            )
        words = f"text={quoted(text)}"
        feed = self.frames.feed(weights)
        return Goal(self.aim, feed, words if at is None else f"{words} at={at}", label=text)

    def _aligned(self, logs: Array, letters: Sequence[int], at: int | None) -> Array | None:
        """Return γ of the letters, or of the one *at* a place, [T, A]; None where they do not fit."""
        states = occupancy(logs, letters, self.blank)
        weights = np.zeros(logs.shape, np.float32)
        for place, letter in enumerate(letters if states is not None else ()):
            if at in (None, place) and states is not None:
                weights[:, letter] += states[:, 2 * place + 1]
        return None if states is None else weights

    def _slots(self, logs: Array, letters: Sequence[int], at: int | None) -> Array | None:
        """Return 1 at each letter in its slot, or at the one *at* a place, [T, A]; None where they do not fit."""
        read = self._kept(logs)
        slots = read if [int(logs[t].argmax()) for t in read] == list(letters) else range(len(letters))
        if len(letters) > len(logs):
            return None
        weights = np.zeros(logs.shape, np.float32)
        for place, (slot, letter) in enumerate(zip(slots, letters, strict=True)):
            weights[slot, letter] = at in (None, place)
        return weights

    def _kept(self, logs: Array) -> list[int]:
        """Return the frames whose best letter counts: of slots, those before the end; of CTC, where it changes."""
        best = logs.argmax(axis=1)
        if self.decoding.slots:
            ends = np.flatnonzero(np.isin(best, list(self.alphabet.ends)))
            kept = np.arange(ends[0] if len(ends) else len(best))
        else:
            kept = np.flatnonzero(np.diff(best, prepend=-1))
        return [int(t) for t in kept if best[t] not in self.alphabet.silent]

    def _logs(self, look: Look) -> Array:
        """Return the logarithms of the probabilities [T, A]."""
        (y,) = look.tensors([self.frames.output])
        y = self.frames.view(y).astype(np.float64)
        if np.isnan(y).any():
            raise ModelError("the scores of the letters are NaN or infinite: the network overflows on this input")
        if y.min() >= 0 and np.allclose(y.sum(axis=1), 1, atol=1e-3):
            return np.log(np.maximum(y, 1e-30))
        top = y.max(axis=1, keepdims=True)
        return y - top - np.log(np.exp(y - top).sum(axis=1, keepdims=True))

    def _read(self, logs: Array) -> str:
        """Return the text of the best letter of each frame that counts."""
        return self.alphabet.join([int(logs[t].argmax()) for t in self._kept(logs)])

    def _index(self, letter: str, text: str) -> int:
        if letter not in self.labels:
            if not self.alphabet.known:
                raise TargetError(
                    f"text {_shown(text)}: the model's letters are not known. Name them by letters= (--letters), or "
                    f"give indices from 0 to {len(self.labels) - 1} with blanks between them"
                )
            known = "".join(self.labels)
            raise TargetError(
                f"text {_shown(text)}: {_shown(letter)} is not in the model's alphabet, {_shown(known)}."
                f"{nearest(letter, self.labels)}"
            )
        return list(self.labels).index(letter)


def _shown(text: str) -> str:
    return f"'{visible(text)}'"


def _check(written: Sequence[Letters], frames: Frames) -> None:
    """Raise TargetError where the user or the card names letters of another number than the scores'."""
    said = next((one for one in written if one.why == "letters"), None)
    if said is not None:
        raise TargetError(
            f"letters: {len(said.letters)} letters, but the output {frames.output!r} has {frames.letters} scores for "
            "each frame: one for each letter and one for the blank"
        )
