"""A text tower: a text to a vector of length 1, by its tokenizer and its network in ONNX Runtime."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam import paths
from onnxcam.engine import Session
from onnxcam.errors import ModelError, TargetError
from onnxcam.graph.io import ModelLike
from onnxcam.graph.model_files import model_hash
from onnxcam.graph.subgraph import prune
from onnxcam.hub import local
from onnxcam.metadata.reading import Part
from onnxcam.metadata.reserved import load_bare
from onnxcam.targets.goal import Reference
from onnxcam.targets.heads import width
from onnxcam.targets.text_parts import TextParts
from onnxcam.text import in_message
from onnxcam.text_towers.tokenizer import TextTokenizer, TokenizedText

__all__ = ["TextTower"]

_ROUND = 1024
"""Tables of embeddings are padded to a multiple of at most so many rows."""
_SHOWN = 8
"""Tokens of a text that a note shows."""


@dataclass(eq=False)
class TextTower:
    """The text tower of a model: a file of its own, or the half of a file that holds the image tower too.

    Attributes:
        model: The model that holds the tower; it is not changed.
        parts: The tower in its graph.
        name: The name of its file, for messages.
        path: The path of its file; None where the model was given without one.
        given: The tokenizer that the user names, a file or its folder; None looks beside the model.
        provider: The execution provider.
        is_own: The tower is in a file of its own.
    """

    model: ir.Model
    parts: TextParts
    name: str
    path: Path | None
    given: str | os.PathLike[str] | None = None
    provider: str = "auto"
    is_own: bool = True
    _known: dict[tuple[str, int], Reference] = field(default_factory=dict, init=False, repr=False)
    _sessions: dict[str, Session] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def open(
        cls, source: str | os.PathLike[str], tokenizer: str | os.PathLike[str] | None, provider: str = "auto"
    ) -> TextTower:
        """Open the text model *source*, and its tokenizer.

        ModelError where the file holds no text tower, or there is no tokenizer.
        """
        found = cls.of(source, load_bare(source), tokenizer, provider)
        if found is None:
            raise ModelError(
                f"{in_message(source)}: is no text model: no output [N, D] depends on an input of token ids alone; "
                "give the text tower that belongs to the image tower, exported with its pooled or projected output"
            )
        _ = found.tokenizer
        return found

    @classmethod
    def of(
        cls,
        source: ModelLike,
        model: ir.Model,
        tokenizer: str | os.PathLike[str] | None,
        provider: str = "auto",
        *,
        is_own: bool = True,
    ) -> TextTower | None:
        """Return the text tower of *model*, which was read from *source*; None where it has none."""
        parts = TextParts.of(model.graph)
        if parts is None:
            return None
        path = local(source) if isinstance(source, str | os.PathLike) else None
        name = "the model" if path is None else path.name
        return cls(model, parts, name, path, tokenizer, provider, is_own)

    @cached_property
    def tokenizer(self) -> TextTokenizer:
        """The tokenizer; ModelError where there is none, or it is another model's."""
        found = TextTokenizer.find(self.given, self.path)
        rows, size = self.parts.vocabulary, found.size
        if rows is not None and (size > rows or rows > -(-size // _ROUND) * _ROUND):
            raise ModelError(
                f"{found.path}: is the tokenizer of another model: it has {size} tokens, and the table of "
                f"{self.name!r} behind {self.parts.tokens.name!r} has {rows} rows; give the model's "
                "own with --tokenizer"
            )
        return found

    @cached_property
    def digest(self) -> str:
        """A hash of what decides the vectors: the files of the network, if they are its own, and of the tokenizer."""
        found = hashlib.sha256()
        if self.is_own and self.path is not None:
            found.update(model_hash(self.path, self.model).encode())
        with suppress(ModelError):  # a file of two towers needs no tokenizer for targets that are no texts
            for path in self.tokenizer.files:
                found.update(paths.read_bytes(path, ModelError))
        return found.hexdigest()[:12]

    @property
    def reading(self) -> list[Part]:
        """What was read of the tower, and how it is known."""
        tokens, outputs = self.parts.tokens, ", ".join(repr(y.name) for y in self.parts.outputs)
        length = f" of {self.parts.length} tokens" if self.parts.length is not None else ""
        vocabulary = f" from {self.parts.vocabulary} ids" if self.parts.vocabulary is not None else ""
        own = f" of {self.name}" if self.is_own else ""
        text = Part("text tower", f"{outputs}{own}, of {tokens.name!r}{length}{vocabulary}", "graph")
        try:
            found = self.tokenizer
        except ModelError as error:
            return [text, Part("tokenizer", "none", "file", str(error))]
        return [text, Part("tokenizer", f"{found.path.name}, {found.size} tokens", found.source)]

    def __call__(self, text: str, length: int) -> Reference:
        """Return the vector of *text*, of the *length* of an image's embedding.

        TargetError where the text is empty or too long, ModelError where the tower or its tokenizer does not fit.
        """
        if (text, length) not in self._known:
            self._known[text, length] = self._embed(text, length)
        return self._known[text, length]

    def _embed(self, text: str, length: int) -> Reference:
        if not text.strip():
            raise TargetError('the text to compare with is empty; write what to look for, like="a dog"')
        output = self.parts.output(length)
        self._check_length(output, width(output), length)
        found = self.tokenizer(text)
        self._check(found, text)
        feeds, filled = self._feeds(found)
        how = f"{self.tokenizer.path.name}{filled} and {output.name!r}"
        session = self._session(output.name or "")
        y = session.run(session.filled(feeds))[output.name or ""][0].reshape(-1).astype(np.float64)
        self._check_length(output, y.size, length)
        norm = float(np.linalg.norm(y))
        if not np.isfinite(norm) or norm == 0:
            raise ModelError(
                f"{self.name}: {output.name!r} of {in_message(text)!r} is zero or not finite; export the text "
                "model again"
            )
        own = {} if self.is_own else {name: value[0] for name, value in feeds.items()}
        return Reference((y / norm).astype(np.float32), f"{text!r} ({_words(found)})", f"{how} of {self.name}", own)

    def _check_length(self, output: ir.Value, own: int | None, length: int) -> None:
        if own is not None and own != length:
            raise ModelError(
                f"{self.name}: {output.name!r} of the text has {own} numbers, but the image's embedding has {length}: "
                "these towers do not belong together, or one was exported without its projection (text_embeds, "
                "image_embeds)"
            )

    def _check(self, found: TokenizedText, text: str) -> None:
        """Raise ModelError or TargetError where the network cannot take the tokens of *text*."""
        own, shown = self.tokenizer, in_message(text)
        longest = self.parts.length or own.length
        if longest is not None and len(found.ids) > longest:
            raise TargetError(
                f"the text {shown!r} has {len(found.ids)} tokens, and {self.name} takes at most {longest}; shorten it"
            )
        rows = self.parts.vocabulary
        if rows is not None and max(found.ids, default=0) >= rows:
            raise ModelError(
                f"{own.path}: is the tokenizer of another model: it gives the token id {max(found.ids)} for {shown!r}, "
                f"and {self.name!r} knows {rows}; give the model's own with --tokenizer"
            )
        end = self.parts.end
        if end is None or not found.ids:
            return
        place = int(np.argmax(found.ids)) if end.token is None else _index(found.ids, end.token)
        if place is None or not found.special[place]:
            what = "the largest id of a text" if end.token is None else f"the token {end.token}"
            raise ModelError(
                f"{own.path}: is the tokenizer of another model, or adds no end: {self.name!r} reads a text at {what} "
                f"({end.node}), which is no end token of {list(found.ids)[:_SHOWN]}; give the model's own with "
                "--tokenizer"
            )

    def _feeds(self, found: TokenizedText) -> tuple[dict[str, NDArray[Any]], str]:
        """Return the inputs of the tower, [1, T] each, and in words how the text was padded."""
        own, count = self.tokenizer, len(found.ids)
        has_mask = any("mask" in (x.name or "") for x in self.parts.beside)
        length = self.parts.length
        if length is None:
            length = own.length if own.length is not None and (own.always_pads or not has_mask) else count
        filling = length - count
        pad = own.padding if own.padding is not None else 0
        guess = "" if own.padding is not None else ", a guess: its files state none"
        said = f", padded to {length} by the id {pad}{guess}," if filling else ""
        around = (filling, 0) if own.left else (0, filling)
        feeds = {self.parts.tokens.name or "": _row(np.pad(found.ids, around, constant_values=pad), self.parts.tokens)}
        for x in self.parts.beside:
            feeds[x.name or ""] = _row(self._beside(x, count, around), x)
        return feeds, said

    def _beside(self, x: ir.Value, count: int, around: tuple[int, int]) -> NDArray[Any]:
        """Return the values of the input *x* beside the token ids."""
        name, length = (x.name or "").lower(), count + sum(around)
        if "mask" in name:
            return np.pad(np.ones(count, np.int64), around)
        if "type" in name or "segment" in name:
            return np.zeros(length, np.int64)
        if "position" in name:
            return np.arange(length)
        raise ModelError(
            f"{self.name}: the text tower takes {x.name!r} {x.shape} beside the token ids, and it is not known what "
            "that is; export it for input_ids and attention_mask"
        )

    def _session(self, output: str) -> Session:
        """Return the session of the tower alone."""
        if output not in self._sessions:
            model = self.model.clone()
            graph = model.graph
            graph.outputs[:] = [y for y in graph.outputs if y.name == output]
            prune(graph)
            needed = {self.parts.tokens.name, *(x.name for x in self.parts.beside)}
            for x in [x for x in graph.inputs if x.name not in needed and not x.uses()]:
                graph.inputs.remove(x)
            self._sessions[output] = Session(model, self.provider)
        return self._sessions[output]


def _words(found: TokenizedText) -> str:
    """Return the number of tokens, and the first ones."""
    more = " …" if len(found.tokens) > _SHOWN else ""
    return f"{len(found.ids)} tokens: {' '.join(found.tokens[:_SHOWN])}{more}"


def _index(ids: tuple[int, ...], token: int) -> int | None:
    return ids.index(token) if token in ids else None


def _row(values: NDArray[Any], x: ir.Value) -> NDArray[Any]:
    return np.asarray(values[None], np.int64 if x.dtype is None else x.dtype.numpy())
