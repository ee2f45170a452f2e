"""Descriptions: the words of a text that a vision-language decoder says of an image, each given those before it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from onnxcam import paths
from onnxcam.decoders.writer import PartsWriter, WrittenText
from onnxcam.errors import ModelError, TargetError
from onnxcam.metadata.prompting import LOG_PROBABILITIES, LOGITS, TEXT_TOKENS, Prompting
from onnxcam.metadata.reading import Part
from onnxcam.metadata.subwords import Subwords, SubwordText
from onnxcam.targets.aim import WeightsAim
from onnxcam.targets.evidence import Evidence
from onnxcam.targets.goal import Array, Goal, Look
from onnxcam.targets.kinds import Text, Top
from onnxcam.targets.notation import quoted
from onnxcam.targets.registry import TargetKind, Task, resolves
from onnxcam.text import visible

__all__ = ["Descriptions"]

_EXAMPLE = 'text="a red star"'
_LONGEST = 48
"""Tokens of a text that the model writes itself."""


class _JoinedText:
    """A text that grows, whose scores are those of the joined model: every token is computed anew."""

    def __init__(self, look: Look) -> None:
        self._look, self._ids = look, list[int]()

    def scores(self) -> Array:
        tokens = np.array([self._ids], np.int64).reshape(1, -1)
        (scores,) = self._look.given({TEXT_TOKENS: tokens}).tensors([LOGITS])
        return scores

    def add(self, token: int) -> None:
        self._ids.append(token)


@dataclass(frozen=True)
class Descriptions(Task):
    """A joined decoder (`onnxcam.decoders`): log p of each token of a text, given image, prompt and tokens before it.

    The score of a word is the sum over its tokens.
    """

    prompting: Prompting
    name: str = "a vision-language decoder"
    source: str = "metadata"
    method = "attnlrp"
    cards = ("description",)

    @classmethod
    def find(cls, evidence: Evidence, known: bool) -> Iterator[Task]:
        """Yield the task of a model that was joined."""
        found = Prompting.of(evidence.names.metadata)
        if found is not None and any(y.name == LOG_PROBABILITIES for y in evidence.graph.outputs):
            yield cls(found)

    def parts(self) -> Iterator[Part]:
        """Yield the prompt."""
        yield Part("prompt", repr(self.prompting.words), self.source)

    @property
    def aim(self) -> WeightsAim:
        """Return weights over the tokens of the text."""
        return WeightsAim(LOG_PROBABILITIES, exact=True)

    @cached_property
    def subwords(self) -> Subwords:
        """The decoder's tokenizer."""
        return Subwords(self.prompting.tokenizer)

    def words(self, target: Text | Top, look: Look) -> list[Text]:
        """Return the words of *target* as targets; the model's own text where it is `Top`. TargetError for none."""
        if isinstance(target, Text) and target.at is not None:
            return [target]
        text = self._split(target.text if isinstance(target, Text) else self.written(look))
        return [Text(text.text, at) for at in range(len(text.words))]

    def written(self, look: Look) -> str:
        """Return the text that the model writes: at each place the token with the highest score."""
        text = self._text(look)
        ids: list[int] = []
        while len(ids) < _LONGEST:
            scores = np.array(text.scores(), np.float64)
            if not np.isfinite(scores).all():
                raise ModelError("the scores of the next token are NaN or infinite: the network overflows here")
            if self.prompting.image >= 0:
                scores[0, self.prompting.image] = -np.inf
            best = int(scores[0].argmax())
            if best in self.prompting.ends:
                break
            ids.append(best)
            text.add(best)
        return self.subwords.decode(ids).strip()

    def _text(self, look: Look) -> WrittenText | _JoinedText:
        """Return a text without tokens: of the parts and their cache where they are there, else of the joined model."""
        if self.prompting.parts and all(paths.kind(path) == "file" for path in self.prompting.parts.values()):
            return self._writer.start(look.feeds[look.image])
        return _JoinedText(look)

    @cached_property
    def _writer(self) -> PartsWriter:
        return PartsWriter(self.prompting, "cpu")

    def _examples(self, kind: type[TargetKind]) -> tuple[str, ...]:
        return (_EXAMPLE, f"{_EXAMPLE} at=1") if kind is Text else super()._examples(kind)

    @resolves(Text)
    def text(self, target: Text, look: Look) -> Goal:
        """The log-probability of a text, or of its word number *at*."""
        text = self._split(target.text)
        if target.at is not None and target.at >= len(text.words):
            raise TargetError(
                f"text '{visible(text.text)}' has no word {target.at}; there are {len(text.words)}, counted from 0"
            )
        if target.at is not None and not text.places[target.at]:
            raise TargetError(f"the tokenizer drops the word '{visible(text.words[target.at])}'; name another one")
        weights = np.zeros(len(text.ids), np.float32)
        weights[list(text.places[target.at]) if target.at is not None else slice(None)] = 1
        words, label = f"text={quoted(text.text)}", text.text if target.at is None else text.words[target.at]
        inputs = {name: x[0] for name, x in {**self.prompting.inputs, TEXT_TOKENS: np.array([text.ids])}.items()}
        words = words if target.at is None else f"{words} at={target.at}"
        return Goal(self.aim, weights, words, label=label, is_log_probability=True, inputs=inputs)

    @resolves(Top)
    def top(self, target: Top, look: Look) -> Goal:
        """The log-probability of the text that the model writes."""
        text = self.written(look)
        if not text:
            raise TargetError("the model writes no text for this image and prompt; name one with text=…")
        return replace(self.text(Text(text), look), note=f"what the model writes, '{visible(text)}'")

    def _split(self, text: str) -> SubwordText:
        found = self.subwords.split(text)
        if not found.words:
            raise TargetError(f"there is no word in the text '{visible(text)}'; name some with text=…")
        if self.prompting.image in found.ids:
            raise TargetError(f"the text '{visible(text)}' holds the token of the image; leave it out")
        unknown = self.subwords.unknown
        is_written = unknown is not None and (self.subwords.token(unknown) or "") in text  # some models write it
        for word, places in zip(found.words, found.places, strict=True):
            if not is_written and any(found.ids[place] == unknown for place in places):
                raise TargetError(f"the tokenizer does not know the word '{visible(word)}'; name another one")
        return found
