"""The pipeline: results keep their order, memory is bounded, and what was asked is finished even after an error."""

from __future__ import annotations

import threading
import time

import pytest

from onnxcam import pipeline


def test_everything_is_loaded_asked_and_finished_in_order() -> None:
    asked: list[list[tuple[int, int]]] = []
    finished: list[int] = []

    def ask(batch: list[tuple[int, int]]) -> int | None:
        asked.append(batch)
        return None if batch[0][0] == 2 else sum(value for _, value in batch)

    pipeline.run([[0, 1], [2, 3], [4]], lambda number: number * 10, ask, finished.append, jobs=3)
    assert asked == [[(0, 0), (1, 10)], [(2, 20), (3, 30)], [(4, 40)]]
    assert finished == [10, 40]


def test_loading_is_a_few_items_ahead() -> None:
    loaded: list[int] = []
    seen: list[int] = []

    def ask(batch: list[tuple[int, None]]) -> None:
        time.sleep(0.01)
        seen.append(len(loaded) - batch[0][0])

    pipeline.run([[number] for number in range(30)], loaded.append, ask, lambda result: None, jobs=2)
    assert max(seen) <= 5


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_an_error_ends_it_after_the_results_before_are_finished(kind: type[BaseException]) -> None:
    finished: list[int] = []

    def ask(batch: list[tuple[int, int]]) -> int:
        if batch[0][0] == 3:
            raise kind
        return batch[0][0]

    def finish(result: int) -> None:
        time.sleep(0.05)
        finished.append(result)

    with pytest.raises(kind):
        pipeline.run([[number] for number in range(9)], lambda number: number, ask, finish, jobs=2, finishers=2)
    assert sorted(finished) == [0, 1, 2]
    assert threading.active_count() < 10


def test_an_error_of_a_thread_is_raised_here() -> None:
    def bad(number: int) -> int:
        if number == 2:
            raise ValueError("two")
        return number

    with pytest.raises(ValueError, match="two"):
        pipeline.run([[0], [1], [2]], bad, lambda batch: None, lambda result: None, jobs=2)
    with pytest.raises(ValueError, match="two"):
        pipeline.run([[0], [1], [2]], lambda number: number, lambda batch: batch[0][0], lambda n: void(bad(n)), jobs=2)


def void(value: object) -> None:
    """Take a value."""
