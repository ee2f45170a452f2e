"""Run two models over images and compare the outcomes: decoding, inference and comparison in parallel.

A few threads read and preprocess images ahead of the models, which run batch by batch; one more thread compares the
outcomes. Memory holds a few batches at a time.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

from onnxcam.compare.image_comparison import ImageComparison, compare_outcomes
from onnxcam.compare.journal import Journal
from onnxcam.compare.object_masks import ImageObjects
from onnxcam.compare.observer import Observer, PreparedImage
from onnxcam.compare.outcome import Outcome
from onnxcam.errors import ImageError, OnnxcamError
from onnxcam.graph.io import ModelLike
from onnxcam.media import image as pictures
from onnxcam.metrics.truth import Truth
from onnxcam.progress import Progress

__all__ = ["LoadedImage", "ModelPair", "of_side", "run"]

T = TypeVar("T")
U = TypeVar("U")


@dataclass
class ModelPair:
    """Two models, and what to compare."""

    reference: Observer
    candidate: Observer
    truth: Truth | None
    target: int | str
    strict: bool
    only: int | None = None  # the class that is compared alone, of detectors and segmentations
    unreadable: list[tuple[str, str]] = field(default_factory=list)

    @property
    def sides(self) -> list[tuple[str, Observer]]:
        """Both models, with the names of their sides."""
        return [("reference", self.reference), ("candidate", self.candidate)]

    def load(self, path: str) -> LoadedImage | ImageError:
        """Read and preprocess an image for both models."""
        try:
            picture, sha256 = pictures.read_hashed(path, self.reference.network.warn)
        except ImageError as error:
            return error
        first = self.reference.prepare_decoded(path, picture, sha256)
        same = self.reference.network.preprocessing == self.candidate.network.preprocessing
        second = first if same else self.candidate.prepare_decoded(path, picture, sha256)
        return LoadedImage((first, second), ImageObjects.of(self.truth, path, first.size))

    def ask(self, batch: Sequence[LoadedImage]) -> list[tuple[Outcome, Outcome]]:
        """Return the outcomes of both models for *batch*; the candidate explains the class of the reference."""
        given = self.target == "top" or self.only is not None
        wanted = None if given else [[str(self.target)]] * len(batch)
        first = _named(
            "reference",
            self.reference,
            lambda own: own.outcomes([x.prepared_images[0] for x in batch], wanted, self.only),
        )
        same = [self.candidate.same(outcome) for outcome in first]
        second = _named(
            "candidate",
            self.candidate,
            lambda own: own.outcomes([x.prepared_images[1] for x in batch], same, self.only),
        )
        return list(zip(first, second, strict=True))

    def compare(self, loaded: LoadedImage, reference: Outcome, candidate: Outcome) -> ImageComparison:
        """Compare two outcomes with each other and with the ground truth."""
        own = self.reference
        truth = loaded.objects.of_outcome(reference, own.classes, own.class_names)
        return compare_outcomes(reference, candidate, *truth, names=own.class_names or self.candidate.class_names)


@dataclass(frozen=True)
class LoadedImage:
    """One image, preprocessed for both models, and its annotated objects."""

    prepared_images: tuple[PreparedImage, PreparedImage]
    objects: ImageObjects


def run(
    task: ModelPair, names: Sequence[str], journal: Journal, batch_size: int, jobs: int, progress: Progress
) -> None:
    """Compare all images that are not in *journal* yet, and add them.

    A resumed run forms the same batches as the first one, because the outcome for an image may depend slightly on the
    other images of its batch (rounding, dynamic quantisation).
    """
    done = frozenset(journal.done)
    batches = [range(start, min(start + batch_size, len(names))) for start in range(0, len(names), batch_size)]
    batches = [batch for batch in batches if not done.issuperset(batch)]
    work = [number for batch in batches for number in batch]
    todo = [number for number in work if number not in done]
    with (
        ThreadPoolExecutor(jobs, "decode") as readers,
        ThreadPoolExecutor(1, "compare") as comparer,
        closing(_ahead(readers, lambda number: task.load(names[number]), work, batch_size + jobs)) as loaded,
    ):
        ticked = _ticked(progress(todo, len(todo)), done, zip(work, loaded, strict=False))

        def finish(batch: Sequence[tuple[int, LoadedImage]], outcomes: Sequence[tuple[Outcome, Outcome]]) -> None:
            for (number, one), pair in zip(batch, outcomes, strict=True):
                if number not in done:
                    journal.add(number, task.compare(one, *pair))

        waiting: deque[Future[None]] = deque()
        try:
            for numbers in batches:
                batch = list(_readable(task, names, islice(ticked, len(numbers))))
                if any(number not in done for number, _ in batch):
                    waiting.append(comparer.submit(finish, batch, task.ask([one for _, one in batch])))
                while len(waiting) > 2:
                    waiting.popleft().result()
        finally:
            for each in waiting:
                each.result()


def _ticked(ticks: Iterable[int], done: Collection[int], items: Iterable[tuple[int, T]]) -> Iterator[tuple[int, T]]:
    """Yield *items*; advance *ticks*, a progress bar, for each item that is not *done*."""
    steps = iter(ticks)
    for number, item in items:
        if number not in done:
            next(steps)
        yield number, item
    deque(steps, 0)


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


def _readable(
    task: ModelPair, names: Sequence[str], loaded: Iterable[tuple[int, LoadedImage | ImageError]]
) -> Iterator[tuple[int, LoadedImage]]:
    """Yield the readable images and collect the others; raise the error of one if *task* is strict."""
    for number, one in loaded:
        if not isinstance(one, ImageError):
            yield number, one
        elif task.strict:
            raise one
        else:
            task.unreadable.append((names[number], str(one)))


def _named(side: str, observer: Observer, ask: Callable[[Observer], T]) -> T:
    """Return the result of *ask*; errors name the side of the model."""
    try:
        return ask(observer)
    except OnnxcamError as error:
        raise of_side(side, observer.model, error) from error


def of_side(side: str, model: ModelLike, error: OnnxcamError) -> OnnxcamError:
    """Return *error* with a message that names the side of its model."""
    name = f" '{os.fspath(model)}'" if isinstance(model, str | os.PathLike) else ""
    return type(error)(f"the {side}{name}: {error}")
