"""Work on many images side by side: threads load images ahead, this thread runs models, threads finish the results.

Memory holds a few batches at a time.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from typing import TypeVar

__all__ = ["default_jobs", "run", "ticked"]

T = TypeVar("T")
U = TypeVar("U")
V = TypeVar("V")


def default_jobs() -> int:
    """Return the number of threads that load images: one per core, at most 4."""
    return min(4, os.cpu_count() or 1)


def run(
    batches: Sequence[Sequence[T]],
    load: Callable[[T], U],
    ask: Callable[[list[tuple[T, U]]], V | None],
    finish: Callable[[V], None],
    *,
    jobs: int,
    finishers: int = 1,
) -> None:
    """Load each item, ask for the results of each batch, and finish them.

    After an error or a signal, the results of the batches before are still finished.

    Args:
        batches: The items, in batches.
        load: Loads an item, in one of *jobs* threads, ahead.
        ask: Returns the result of a batch of loaded items; called in this thread, in order. None: nothing to finish.
        finish: Finishes a result, in one of *finishers* threads; with one thread, in order.
        jobs: Number of threads that load.
        finishers: Number of threads that finish.
    """
    items = [item for batch in batches for item in batch]
    ahead = max(map(len, batches), default=0) + jobs
    with (
        ThreadPoolExecutor(jobs, "load") as loaders,
        ThreadPoolExecutor(finishers, "finish") as finishing,
        closing(_ahead(loaders, load, items, ahead)) as loaded,
    ):
        waiting: deque[Future[None]] = deque()
        try:
            for batch in batches:
                result = ask(list(zip(batch, islice(loaded, len(batch)), strict=True)))
                if result is not None:
                    waiting.append(finishing.submit(finish, result))
                while len(waiting) > finishers + 1:
                    waiting.popleft().result()
        finally:
            for each in waiting:
                each.result()


def ticked(ticks: Iterable[T], done: Collection[T], items: Iterable[tuple[T, U]]) -> Iterator[tuple[T, U]]:
    """Yield *items*; advance *ticks*, a progress bar, for each item that is not *done*."""
    steps = iter(ticks)
    for number, item in items:
        if number not in done:
            next(steps, None)
        yield number, item


def _ahead(
    pool: ThreadPoolExecutor, function: Callable[[T], U], items: Iterable[T], count: int
) -> Generator[U, None, None]:
    """Yield *function* of each item in order; *pool* computes up to *count* results ahead."""
    rest = iter(items)
    waiting = deque(pool.submit(function, item) for item in islice(rest, count))
    try:
        while waiting:
            found = waiting.popleft().result()
            waiting.extend(pool.submit(function, item) for item in islice(rest, 1))
            yield found
    finally:
        for each in waiting:
            each.cancel()
