"""Subwords: a text as the tokens of a decoder, with the place of each, by a ``tokenizer.json`` (library tokenizers)."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from onnxcam.metadata.tokenizer_file import read_tokenizer

__all__ = ["SubwordText", "Subwords", "spans"]

_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+(?:['’-]\w+)*")
"""A word: letters and digits, also with an apostrophe or a hyphen between; of Chinese and Japanese each character."""


def spans(text: str) -> list[tuple[int, int]]:
    """Return the start and the end of each word of *text*, without punctuation."""
    return [word.span() for word in _WORD.finditer(text)]


@dataclass(frozen=True)
class SubwordText:
    """A text as tokens.

    Attributes:
        text: The text.
        ids: The token at each place.
        words: The words of the text, without punctuation.
        places: For each word the places of its tokens.
    """

    text: str
    ids: tuple[int, ...]
    words: tuple[str, ...]
    places: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Subwords:
    """The tokenizer in the file *path*; ModelError where the library is missing or the file is no tokenizer."""

    path: str

    @property
    def _tokenizer(self) -> Any:
        return _read(Path(self.path), os.stat(self.path).st_mtime_ns if os.path.exists(self.path) else 0)

    def split(self, text: str) -> SubwordText:
        """Return *text* as tokens, without those that begin or end a text; a token belongs to the word it ends in."""
        encoded = self._tokenizer.encode(text, add_special_tokens=False)
        found = spans(text)
        places = [
            tuple(k for k, (start, end) in enumerate(encoded.offsets) if _ends_in(text, start, end, word))
            for word in found
        ]
        return SubwordText(text, tuple(encoded.ids), tuple(text[start:end] for start, end in found), tuple(places))

    def encode(self, prompt: str) -> list[int]:
        """Return *prompt* as tokens, with one that begins a text where the tokenizer puts one."""
        ids = list(self._tokenizer.encode(prompt).ids)
        plain = list(self._tokenizer.encode(prompt, add_special_tokens=False).ids)
        return plain if len(ids) > len(plain) and ids[1:2] == ids[:1] == plain[:1] else ids

    def decode(self, ids: Sequence[int]) -> str:
        """Return tokens as text."""
        return str(self._tokenizer.decode(list(ids)))

    def written(self, ids: Sequence[int]) -> str:
        """Return tokens as text, those that begin or end a text included."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False))

    def id(self, token: str) -> int | None:
        """Return the number of a *token*; None where there is none."""
        found = self._tokenizer.token_to_id(token)
        return None if found is None else int(found)

    @property
    def unknown(self) -> int | None:
        """The token that stands for words that the tokenizer does not know; None where it has none."""
        model = json.loads(self._tokenizer.to_str())["model"]
        return self.id(model["unk_token"]) if model.get("unk_token") else model.get("unk_id")

    def token(self, id: int) -> str | None:
        """Return the token of a number."""
        found = self._tokenizer.id_to_token(id)
        return None if found is None else str(found)


def _ends_in(text: str, start: int, end: int, span: tuple[int, int]) -> bool:
    """Return whether the token at *start* to *end*, without blanks at its end, has its last letter in *span*."""
    last = start + len(text[start:end].rstrip()) - 1
    return start <= last and span[0] <= last < span[1]


@cache
def _read(path: Path, changed: int) -> Any:
    """Return the tokenizer in the file *path*, which was last *changed* then."""
    return read_tokenizer(path)
