"""What a command tells of its results on stderr: the first one while it runs, and a summary at the end.

The summary: how many were done, where they are, what was guessed, what to look at first, and what may come next.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onnxcam.progress import Progress

__all__ = [
    "LONG",
    "FirstResult",
    "RunSummary",
    "counted",
    "done_of",
    "first_entry",
    "guess_of",
    "of_entries",
    "shell",
    "telling_first",
]

LONG = 5.0
"""Seconds after which a run tells of its first result."""


@dataclass(frozen=True)
class RunSummary:
    """The end of a run in words.

    Attributes:
        done: What is done, how much was left out, and how, such as ``3 of 4 images, 1 left out, by gradcam``.
        place: Folder or file of the results; empty if there is none.
        guessed: What was guessed, and its value.
        first: What to look at first, and why; empty if there is no choice.
        next: What to try next.
    """

    done: str
    place: str | os.PathLike[str] = ""
    guessed: Mapping[str, str] = field(default_factory=dict)
    first: str = ""
    next: str = ""

    def lines(self) -> Iterator[str]:
        """Yield the lines of the summary; a guess of the preprocessing is what to state next."""
        yield f"done: {self.done}" + (f", in {self.place}" if os.fspath(self.place) else "")
        guessed = {name: _short(name, value) for name, value in self.guessed.items()}
        if guessed:
            yield f"guessed: {'; '.join(f'{name} ({value})' for name, value in guessed.items())}"
        if self.first:
            yield f"look first at: {self.first}"
        guess = guessed.get("preprocessing")
        is_known = guess is not None and not guess.startswith("one of ")  # as it does before a volume is seen
        stated = f"state the preprocessing if the guess is right: -p {shell(guess)}" if is_known else ""
        if after := "; ".join(filter(None, [stated, self.next])):
            yield f"next: {after}"

    def tell(self) -> None:
        """Print the summary to stderr."""
        from onnxcam.cli import show

        for line in self.lines():
            show.print_err(line, "dim")


def _short(name: str, value: str) -> str:
    """Return a guessed *value*: of a preprocessing the name of a preset, where one states the same."""
    from onnxcam.preprocess.parser import preset_of

    return (name.startswith("preprocessing") and preset_of(value)) or value


class FirstResult:
    """Tells of the first result that it is given after `LONG` seconds, by *say*, and of no other."""

    def __init__(self, say: Callable[[str], None], now: Callable[[], float] = time.monotonic) -> None:
        self._say, self._now, self._start, self._waits = say, now, now(), True

    def __call__(self, words: str) -> None:
        """Take a result in words."""
        if self.waits:
            self._waits = False
            self._say(f"first result: {words}")

    @property
    def waits(self) -> bool:
        """Whether the next result is told."""
        return self._waits and self._now() - self._start >= LONG


def telling_first(progress: Progress, found: Callable[[], str], say: Callable[[str], None]) -> Progress:
    """Return *progress* that also tells of the first result of a long run, which *found* gives in words, or ""."""

    def told(items: Iterable[Any], total: int) -> Iterator[Any]:
        first = FirstResult(say)
        for item in progress(items, total):
            if first.waits and (words := found()):
                first(words)
            yield item

    return told


def first_entry(done: Sequence[Mapping[str, Any]]) -> str:
    """Return the first of the manifest's entries *done* in words; empty if there is none."""
    return f"{_file(done[0])} ({done[0]['words']})" if done else ""


def of_entries(done: Sequence[dict[str, Any]], total: int, folder: Path, model: str) -> RunSummary:
    """Return the summary of explanations of *total* images, by the manifest's entries of what is *done*."""
    images = len({entry["image"] for entry in done})
    maps = "" if len(done) == images else f"{len(done):,} maps"
    guesses = {
        name: part["value"] for entry in done for name, part in entry["reading"].items() if part["source"] == "guess"
    }
    return RunSummary(
        done_of(images, total, "image", dict.fromkeys(entry["method"] for entry in done), maps),
        f"{folder}{os.sep}",
        guesses,
        _first(done),
        "" if "preprocessing" in guesses else _next(done, model),
    )


def _next(done: Sequence[dict[str, Any]], model: str) -> str:
    """Return what to try next: what this run has not tried, and what its methods can show."""
    from onnxcam.methods import find_method

    if any("concepts" in entry for entry in done):
        return "fewer or more concepts: --set concepts=3; the same ones in all images: --set together=yes"
    one_each = len({(entry["image"], entry["method"], entry["layer"]) for entry in done}) == len(done)
    depend = not all(find_method(entry["method"]).class_independent for entry in done)
    classes = all(entry["target"]["index"] is not None and entry["probability"] is not None for entry in done)
    targets = "other targets: --top 3; " if one_each and depend and classes else ""
    return f"{targets}other methods and layers: onnxcam inspect {shell(model)} --layers all"


def _first(done: Sequence[dict[str, Any]]) -> str:
    """Return which map to look at first: one with a warning that others do not have, else the least probable image.

    Images are compared by their most probable target, and only if there are several.
    """
    if len(done) < 2:
        return ""
    common = set.intersection(*(set(entry["warnings"]) for entry in done))
    own = [entry for entry in done if set(entry["warnings"]) - common]
    if own:
        return f"{_file(own[0])} ({own[0]['words']}): it has a warning of its own"
    best: dict[str, dict[str, Any]] = {}
    for entry in done:
        if entry["probability"] is not None and "concepts" not in entry:
            known = best.setdefault(entry["image"], entry)
            best[entry["image"]] = max(known, entry, key=lambda one: one["probability"])
    if len(best) < 2:
        return ""
    entry = min(best.values(), key=lambda one: one["probability"])
    return f"{_file(entry)} ({entry['words']}): the least probable"


def _file(entry: Mapping[str, Any]) -> str:
    return str(entry["overlay"] or entry["raw"])


def done_of(count: int, total: int, noun: str, ways: Iterable[str] = (), also: str = "") -> str:
    """Return how many of *total* are done, *also* what more, how many are left out, and the *ways*, such as methods."""
    left_out = f"{total - count:,} left out" if count < total else ""
    by = f"by {', '.join(ways)}" if ways else ""
    return ", ".join(filter(None, [f"{count:,} of {counted(total, noun)}", also, left_out, by]))


def counted(count: int, noun: str) -> str:
    """Return *count* things, such as ``1 image`` or ``1,200 images``."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def guess_of(preprocess: str, source: str) -> dict[str, str]:
    """Return what was guessed of a model whose preprocessing is known by *source*."""
    return {"preprocessing": preprocess} if source == "guess" else {}


def shell(word: object) -> str:
    """Return *word* as an argument of a command line."""
    import shlex

    return shlex.quote(str(word))
