"""Classes by a word: those whose names have it, and of ImageNet's classes those that WordNet puts below it.

WordNet's words are an asset of the package (`tools/imagenet_words.py`), so that nothing is downloaded.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib import resources
from itertools import groupby

from onnxcam.errors import TargetError, nearest
from onnxcam.metadata.labels import imagenet

__all__ = ["PREFIX", "SPELLING", "WORD", "WORDNET", "classes_of", "ranges", "search", "suggestion", "word_group"]

WORDNET, WORD, PREFIX, SPELLING = "WordNet", "word", "beginning", "spelling"
"""How a class was found, the surest first."""
_AGREEING = 0.9  # the share of class names that must be ImageNet's
_CLOSE = 0.75  # the least similarity of a spelling, as `difflib` counts it
_MOST = 20  # spellings that are offered

# A word is a run of letters and digits; a character of a script without blanks is one by itself.
_WORD = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]|[^\W_\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]+")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z][a-z])")
_PLURALS = {"mice": "mouse", "geese": "goose", "teeth": "tooth", "feet": "foot", "oxen": "ox", "children": "child"}
_ENDINGS = (("ies", "y"), ("ves", "f"), ("ves", "fe"), ("es", ""), ("s", ""), ("men", "man"))


def search(word: str, labels: Sequence[str]) -> dict[int, str]:
    """Return the classes of *labels* that *word* finds and how each was found, the surest first.

    These are the classes below the word in WordNet, for labels of ImageNet; those whose name has the word, also in the
    plural, or with hyphens; those with a word that begins with it; and, if there are none, those spelled like it.
    TargetError where it finds none.
    """
    hits = dict.fromkeys(_below(word, labels), WORDNET)
    for how, found in ((WORD, _with_word(word, labels)), (PREFIX, _with_prefix(word, labels))):
        hits = dict.fromkeys(found, how) | hits
    if not hits:
        hits = dict.fromkeys(_spelled_like(word, labels), SPELLING)
    if not hits:
        raise TargetError(f"no class has the word {word!r} or one like it; `onnxcam labels MODEL` lists all")
    return dict(sorted(hits.items(), key=lambda hit: ((WORDNET, WORD, PREFIX, SPELLING).index(hit[1]), hit[0])))


def classes_of(word: str, labels: Sequence[str]) -> tuple[int, ...]:
    """Return the classes that *word* means: those below it in WordNet, else those whose names have it."""
    return tuple(sorted(_below(word, labels))) or tuple(_with_word(word, labels))


def word_group(word: str, labels: Sequence[str]) -> tuple[str | None, tuple[int, ...]]:
    """Return the target that explains what *word* means together, and its classes; None where it means no class."""
    found = () if "," in word else classes_of(word, labels)
    return f"any:{word}" if found else None, found


def suggestion(word: str, labels: Sequence[str]) -> str:
    """Return `` Did you mean …?`` with names and words of WordNet close to *word*; an empty string for none."""
    parts = [part.strip() for label in labels for part in label.split(",")]
    return nearest(word, [*parts, *_words_of(tuple(labels))])


def ranges(numbers: Iterable[int]) -> str:
    """Return *numbers* in rising order as text: ``281-285,287``."""
    runs = [[n for _, n in run] for _, run in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])]
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _with_word(word: str, labels: Sequence[str]) -> list[int]:
    wanted = _forms(_joined(word))
    return [n for n, label in enumerate(labels) if any(not wanted.isdisjoint(_forms(span)) for span in _spans(label))]


def _with_prefix(word: str, labels: Sequence[str]) -> list[int]:
    wanted = _joined(word)
    return [n for n, label in enumerate(labels) if wanted and any(span.startswith(wanted) for span in _spans(label))]


def _spelled_like(word: str, labels: Sequence[str]) -> list[int]:
    places: dict[str, list[int]] = defaultdict(list)
    for number, label in enumerate(labels):
        for span in dict.fromkeys(_spans(label)):
            places[span].append(number)
    close = difflib.get_close_matches(_joined(word), places, n=_MOST, cutoff=_CLOSE)
    return list(dict.fromkeys(number for span in close for number in places[span]))


def _tokens(name: str) -> list[str]:
    """Return the words of *name*, without case and accents."""
    plain = "".join(one for one in unicodedata.normalize("NFKD", name) if not unicodedata.combining(one))
    return [word.casefold() for word in _WORD.findall(_CAMEL.sub(" ", unicodedata.normalize("NFC", plain)))]


def _joined(name: str) -> str:
    return "".join(_tokens(name))


def _spans(label: str) -> Iterator[str]:
    """Yield each run of words of a name and its synonyms, without blanks: t-shirt, t shirt and tshirt are equal."""
    for part in label.split(","):
        words = _tokens(part)
        yield from (
            "".join(words[start:end]) for start in range(len(words)) for end in range(start + 1, len(words) + 1)
        )


@cache
def _forms(word: str) -> frozenset[str]:
    """Return *word* and what it may be the plural of."""
    endings = {word.removesuffix(end) + new for end, new in _ENDINGS if len(word) > len(end) + 1 and word.endswith(end)}
    single = endings if not word.endswith("ss") else set()
    return frozenset({word, *single, *([_PLURALS[word]] if word in _PLURALS else [])})


def _below(word: str, labels: Sequence[str]) -> set[int]:
    """Return the classes below any meaning of *word* in WordNet; none where the labels are not ImageNet's."""
    known = _words_of(tuple(labels))
    return {index for form in _forms(_joined(word)) for index in known.get(form, ())}


@cache
def _words_of(labels: tuple[str, ...]) -> Mapping[str, frozenset[int]]:
    """Return the classes of *labels* below each word of WordNet; empty where the labels are not ImageNet's."""
    numbers = _imagenet_numbers(labels)
    places: dict[int, list[int]] = defaultdict(list)
    for place, number in enumerate(numbers):
        if number is not None:
            places[number].append(place)
    if len(places) < _AGREEING * len(labels) - 1:  # a class of background is none of ImageNet's
        return {}
    found = {word: frozenset(n for one in below for n in places[one]) for word, below in _wordnet().items()}
    return {word: classes for word, classes in found.items() if classes}


def _imagenet_numbers(labels: Sequence[str]) -> list[int | None]:
    """Return which class of ImageNet each label is: that of the same place, of its names, or None."""
    names, unknown = _names(), frozenset[int]()
    offset = len(labels) - 1000 if len(labels) in (1000, 1001) else None
    found: list[int | None] = []
    for place, label in enumerate(labels):
        numbers = set[int]().union(*(names.get(_joined(part), unknown) for part in label.split(",")))
        here = None if offset is None else place - offset
        found.append(here if here in numbers else min(numbers, default=None))
    return found


@cache
def _names() -> Mapping[str, frozenset[int]]:
    """Return the classes of ImageNet of each name and synonym."""
    found: dict[str, set[int]] = defaultdict(set)
    for number, name in enumerate(imagenet()):
        found[_joined(name)].add(number)
    for below, words in _meanings():
        for word in words if len(below) == 1 else ():
            found[_joined(word)] |= below
    return {name: frozenset(numbers) for name, numbers in found.items()}


@cache
def _wordnet() -> Mapping[str, frozenset[int]]:
    """Return the classes of ImageNet below all meanings of each word."""
    found: dict[str, set[int]] = defaultdict(set)
    for below, words in _meanings():
        for word in words:
            found[_joined(word)] |= below
    return {word: frozenset(numbers) for word, numbers in found.items()}


@cache
def _meanings() -> list[tuple[frozenset[int], list[str]]]:
    """Return the meanings of WordNet: the classes of ImageNet below, and the words."""
    lines = resources.files("onnxcam").joinpath("assets/imagenet_words.txt").read_text("utf-8").splitlines()
    rows = (line.split("\t") for line in lines if not line.startswith("#"))
    return [(frozenset(_numbers(below)), words.split(", ")) for below, words in rows]


def _numbers(text: str) -> Iterator[int]:
    for part in text.split(","):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)
