"""A text to token ids, by the tokenizer that belongs to a text tower."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxcam import paths
from onnxcam.errors import ModelError
from onnxcam.metadata.sidecar import beside
from onnxcam.metadata.tokenizer_file import read_tokenizer, tokenizers_library, translated

__all__ = ["TextTokenizer", "TokenizedText"]

_LONGEST = 1_000_000
"""Larger limits of a ``tokenizer_config.json`` mean none."""
_CLIP_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
_CLIP_ENDS = ("<|startoftext|>", "<|endoftext|>")


@dataclass(frozen=True)
class TokenizedText:
    """Token ids of a text, with those of its start and end; not padded.

    Attributes:
        ids: The token ids.
        special: Whether each is a token of the tokenizer itself, such as the end.
        tokens: The tokens in words.
    """

    ids: tuple[int, ...]
    special: tuple[bool, ...]
    tokens: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class TextTokenizer:
    """A tokenizer of the library `tokenizers`.

    Attributes:
        path: Its file.
        source: How it was found: ``"user"``, or ``"file"`` beside the model.
        length: The tokens of the longest text, as the tokenizer's files say; None for no limit.
        padding: The id that fills a text up; None where no file says it.
        left: The padding stands before the text.
        always_pads: The tokenizer's file fixes the length.
    """

    path: Path
    source: str
    _tokenizer: Any
    length: int | None
    padding: int | None
    left: bool
    always_pads: bool

    @classmethod
    def find(cls, given: str | os.PathLike[str] | None, model: Path | None) -> TextTokenizer:
        """Read the tokenizer *given*, a file or its folder, else the one beside the *model*.

        Beside ``NAME.onnx``, or one folder above, it is ``NAME.tokenizer.json``, ``tokenizer.json``, or CLIP's
        ``vocab.json`` with ``merges.txt``. ModelError where there is none, or it cannot be read.
        """
        path = _given(given) if given is not None else _beside(model)
        if path is None:
            where = "the model was given without a path" if model is None else f"none lies beside {model.name!r}"
            raise ModelError(
                f"a text needs the tokenizer of the text model, and {where}: neither tokenizer.json nor vocab.json "
                "with merges.txt; name its file with --tokenizer"
            )
        return cls._read(path, "file" if given is None else "user")

    @classmethod
    def _read(cls, path: Path, source: str) -> TextTokenizer:
        tokenizer = _clip(path) if path.name == _VOCABULARY else read_tokenizer(path)
        padding, truncation = tokenizer.padding or {}, tokenizer.truncation or {}
        config = beside(path, _CONFIGS[0])
        said = config.get("model_max_length")
        limits = padding.get("length"), truncation.get("max_length"), said if _is_limit(said) else None
        word = _content(config.get("pad_token", beside(path, _CONFIGS[1]).get("pad_token")))
        pad = padding.get("pad_id", None if word is None else tokenizer.token_to_id(word))
        left = str(padding.get("direction", config.get("padding_side", "right"))).lower() == "left"
        tokenizer.no_padding()
        tokenizer.no_truncation()
        length = next((int(limit) for limit in limits if limit), None)
        return cls(path, source, tokenizer, length, pad, left, bool(padding.get("length")))

    @property
    def size(self) -> int:
        """The number of token ids: the largest id and 1."""
        return max(self._tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1

    @property
    def files(self) -> list[Path]:
        """The files that decide what it writes: its own, and those beside that tell of its length and padding."""
        told = [self.path.with_name(_MERGES)] if self.path.name == _VOCABULARY else []
        for name in _CONFIGS:
            told += [folder / name for folder in self.path.absolute().parents[:2]]
        return [self.path, *(path for path in told if paths.kind(path) == "file")]

    def __call__(self, text: str) -> TokenizedText:
        """Return the tokens of *text*."""
        with translated(self.path):
            found = self._tokenizer.encode(text)
        return TokenizedText(tuple(found.ids), tuple(map(bool, found.special_tokens_mask)), tuple(found.tokens))


_VOCABULARY, _MERGES = "vocab.json", "merges.txt"
_CONFIGS = ("tokenizer_config.json", "special_tokens_map.json")


def _given(given: str | os.PathLike[str]) -> Path:
    path = Path(given)
    if paths.kind(path) == "folder":
        found = _inside(path, "")
        if found is None:
            raise ModelError(f"{path}: the folder has neither tokenizer.json nor vocab.json with merges.txt")
        return found
    paths.check_file(path, ModelError, "tokenizer")
    return path


def _beside(model: Path | None) -> Path | None:
    """Return the tokenizer beside the *model*, or one folder above, as in repositories of Hugging Face."""
    folders = [] if model is None else model.absolute().parents[:2]
    return next((found for folder in folders if model is not None and (found := _inside(folder, model.stem))), None)


def _inside(folder: Path, stem: str) -> Path | None:
    for name in (f"{stem}.tokenizer.json", "tokenizer.json"):
        if paths.kind(folder / name) == "file":
            return folder / name
    clip = all(paths.kind(folder / name) == "file" for name in (_VOCABULARY, _MERGES))
    return folder / _VOCABULARY if clip else None


def _clip(vocabulary: Path) -> Any:
    """Return CLIP's tokenizer of its *vocabulary* and the merges beside: lower case, byte pairs, start and end."""
    library = tokenizers_library()
    texts = [paths.read_text(path, ModelError, "tokenizer") for path in (vocabulary, vocabulary.with_name(_MERGES))]
    with translated(vocabulary):
        known = json.loads(texts[0])
        merges = _merges(known, texts[1])
        made = library.Tokenizer(library.models.BPE(known, merges, end_of_word_suffix="</w>", unk_token=_CLIP_ENDS[1]))
        ids = [known[word] for word in _CLIP_ENDS]
    normal, pre, regex = library.normalizers, library.pre_tokenizers, library.Regex
    made.normalizer = normal.Sequence([normal.NFC(), normal.Replace(regex(r"\s+"), " "), normal.Lowercase()])
    words = pre.Split(regex(_CLIP_WORDS), behavior="removed", invert=True)
    made.pre_tokenizer = pre.Sequence([words, pre.ByteLevel(add_prefix_space=False)])
    start, end = zip(_CLIP_ENDS, ids, strict=True)
    made.post_processor = library.processors.RobertaProcessing(end, start, trim_offsets=False, add_prefix_space=False)
    made.enable_padding(pad_id=ids[1], pad_token=_CLIP_ENDS[1])
    made.add_special_tokens(list(_CLIP_ENDS))
    return made


def _merges(known: Mapping[str, int], text: str) -> list[tuple[str, str]]:
    """Return the pairs in the content of a ``merges.txt``; ValueError for one that makes no token of *known*."""
    found = list[tuple[str, str]]()
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("#version") or not line.strip():
            continue
        pair = line.split()
        if len(pair) != 2 or not {*pair, "".join(pair)} <= known.keys():  # the library ends the thread
            raise ValueError(f"line {number} of {_MERGES}, {line[:40]!r}, makes no token of the vocabulary")
        found.append((pair[0], pair[1]))
    return found


def _is_limit(said: object) -> bool:
    return isinstance(said, int | float) and 0 < said < _LONGEST


def _content(token: object) -> str | None:
    """Return the word of a token in a file of Hugging Face: a string, or an object with a ``content``."""
    word = token.get("content") if isinstance(token, Mapping) else token
    return word if isinstance(word, str) else None
