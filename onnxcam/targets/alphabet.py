"""The alphabet of a text recogniser: its letters, where they are written, and the place of the blank."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from onnxcam import paths
from onnxcam.errors import ModelError, TargetError
from onnxcam.metadata import sidecar
from onnxcam.metadata.literals import literal
from onnxcam.targets.evidence import Evidence
from onnxcam.targets.goal import Array
from onnxcam.text import visible

__all__ = ["Alphabet", "Letters", "find_letters", "fit", "unknown"]

_BLANKS = ("", "blank", "<blank>", "[blank]")
_KEYS = ("character", "characters", "charset", "alphabet", "vocab", "dictionary", "dict", "keys")
"""Keys of the metadata that hold letters: PaddleOCR and RapidOCR write `character`, one letter on each line."""
_FILES = tuple(f"*{word}*.txt" for word in ("dict", "keys", "charset", "alphabet", "character", "vocab", "labels"))
"""Files of letters beside a model, one letter on each line: of PaddleOCR, OpenCV's zoo, CRNN and others."""


@dataclass(frozen=True)
class Letters:
    """Letters as they are written, with or without the blank, and who says so: a key of `SOURCES`."""

    letters: Sequence[str]
    source: str
    why: str = ""

    @property
    def explicit(self) -> bool:
        """Return whether the source speaks of letters, rather than of labels of any kind."""
        return self.why != "" or any(letter in _BLANKS for letter in self.letters)


@dataclass(frozen=True)
class Alphabet:
    """One letter for each score of a frame; the blank is ""."""

    letters: Sequence[str]
    blank: int
    source: str = "guess"
    why: str = ""
    known: bool = True  # False: the letters are indices

    def split(self, text: str) -> list[str]:
        """Return the letters of *text*; indices are separated by blanks."""
        return list(text) if self.known else text.split()

    def join(self, indices: Sequence[int]) -> str:
        """Return the text of letters by index."""
        return ("" if self.known else " ").join(self.letters[i] for i in indices)

    def __str__(self) -> str:
        if not self.known:
            return "not known, shown as indices; give them by letters= or --letters"
        last = self.letters[-1] or self.letters[-2]
        return f"{len(self.letters)} with the blank at {self.blank}, '{visible(self.letters[1])}' to '{visible(last)}'"


def find_letters(evidence: Evidence) -> Iterator[Letters]:
    """Yield what is written about the letters, the strongest source first."""
    names, metadata = evidence.names, evidence.names.metadata
    if names.card.letters:
        yield Letters(_said(names.card.letters), names.source("letters") or "card", "letters")
    if names.spec is not None:
        yield Letters(names.of(None) or [], "user")
    if names.card.labels:
        yield Letters(names.card.labels, "card")
    for key in _KEYS:
        if metadata.get(key):
            yield Letters(_written(metadata[key]), "metadata", f"the model's metadata, {key}")
    vocabulary = sidecar.beside(names.path, "config.json").get("vocab")
    if isinstance(vocabulary, str) and vocabulary:
        yield Letters(list(vocabulary), "file", "config.json, vocab")  # docTR
    if listed := _of_paddle(names.path):
        yield Letters(listed, "file", "inference.yml, character_dict")
    for file in _beside(names.path):
        with suppress(ModelError):
            letters = _lines(paths.read_text(file, ModelError, "file of letters"))
            if sum(len(letter) == 1 for letter in letters) > len(letters) / 2:
                yield Letters(letters, "file", f"{file.name} beside the model")


def fit(written: Letters, count: int, runs: Sequence[Array]) -> Alphabet | None:
    """Return the alphabet of *count* letters, or None where their number is another one.

    Missing are the blank, the first or last letter, which *runs* [T, A] tell; and a space at the end (PaddleOCR).
    """
    letters = list(written.letters)
    if len(letters) == count:
        known = next((i for i, letter in enumerate(letters) if letter in _BLANKS), None)
        blank = known if known is not None else count - 1 if letters[-1] == "-" else 0
    elif len(letters) == count - 1:
        blank = _blank(runs) % count
        letters.insert(blank, "")
    elif len(letters) == count - 2:
        letters, blank = ["", *letters, " "], 0
    else:
        return None
    return Alphabet(letters, blank, written.source, "" if written.source == "user" else written.why)


def unknown(count: int, runs: Sequence[Array]) -> Alphabet:
    """Return an alphabet of indices."""
    return Alphabet([str(i) for i in range(count)], _blank(runs) % count, known=False)


def _blank(runs: Sequence[Array]) -> int:
    """Return 0, or −1 where the last letter is the best one of more frames of the runs."""
    best = np.concatenate([scores.argmax(axis=1) for scores in runs]) if runs else np.zeros(0)
    last = runs[0].shape[1] - 1 if runs else -1
    return -1 if int((best == last).sum()) > int((best == 0).sum()) else 0


def _said(letters: str) -> list[str]:
    """Return the letters in a string, or in the file that it names."""
    path = Path(letters)
    if paths.kind(path) == "file":
        return _lines(paths.read_text(path, TargetError, "file of letters"))
    return _lines(letters) if "\n" in letters else list(letters)


def _written(text: str) -> list[str]:
    """Return the letters in metadata: one on each line, a list, or a string."""
    found = literal(text) if text.startswith(("[", "(")) and "\n" not in text else None
    if isinstance(found, list | tuple):
        return [str(letter) for letter in found]
    return _lines(text) if "\n" in text else list(text)


def _lines(text: str) -> list[str]:
    r"""Return the lines of *text*. Only \n ends a line: alphabets contain other separators as letters."""
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    lines = lines[:-1] if lines and not lines[-1] else lines
    return list(lines[0]) if len(lines) == 1 else lines


def _of_paddle(path: Path | None) -> list[str]:
    """Return the letters in the configuration that PaddleOCR writes beside a model since version 3."""
    after = sidecar.beside(path, "inference.yml").get("PostProcess")
    letters = after.get("character_dict") if isinstance(after, dict) else None
    return [str(letter) for letter in letters] if isinstance(letters, list) else []


def _beside(path: Path | None) -> list[Path]:
    if path is None:
        return []
    return sorted({file for pattern in _FILES for file in path.absolute().parent.glob(pattern)})[:4]
