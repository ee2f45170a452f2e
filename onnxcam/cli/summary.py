"""What ``onnxcam explain`` tells of its results: the first one while it runs, and a summary at the end.

The summary: how many were explained, where they are, what was guessed, what to look at first, and what may come next.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from onnxcam.progress import Progress

__all__ = ["LONG", "lines", "telling_first"]

LONG = 5.0
"""Seconds after which a run tells of its first result."""


def telling_first(
    progress: Progress, done: Callable[[], Sequence[dict[str, Any]]], say: Callable[[str], None]
) -> Progress:
    """Return *progress* that also tells of the first of the entries *done*, if the run is long."""

    def told(items: Iterable[Any], total: int) -> Iterator[Any]:
        start, waits = time.monotonic(), True
        for item in progress(items, total):
            if waits and time.monotonic() - start >= LONG and (found := done()):
                waits = False
                say(f"first result: {found[0]['overlay'] or found[0]['raw']} ({found[0]['words']})")
            yield item

    return told


def lines(done: Sequence[dict[str, Any]], total: int, folder: Path, model: str) -> Iterator[str]:
    """Yield the lines of the summary of a run over *total* images, by the manifest's entries of what is *done*."""
    images = len({entry["image"] for entry in done})
    maps = "" if len(done) == images else f", {len(done):,} maps"
    left_out = f", {total - images:,} left out" if images < total else ""
    methods = ", ".join(dict.fromkeys(entry["method"] for entry in done))
    yield f"done: {images:,} of {_counted(total, 'image')}{maps}{left_out}, by {methods}, in {folder}{os.sep}"
    guesses = {
        name: part["value"] for entry in done for name, part in entry["reading"].items() if part["source"] == "guess"
    }
    if guesses:
        yield f"guessed: {'; '.join(f'{name} ({value})' for name, value in guesses.items())}"
    if len(done) > 1:
        yield _first(done)
    if "preprocessing" in guesses:
        yield f"next: state the preprocessing if the guess is right: -p '{guesses['preprocessing']}'"
    else:
        yield f"next: other targets: --top 3; other methods and layers: onnxcam inspect {model} --layers all"


def _first(done: Sequence[dict[str, Any]]) -> str:
    """Return which map to look at first: one with a warning that others do not have, else the least probable one."""
    common = set.intersection(*(set(entry["warnings"]) for entry in done))
    own = [entry for entry in done if set(entry["warnings"]) - common]
    known = [entry for entry in done if entry["probability"] is not None]
    entry = own[0] if own else min(known or done, key=lambda one: one["probability"] or 0.0)
    why = "it has a warning of its own" if own else "the least probable" if known else "the first"
    return f"look first at: {entry['overlay'] or entry['raw']} ({entry['words']}): {why}"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"
