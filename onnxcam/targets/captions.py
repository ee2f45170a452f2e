"""Captioners: the word at one place of a caption, given the words before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnxcam.errors import TargetError, nearest
from onnxcam.targets.aim import WeightsAim
from onnxcam.targets.kinds import Top, Wish, Word
from onnxcam.targets.parser import quoted
from onnxcam.targets.task import Array, Goal, Look

_LONGEST = 32  # a caption, where the model says nothing


@dataclass(frozen=True)
class Captions:
    """A network from the words so far, int64 [N, L], to scores for the next one at each place, [N, L, V].

    The words begin with the vocabulary's start word, if it has one (``<start>``, ``<s>``, ``<bos>``); the caption ends
    where the padding or an end word comes next.
    """

    output: str
    input: str
    labels: Sequence[str]  # of the output
    vocabulary: Sequence[str]  # of the input
    length: int | None = None  # L, None where it is open
    name: str = "a captioner"
    wishes = (Top, Word)
    examples = 'word=red after="a small", word=red step=2'

    @property
    def aim(self) -> WeightsAim:
        """Return weights over the output."""
        return WeightsAim(self.output)

    def goal(self, wish: Wish, look: Look) -> Goal:
        """Resolve *wish*; TargetError for a word that the vocabulary lacks, or that the caption does not have."""
        note = ""
        if isinstance(wish, Word) and wish.after is not None:
            before = wish.after.split()
            index = self._next(look, before) if wish.word is None else self._index(wish.word, self.labels)
        else:
            caption = self._caption(look)
            step = self._step(wish, caption)
            before = [self.labels[i] for i in caption[:step]]
            word = wish.word if isinstance(wish, Word) else None
            index = caption[step] if word is None else self._index(word, self.labels)
            if not isinstance(wish, Word):
                note = f"the first word of the model's own caption, {' '.join(self.labels[i] for i in caption)!r}"
        tokens = self._tokens(before)
        weights = np.zeros(self._scores(look, tokens).shape, np.float32)
        weights[self._place(before), index] = 1
        word = self.labels[index]
        words = f'word={quoted(word)} after="{" ".join(before)}"'
        return Goal(self.aim, weights, words, index, word, inputs={self.input: tokens}, note=note)

    def _step(self, wish: Wish, caption: Sequence[int]) -> int:
        """Return the place in the model's own *caption* that *wish* means."""
        said = " ".join(self.labels[i] for i in caption)
        if not caption:
            raise TargetError("the model writes no caption for this picture; name words with after=…")
        if not isinstance(wish, Word):
            return 0
        if wish.step is not None:
            if wish.step >= len(caption):
                raise TargetError(f"the caption {said!r} has no word {wish.step}; they are counted from 0")
            return wish.step
        index = self._index(wish.word or "", self.labels)
        if index not in caption:
            raise TargetError(
                f"the word {wish.word!r} is not in the model's caption {said!r}; say after which words it should come: "
                f'word={wish.word} after="…"'
            )
        return list(caption).index(index)

    def _caption(self, look: Look) -> list[int]:
        """Return the caption that the model writes word by word, always the best one."""
        found: list[int] = []
        while len(found) < (self.length or _LONGEST) - (self._start is not None):
            index = self._next(look, [self.labels[i] for i in found])
            if self.labels[index] in _ENDS:
                break
            found.append(index)
        return found

    def _next(self, look: Look, before: Sequence[str]) -> int:
        """Return the best word after the words *before*."""
        return int(self._scores(look, self._tokens(before))[self._place(before)].argmax())

    def _place(self, before: Sequence[str]) -> int:
        """Return where the scores of the word after *before* stand."""
        return max(len(before) + (self._start is not None) - 1, 0)

    def _scores(self, look: Look, tokens: Array) -> Array:
        return look.given({self.input: tokens[None]}).tensors([self.output])[0][0]

    def _tokens(self, words: Sequence[str]) -> Array:
        """Return *words* as the input takes them, [L]: after the start word, and filled up with the padding, 0."""
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


_STARTS = ("<start>", "<s>", "<bos>", "[CLS]")
_ENDS = ("", "<end>", "</s>", "<eos>", "<pad>", "[SEP]", ".")
