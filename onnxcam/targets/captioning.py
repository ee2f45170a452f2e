"""Captioning: the word at one place of a caption, given the words before it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from onnxcam.errors import TargetError, nearest
from onnxcam.targets.aim import WeightsAim
from onnxcam.targets.evidence import Evidence
from onnxcam.targets.goal import Array, Goal, Look
from onnxcam.targets.graph_outputs import class_names, length, numeric_outputs
from onnxcam.targets.kinds import Top, Word
from onnxcam.targets.notation import quoted
from onnxcam.targets.registry import Task, resolves

__all__ = ["Captions"]

_LONGEST = 32
"""Words of a caption, where the model does not fix their number."""
_STARTS = ("<start>", "<s>", "<bos>", "[CLS]")
_ENDS = ("", "<end>", "</s>", "<eos>", "<pad>", "[SEP]", ".")


@dataclass(frozen=True)
class Captions(Task):
    """A captioner: from the words so far, int64 [N, L], to scores of the next word at each place, [N, L, V].

    The words begin with the start word of the vocabulary, if it has one (``<start>``, ``<s>``, ``<bos>``); the caption
    ends at padding or an end word.
    """

    output: str
    input: str
    labels: Sequence[str]  # of the output
    vocabulary: Sequence[str]  # of the input
    length: int | None = None  # L; None if it is not fixed
    name: str = "a captioner"
    sees_centre = True
    cards = ("caption",)

    @classmethod
    def find(cls, evidence: Evidence, known: bool) -> Iterator[Task]:
        """Yield a captioner for each output [N, L, V] beside an input of integers, if its words are known."""
        others = (x for x in evidence.graph.inputs if x is not evidence.image)
        words = next((x for x in others if x.dtype is not None and x.dtype.is_integer()), None)
        for y in numeric_outputs(evidence.graph, 3) if words is not None else ():
            labels = class_names(evidence.names, length(y, 2), known)
            if words is not None and labels:
                places = length(words, 1) if words.shape is not None and len(words.shape) == 2 else None
                vocabulary = evidence.names.card.vocabulary.get(words.name or "", labels)
                fixed = places if isinstance(places, int) else None
                yield cls(y.name or "", words.name or "", labels, vocabulary, fixed)

    @property
    def aim(self) -> WeightsAim:
        """Return weights over the output."""
        return WeightsAim(self.output)

    def caption(self, look: Look) -> list[str]:
        """Return the words of the model's own caption."""
        return [self.labels[index] for index in self._caption(look)]

    @resolves(Word)
    def word(self, target: Word, look: Look) -> Goal:
        """The score of a word; TargetError if the vocabulary or the caption does not contain it."""
        if target.after is not None:
            before = target.after.split()
            index = self._next(look, before) if target.word is None else self._index(target.word, self.labels)
            return self._goal(look, before, index)
        caption = self._caption(look)
        step = self._step(target, caption)
        index = caption[step] if target.word is None else self._index(target.word, self.labels)
        return self._goal(look, [self.labels[i] for i in caption[:step]], index)

    @resolves(Top)
    def top(self, target: Top, look: Look) -> Goal:
        """The score of the first word of the model's own caption."""
        caption = self._caption(look)
        self._check(caption)
        note = f"the first word of the model's own caption, {self._said(caption)!r}"
        return replace(self._goal(look, [], caption[0]), note=note)

    def _goal(self, look: Look, before: Sequence[str], index: int) -> Goal:
        tokens = self._tokens(before)
        weights = np.zeros(self._scores(look, tokens).shape, np.float32)
        weights[self._place(before), index] = 1
        word = self.labels[index]
        words = f'word={quoted(word)} after="{" ".join(before)}"'
        return Goal(self.aim, weights, words, index, word, inputs={self.input: tokens})

    def _said(self, caption: Sequence[int]) -> str:
        return " ".join(self.labels[i] for i in caption)

    def _check(self, caption: Sequence[int]) -> None:
        if not caption:
            raise TargetError("the model writes no caption for this image; name words with after=…")

    def _step(self, target: Word, caption: Sequence[int]) -> int:
        """Return the place of the target in the model's own *caption*."""
        self._check(caption)
        said = self._said(caption)
        if target.step is not None:
            if target.step >= len(caption):
                raise TargetError(f"the caption {said!r} has no word {target.step}; they are counted from 0")
            return target.step
        index = self._index(target.word or "", self.labels)
        if index not in caption:
            raise TargetError(
                f"the word {target.word!r} is not in the model's caption {said!r}; say after which words it should "
                f'come: word={target.word} after="…"'
            )
        return list(caption).index(index)

    def _caption(self, look: Look) -> list[int]:
        """Return the model's own caption: the word with the highest score at each place."""
        found: list[int] = []
        while len(found) < (self.length or _LONGEST) - (self._start is not None):
            index = self._next(look, [self.labels[i] for i in found])
            if self.labels[index] in _ENDS:
                break
            found.append(index)
        return found

    def _next(self, look: Look, before: Sequence[str]) -> int:
        """Return the word with the highest score after the words *before*."""
        return int(self._scores(look, self._tokens(before))[self._place(before)].argmax())

    def _place(self, before: Sequence[str]) -> int:
        """Return the place of the scores of the word after *before*."""
        return max(len(before) + (self._start is not None) - 1, 0)

    def _scores(self, look: Look, tokens: Array) -> Array:
        return look.given({self.input: tokens[None]}).tensors([self.output])[0][0]

    def _tokens(self, words: Sequence[str]) -> Array:
        """Return *words* as values of the input, [L]: the start word, the words, and padding, 0."""
        first = [] if self._start is None else [self._start]
        indices = [*first, *(self._index(word, self.vocabulary) for word in words)]
        length = self.length or max(len(indices), 1)
        if len(indices) > length:
            raise TargetError(f"{len(words)} words before are too many: the model takes {length - len(first)}")
        return np.asarray(indices + [0] * (length - len(indices)), np.int64)

    @property
    def _start(self) -> int | None:
        return next((i for i, word in enumerate(self.vocabulary) if word in _STARTS), None)

    def _index(self, word: str, vocabulary: Sequence[str]) -> int:
        if word not in vocabulary:
            raise TargetError(f"the word {word!r} is not in the model's vocabulary.{nearest(word, vocabulary)}")
        return list(vocabulary).index(word)
