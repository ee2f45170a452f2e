"""What the parts of a decoder take beside images and words: masks, positions, an empty cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxcam.decoders.positions import table
from onnxcam.errors import ModelError
from onnxcam.graph.emitter import Emitter
from onnxcam.metadata.prompting import Prompting

__all__ = ["DecoderFeeds"]

_CACHE = "past"
"""How the names of the inputs of a cache begin: ``past_key_values.0.key``, ``past_conv.0``."""


@dataclass(frozen=True)
class DecoderFeeds:
    """The tensors that a decoder takes, for the tokens *ids* [N, L] of which the last are *text* [N, T].

    Attributes:
        op: Emits them.
        ids: All tokens.
        text: The tokens of the text.
        given: What some inputs take, by their names: embeddings of the tokens, states of an encoder [N, K, H].
        asked: The prompt.
        hidden: The states among *given*, which the decoder reads by cross-attention; None where it does not.
    """

    op: Emitter
    ids: ir.Value
    text: ir.Value
    given: Mapping[str, ir.Value]
    asked: Prompting
    hidden: ir.Value | None = None

    def fill(self, inputs: Sequence[ir.Value]) -> None:
        """Feed all *inputs*; ModelError for one of unknown meaning."""
        made = [self._value(x) for x in inputs]
        for x, value in zip(inputs, made, strict=True):
            x.replace_all_uses_with(value)
        self.op.place(made)

    def _value(self, x: ir.Value) -> ir.Value:
        name = _name(x)
        if name in self.given:
            return self.op.Cast(self.given[name], to=int(x.dtype or ir.DataType.FLOAT))
        if name.startswith(_CACHE):
            return self._empty(x)
        if name not in self._known:
            raise _unknown(x, f"{', '.join(self._known)} and {_CACHE}…")
        return self.op.Cast(self._known[name](x), to=int(x.dtype or ir.DataType.INT64))

    @property
    def _known(self) -> Mapping[str, Callable[[ir.Value], ir.Value]]:
        return {
            "attention_mask": lambda x: self.op.Expand(1, self.op.Shape(self.ids)),
            "position_ids": self._positions,
            "encoder_attention_mask": lambda x: self._seen(),
            "cache_position": lambda x: self._range(),
            "input_ids": lambda x: self.ids,
            "use_cache_branch": lambda x: self.op.const(np.zeros(_shape(x), np.bool_)),
            "num_logits_to_keep": lambda x: self._kept(x),
            "logits_to_keep": lambda x: self._kept(x),
        }

    def _seen(self) -> ir.Value:
        hidden = self.ids if self.hidden is None else self.hidden
        return self.op.Expand(1, self.op.Concat(self.op.dim(hidden, 0), self.op.dim(hidden, 1), axis=0))

    def _range(self) -> ir.Value:
        return self.op.Range(0, self.op.Squeeze(self.op.dim(self.ids, 1), [0]), 1)

    def _positions(self, x: ir.Value) -> ir.Value:
        """Return the positions [N, L] of the tokens; [3, N, L] where image and words have positions on three axes."""
        if x.shape is None or len(x.shape) == 2:
            return self.op.Expand(self._range(), self.op.Shape(self.ids))
        end = len(self.asked.prompt)
        known = table([*self.asked.prompt, 0], self.asked.image, self.asked.grid)
        count = self.op.Squeeze(self.op.dim(self.text, 1), [0])
        following = self.op.Add(self.op.Range(0, count, 1), known[0, end])
        spread = self.op.Expand(following, self.op.Concat([3, 1], self.op.dim(self.text, 1), axis=0))
        return self.op.Concat(known[:, None, :end], spread, axis=2)

    def _kept(self, x: ir.Value) -> ir.Value:
        """Return how many scores from the end are read: those before each token of the text, and one more."""
        return self.op.Reshape(self.op.Add(self.op.dim(self.text, 1), 1), np.array(_shape(x), np.int64))

    def _empty(self, x: ir.Value) -> ir.Value:
        """Return a cache of no tokens: an open axis has the length 0, but the first, which is the batch."""
        shape = list(x.shape or ())
        heads = [length if isinstance(length, int) else 0 for length in shape[1:]]
        if x.dtype is None or 0 not in heads:
            raise ModelError(
                f"the part 'decoder' takes a cache {_name(x)!r} {x.shape} of fixed length; export it with an open one"
            )
        lengths = self.op.Concat(self.op.dim(self.ids, 0), np.array(heads, np.int64), axis=0)
        return self.op.Expand(_constant(self.op, 0, x), lengths)


def _constant(op: Emitter, number: int, like: ir.Value) -> ir.Value:
    assert like.dtype is not None
    return op.const(np.array(number, like.dtype.numpy()))


def _shape(x: ir.Value) -> tuple[int, ...]:
    return tuple(length if isinstance(length, int) else 1 for length in x.shape or ())


def _name(x: ir.Value) -> str:
    """Return the name that an input had in its part."""
    return (x.name or "").partition(".")[2]


def _unknown(x: ir.Value, known: str) -> ModelError:
    part = (x.name or "").partition(".")[0]
    return ModelError(f"the part {part!r} has an input {_name(x)!r} {x.shape} of unknown meaning; known are {known}")
