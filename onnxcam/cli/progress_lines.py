"""Progress of a long run on stderr: a bar at a terminal, a line now and then in a pipe."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

__all__ = ["EVERY", "bar", "lines", "remaining"]

T = TypeVar("T")
EVERY = 30.0
"""Seconds between two lines in a pipe."""


def bar(items: Iterable[T], description: str, total: int, console: Console) -> Iterator[T]:
    """Yield *items* under a bar with their number, how many a second are done, and the time left."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield from progress.track(items, total=total, description=description)


class _Rate(ProgressColumn):
    """How many items a second are done."""

    def render(self, task: Task) -> Text:
        """Return the rate as text."""
        return Text("" if task.speed is None else _rate(task.speed))


def lines(
    items: Iterable[T], description: str, total: int, say: Callable[[str], None], now: Callable[[], float]
) -> Iterator[T]:
    """Yield *items*; say every `EVERY` seconds how many are done, how many a second, and the time left."""
    start = told = now()
    for done, item in enumerate(items):
        at = now()
        if done and at - told >= EVERY:
            told = at
            say(remaining(description, done, total, told - start))
        yield item


def remaining(description: str, done: int, total: int, seconds: float) -> str:
    """Return what is done after *seconds*, such as ``explaining: 120 of 4,000, 4.0/s, 16 min left``."""
    left = (total - done) * seconds / done
    words = f"{left:.0f} s" if left < 90 else f"{left / 60:.0f} min" if left < 5400 else f"{left / 3600:.1f} h"
    return f"{description}: {done:,} of {total:,}, {_rate(done / seconds)}, {words} left"


def _rate(speed: float) -> str:
    return f"{speed:.1f}/s" if speed >= 1 or not speed else f"{1 / speed:.1f} s each"
