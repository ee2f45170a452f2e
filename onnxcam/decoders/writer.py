"""Scores of the next token by the parts of a decoder, each token computed once where the decoder has a cache."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam.decoders.meeting import find_meeting
from onnxcam.decoders.positions import table
from onnxcam.decoders.view import EncoderView
from onnxcam.engine import Session
from onnxcam.errors import ModelError
from onnxcam.graph.io import load
from onnxcam.metadata.prompting import Prompting

__all__ = ["PartsWriter", "WrittenText"]

_Arrays = dict[str, NDArray[Any]]
_STATES = ""
"""The key of the states that cross-attention reads, beside inputs of the decoder by name."""


class PartsWriter:
    """The sessions of the parts that *asked* names. ModelError and EngineError as `onnxcam.decoders.load.join`."""

    def __init__(self, asked: Prompting, provider: str) -> None:
        models = {name: load(Path(path)) for name, path in asked.parts.items()}
        self._asked, self._meeting = asked, find_meeting(models)
        EncoderView.of(asked.view).apply(models["vision"])
        self._inputs = {name: list(model.graph.inputs) for name, model in models.items()}
        self._sessions = {name: Session(model, provider) for name, model in models.items()}
        self._past = [x for x in self._inputs["decoder"] if (x.name or "").startswith("past")]

    def start(self, tensor: NDArray[Any]) -> WrittenText:
        """Return the text after the prompt and the image *tensor*, [1, C, H, W], which has no token yet."""
        asked, name = self._asked, self._meeting.features
        (image,) = self._inputs["vision"]
        looks = self._sessions["vision"].run({image.name or "": tensor}, [name, *self._meeting.deep.values()])
        prompt, here = self.embed(asked.prompt), np.equal(asked.prompt, asked.image)
        if self._meeting.embeds is not None:
            prompt[0, here] = looks[name].reshape(-1, looks[name].shape[-1])
        if self._meeting.encoder is not None:
            return WrittenText(self, self.embed(asked.start), {_STATES: self._read(prompt)})
        seen = {_STATES: looks[name]}
        for taken, given in self._meeting.deep.items():
            seen[taken] = np.zeros_like(prompt)
            seen[taken][0, here] = looks[given]
        return WrittenText(self, prompt, seen)

    def _read(self, prompt: NDArray[Any]) -> NDArray[Any]:
        """Return the states of the encoder that reads *prompt*, image and words."""
        assert self._meeting.encoder is not None
        known = {self._meeting.encoder.embeds: prompt, "attention_mask": np.ones(prompt.shape[:2])}
        feeds = {x.name or "": known[x.name or ""].astype(_dtype(x)) for x in self._inputs["encoder"]}
        return self._sessions["encoder"].run(feeds)[self._meeting.encoder.states]

    def embed(self, ids: Sequence[int]) -> NDArray[Any]:
        """Return what the decoder takes of tokens: embeddings, [1, L, H], or the tokens, [1, L]."""
        if self._meeting.embeds is None:
            return np.array([ids], np.int64)
        session, (x,) = self._sessions["embed"], self._inputs["embed"]
        (found,) = session.run({x.name or "": np.array([ids], _dtype(x))}).values()
        return found

    def decode(self, embeds: NDArray[Any], past: _Arrays, before: int, seen: _Arrays) -> tuple[NDArray[Any], _Arrays]:
        """Return the scores after *embeds*, as `embed` gives them, and the new cache.

        They follow *before* tokens in the cache *past*. *seen* are the states that cross-attention reads,
        and what is added at the tokens of the prompt.
        """
        count, feeds, hidden = embeds.shape[1], _Arrays(), seen[_STATES]
        known = {
            "attention_mask": np.ones((1, before + count)),
            "position_ids": self._positions(before + count)[:, None, before:],
            "cache_position": np.arange(before, before + count),
            "use_cache_branch": np.array([before > 0]),
            "num_logits_to_keep": np.array(1),
            "logits_to_keep": np.array(1),
            "encoder_attention_mask": np.ones(hidden.shape[:2]),
            self._meeting.embeds or "input_ids": embeds,
        }
        if self._meeting.hidden is not None:
            known[self._meeting.hidden] = hidden
        for name in self._meeting.deep:  # nothing after the prompt
            own = seen[name][:, before : before + count]
            known[name] = np.pad(own, ((0, 0), (0, count - own.shape[1]), (0, 0)))
        for x in self._inputs["decoder"]:
            name = x.name or ""
            if name in past or x in self._past:
                feeds[name] = past[name] if name in past else _empty(x)
            elif name not in known:
                raise ModelError(f"the part 'decoder' has an input {name!r} {x.shape} of unknown meaning")
            else:
                feeds[name] = known[name].astype(_dtype(x)).reshape(_shape(x, known[name]))
        found = self._sessions["decoder"].run(feeds)
        present = {x.name or "": next((y for y in _presents(x.name or "") if y in found), "") for x in self._past}
        # Merged decoders give what they took of the encoder's states once only; later outputs are empty.
        crossed = {name: x for name, x in past.items() if ".encoder." in name}
        kept = {name: crossed[name] if name in crossed else found[y] for name, y in present.items() if y}
        return found[self._meeting.logits][:, -1], kept if len(kept) == len(self._past) else {}

    def _positions(self, length: int) -> NDArray[Any]:
        """Return the positions of *length* tokens, [1, L], or [3, L] where the decoder takes three axes."""
        asked = self._asked
        if any((x.name or "") == "position_ids" and len(x.shape or ()) == 3 for x in self._inputs["decoder"]):
            return table([*asked.prompt, *[0] * (length - len(asked.prompt))], asked.image, asked.grid)
        return np.arange(length)[None]


class WrittenText:
    """A text that grows: `scores` of its next token, and `add` one."""

    def __init__(self, writer: PartsWriter, embeds: NDArray[Any], seen: _Arrays) -> None:
        self._writer, self._embeds, self._seen = writer, embeds, seen  # embeddings of tokens that are not in the cache
        self._past: _Arrays = {}
        self._before = 0

    def scores(self) -> NDArray[Any]:
        """Return the scores of the next token, [1, V]."""
        scores, past = self._writer.decode(self._embeds, self._past, self._before, self._seen)
        if past:
            self._before += self._embeds.shape[1]
            self._past, self._embeds = past, self._embeds[:, :0]
        return scores

    def add(self, token: int) -> None:
        """Add a token."""
        self._embeds = np.concatenate([self._embeds, self._writer.embed([token])], axis=1)


def _presents(name: str) -> tuple[str, ...]:
    """Return how the output is called that continues the cache *name*."""
    return name.replace("past_key_values", "present"), name.replace("past", "present")


def _dtype(x: ir.Value) -> np.dtype[Any]:
    return x.dtype.numpy() if x.dtype is not None else np.dtype(np.float32)


def _empty(x: ir.Value) -> NDArray[Any]:
    shape = [1, *(n if isinstance(n, int) else 0 for n in list(x.shape or ())[1:])]
    return np.zeros(shape, _dtype(x))


def _shape(x: ir.Value, given: NDArray[Any]) -> tuple[int, ...]:
    """Return the shape of *given* without leading axes of length 1 that *x* has not, as positions of one row have."""
    return given.shape if x.shape is None else given.shape[given.ndim - len(x.shape) :]
