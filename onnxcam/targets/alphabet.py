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
_ENDS = ("[e]", "<eos>", "[eos]", "eos", "</s>", "[s]", "<end>", "[sep]", "<|endoftext|>")
"""What stands for the end of a text, in lower case: PARSeq, docTR, transformers, ViTSTR."""
_PADS = (
    "<pad>",
    "[pad]",
    "[p]",
    "<sos>",
    "[sos]",
    "<bos>",
    "[bos]",
    "[b]",
    "[go]",
    "<s>",
    "[cls]",
    "<start>",
    "<bos/eos>",
)
"""What stands for no letter in readers with slots: paddings and starts."""
_DOCTR_SLOTS = {"vitstr": 1, "parseq": 1, "sar": 1, "master": 3}
"""Readers of docTR without CTC, and how many of <eos>, <sos> and <pad> follow the letters."""
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
        return self.why != "" or any(letter in _BLANKS or _is_special(letter) for letter in self.letters)


@dataclass(frozen=True)
class Alphabet:
    """One letter for each score of a frame; the blank, or what ends or pads a text, is the letter `blank`."""

    letters: Sequence[str]
    blank: int
    source: str = "guess"
    why: str = ""
    known: bool = True  # False: the letters are indices
    blank_written: bool = False

    @property
    def ends(self) -> set[int]:
        """The letters that end a text in slots: the ends that are written, else the blank if it is no padding."""
        written = {i for i, letter in enumerate(self.letters) if letter.lower() in _ENDS}
        return written or ({self.blank} - self._pads)

    @property
    def silent(self) -> set[int]:
        """The letters that are no part of a text."""
        return {self.blank} | self._pads | self.ends

    @property
    def _pads(self) -> set[int]:
        return {i for i, letter in enumerate(self.letters) if letter.lower() in _PADS}

    @property
    def written(self) -> str:
        """``"slots"`` where an end or a padding is written, ``"ctc"`` where a blank is written; else empty."""
        if any(_is_special(letter) for letter in self.letters):
            return "slots"
        return "ctc" if self.blank_written else ""

    def split(self, text: str) -> list[str]:
        """Return the letters of *text*; indices are separated by blanks."""
        return list(text) if self.known else text.split()

    def join(self, indices: Sequence[int]) -> str:
        """Return the text of letters by index."""
        return ("" if self.known else " ").join(self.letters[i] for i in indices)

    def __str__(self) -> str:
        if not self.known:
            return "not known, shown as indices; give them by letters= or --letters"
        heard = [letter for i, letter in enumerate(self.letters) if i not in self.silent] or self.letters
        special = "the end or padding" if self.written == "slots" else "the blank"
        first = self.letters[1] if self.letters[1] in heard else heard[0]
        return f"{len(self.letters)} with {special} at {self.blank}, '{visible(first)}' to '{visible(heard[-1])}'"


def _is_special(letter: str) -> bool:
    """Return whether *letter* is written for an end or a padding, as readers with slots have them."""
    return letter.lower() in _ENDS or letter.lower() in _PADS


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
    yield from _of_doctr(names.path)
    yield from _of_plates(names.path)
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
    special = next((i for i, letter in enumerate(letters) if letter.lower() in (*_BLANKS, *_ENDS)), None)
    if special is None:
        special = next((i for i, letter in enumerate(letters) if _is_special(letter)), None)
    said = special is not None and letters[special] in _BLANKS
    if len(letters) == count:
        blank = special if special is not None else count - 1 if letters[-1] in ("-", "_") else 0
    elif len(letters) == count - 1:
        blank = _blank(runs) % count
        letters.insert(blank, "")
    elif len(letters) == count - 2:
        letters, blank = ["", *letters, " "], 0
    else:
        return None
    return Alphabet(letters, blank, written.source, "" if written.source == "user" else written.why, blank_written=said)


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


def _of_doctr(path: Path | None) -> Iterator[Letters]:
    """Yield the letters that docTR writes beside a model, with the end of readers without CTC."""
    configuration = sidecar.beside(path, "config.json")
    letters, family = configuration.get("vocab"), str(configuration.get("arch", "")).split("_")[0]
    if isinstance(letters, str) and letters:
        more = ("<eos>", "<sos>", "<pad>")[: _DOCTR_SLOTS.get(family, 0)]
        yield Letters([*letters, *more], "file", "config.json, vocab")


def _of_plates(path: Path | None) -> Iterator[Letters]:
    """Yield the letters in the configuration of fast-plate-ocr, its padding as ``<pad>``."""
    files = [] if path is None else sorted(path.absolute().parent.glob("*.y*ml"))[:4]
    for file in files:
        found = sidecar.beside(path, file.name)
        letters, padding = found.get("alphabet"), found.get("pad_char")
        if "max_plate_slots" in found and isinstance(letters, str):
            yield Letters(["<pad>" if one == padding else one for one in letters], "file", f"{file.name}, alphabet")


def _of_paddle(path: Path | None) -> list[str]:
    """Return the letters in the configuration that PaddleOCR writes beside a model since version 3."""
    after = sidecar.beside(path, "inference.yml").get("PostProcess")
    letters = after.get("character_dict") if isinstance(after, dict) else None
    return [str(letter) for letter in letters] if isinstance(letters, list) else []


def _beside(path: Path | None) -> list[Path]:
    if path is None:
        return []
    return sorted({file for pattern in _FILES for file in path.absolute().parent.glob(pattern)})[:4]
