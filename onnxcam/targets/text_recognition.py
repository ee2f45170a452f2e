"""Text recognition trained by CTC: a text, or one of its characters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from onnxcam.errors import TargetError, nearest
from onnxcam.targets.aim import WeightsAim
from onnxcam.targets.evidence import Evidence
from onnxcam.targets.goal import Array, Goal, Look
from onnxcam.targets.graph_outputs import class_names, length, numeric_outputs
from onnxcam.targets.kinds import Text, Top
from onnxcam.targets.notation import quoted
from onnxcam.targets.registry import Task, resolves

__all__ = ["TextRecognition"]

_BLANKS = ("", "blank", "<blank>", "[blank]")


@dataclass(frozen=True)
class TextRecognition(Task):
    """A text recogniser: scores of an alphabet for each frame, [N, T, A] or [T, N, A]; one letter is the blank.

    p(text) is the sum of the probabilities of all alignments of the text with the frames. The derivative of log p(text)
    with respect to log y_t(k) is γ_t(k), the probability that frame t aligns with letter k (Graves et al., 2006). The
    explained scalar is Σ γ_t(k) y_t(k) over the letters of the text, or over one of them, with γ fixed at this image's.
    """

    output: str
    batch: int  # the axis of images
    labels: Sequence[str]  # the alphabet; the blank is ""
    blank: int
    name: str = "a text recogniser"
    cards = ("text",)

    @classmethod
    def find(cls, evidence: Evidence, known: bool) -> Iterator[Task]:
        """Yield a text recogniser for each output of rank 3 behind a recurrent layer, if its letters are known."""
        for y in numeric_outputs(evidence.graph, 3) if known or _is_recurrent(evidence.graph) else ():
            labels = class_names(evidence.names, length(y, 2), known)
            if labels:
                blank = next((i for i, letter in enumerate(labels) if letter in _BLANKS), 0)
                yield cls(y.name or "", _batch_axis(y, evidence.image), labels, blank)

    @property
    def aim(self) -> WeightsAim:
        """Return weights over the output."""
        return WeightsAim(self.output, self.batch)

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
        return replace(self._goal(logs, text), note=f"what the model reads, {text!r}")

    def _goal(self, logs: Array, text: str, at: int | None = None) -> Goal:
        """Return the goal for *text*; TargetError for a letter outside the alphabet, or more letters than frames."""
        letters = [self._index(letter, text) for letter in text]
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
        return Goal(self.aim, weights, words if at is None else f"{words} at={at}", label=text)

    def _logs(self, look: Look) -> Array:
        """Return the logarithms of the probabilities [T, A]."""
        (y,) = look.tensors([self.output])
        y = np.moveaxis(y, self.batch, 0)[0].astype(np.float64)
        if y.min() >= 0 and np.allclose(y.sum(axis=1), 1, atol=1e-3):
            return np.log(np.maximum(y, 1e-30))
        top = y.max(axis=1, keepdims=True)
        return y - top - np.log(np.exp(y - top).sum(axis=1, keepdims=True))

    def _read(self, logs: Array) -> str:
        """Return the text of the best letter of each frame; repeated letters count once, blanks not at all."""
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


def _is_recurrent(graph: ir.Graph) -> bool:
    return any(node.op_type in ("LSTM", "GRU") for node in graph)


def _batch_axis(y: ir.Value, image: ir.Value) -> int:
    """Return the batch axis of *y*: 1 where that axis has the length of the image's batch, else 0."""
    if y.shape is None or image.shape is None:
        return 0
    own, batch = y.shape[1], image.shape[0]
    return int(own == 1 if isinstance(batch, int) else str(own) == str(batch))


def _occupancy(logs: Array, letters: Sequence[int], blank: int) -> Array | None:
    """Return γ [T, S], the probability of each state in each frame, given the text; None where the text does not fit.

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
