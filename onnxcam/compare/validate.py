"""Validate a candidate model against a reference model: decode, run and compare in parallel.

A few threads read and preprocess images ahead of the models, which run batch by batch; one more thread compares the
outcomes. Memory holds a few batches at a time.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from onnxcam.compare import checks
from onnxcam.compare.image_comparison import ImageComparison, compare_outcomes
from onnxcam.compare.journal import Journal
from onnxcam.compare.layers import MAX_IMAGES, compare_layers
from onnxcam.compare.object_masks import ImageObjects
from onnxcam.compare.observer import Observer, PreparedImage
from onnxcam.compare.outcome import Outcome
from onnxcam.compare.report.folder import JOURNAL, refuse_finished
from onnxcam.compare.summary import conclude
from onnxcam.compare.thresholds import DEFAULTS, parse
from onnxcam.compare.validation import Validation
from onnxcam.errors import ImageError, MetricError, OnnxcamError
from onnxcam.files import writing
from onnxcam.graph.io import ModelLike
from onnxcam.media import image as pictures
from onnxcam.metrics.evaluation import require_scipy
from onnxcam.metrics.truth import Truth
from onnxcam.numbers import largest_setting, parse_int
from onnxcam.progress import Progress, quiet
from onnxcam.targets.scores import TOP

__all__ = ["BATCH", "MAX_JOBS", "PathLike", "journal_in", "observing", "validate"]

PathLike: TypeAlias = "str | os.PathLike[str]"
T = TypeVar("T")
U = TypeVar("U")

BATCH = 8
MAX_JOBS = 256


def validate(
    reference: ModelLike | Observer,
    candidate: ModelLike | Observer,
    images: PathLike | Sequence[PathLike],
    directory: PathLike | None = None,
    *,
    target: int | str = "top",
    truth: PathLike | Truth | None = None,
    require: str = DEFAULTS,
    strict: bool = False,
    overwrite: bool = False,
    batch_size: int = BATCH,
    jobs: int | None = None,
    layers: bool = False,
    progress: Progress = quiet,
    **options: Any,
) -> Validation:
    """Compare the predictions and explanations of two models on images.

    Both models explain the same class: the top class of the reference, unless *target* names another.

    Args:
        reference: Reference model: a path, bytes or an `onnx.ModelProto`; or an `Observer`, for options of its own such
            as another layer or preprocessing.
        candidate: Model to check against the reference, likewise; its classes have the same order.
        images: Files, folders, glob patterns or lists, see `onnxcam.media.image_files.files`. Duplicates count once.
        directory: Folder for the journal; the same call resumes an interrupted run there. None: a temporary journal.
        target: Class to explain: ``"top"``, a class index or a label.
        truth: Ground truth, see `onnxcam.metrics.Truth`. Adds ``energy`` and, if it names classes, ``accuracy``.
        require: Requirements, see `onnxcam.compare.thresholds`.
        strict: Raise on an unreadable image; otherwise skip it and report it.
        overwrite: Replace the contents of *directory*.
        batch_size: Images per pass.
        jobs: Threads that read images, at least 1. None: one per core, at most four.
        layers: Also compare layer by layer on the first images, see `onnxcam.compare.layers`.
        progress: Progress callback, see `onnxcam.progress`.
        options: Options of both models, as for `Observer`: ``method``, ``layer``, ``preprocess``, ``labels``, …

    Raises:
        MetricError: the models cannot be compared, or *require* cannot be parsed.
        ImageError: no image can be read.
        OnnxcamError: as for `Observer`. If a model fails during the run, finished images are kept in *directory*.

    Example:
        >>> found = validate("float.onnx", "int8.onnx", "photos", "out", preprocess="imagenet")
        >>> found.passed, found.save("out")
    """
    start = time.monotonic()
    _counts(batch_size, jobs)
    require_scipy("validate", "edge")
    requirements = parse(require)
    if directory is not None:
        refuse_finished(Path(directory), overwrite)
    names, warnings = _pictures([images] if isinstance(images, str | os.PathLike) else images)
    known = Truth(truth) if isinstance(truth, str | os.PathLike) else truth
    first, second = (
        given if isinstance(given, Observer) else observing(side, given, **options)
        for side, given in (("reference", reference), ("candidate", candidate))
    )
    checks.require_comparable(first, second, requirements, known)
    task = _Task(first, second, known, first.index(target), strict)
    journal = journal_in(directory, _identity(task, names, target), overwrite, names)
    try:
        _run(task, names, journal, batch_size, jobs or min(4, os.cpu_count() or 1), progress)
    except OnnxcamError as error:
        raise type(error)(f"{error}{_kept(journal, len(names), directory)}") from error
    finally:
        journal.release()
    if not len(journal):
        raise ImageError(f"none of the {len(names)} pictures could be read; the first: {task.unreadable[0][1]}")
    warnings += [f"{side}: {one}" for side, seen in task.sides for one in seen.network.warnings]
    warnings += checks.preprocessing_warnings(first, second)
    labels = first.class_names or second.class_names
    found = conclude(first.info, second.info, journal, requirements, task.unreadable, warnings, labels)
    if layers:
        first_images = [pair.picture for pair in journal[:MAX_IMAGES]]
        found.levels = compare_layers(first, second, first_images, task.target)
    found.damaged = journal.damaged
    found.seconds = time.monotonic() - start
    return found


def _counts(batch_size: int, jobs: int | None) -> None:
    """Raise MetricError if either number is out of range."""
    for name, count, high in (
        ("batch size", batch_size, largest_setting("batch_size")),
        ("number of jobs", jobs, MAX_JOBS),
    ):
        if count is not None and parse_int(count, 1, high) is None:
            raise MetricError(f"the {name} is a whole number from 1 to {high}, not {count}")


@dataclass
class _Task:
    """Two models, and what to compare."""

    reference: Observer
    candidate: Observer
    truth: Truth | None
    target: int
    strict: bool
    unreadable: list[tuple[str, str]] = field(default_factory=list)

    @property
    def sides(self) -> list[tuple[str, Observer]]:
        return [("reference", self.reference), ("candidate", self.candidate)]

    def load(self, path: str) -> _Loaded | ImageError:
        """Read and preprocess an image for both models."""
        try:
            picture, sha256 = pictures.read_hashed(path)
        except ImageError as error:
            return error
        first = self.reference.prepare_decoded(path, picture, sha256)
        same = self.reference.network.preprocessing == self.candidate.network.preprocessing
        second = first if same else self.candidate.prepare_decoded(path, picture, sha256)
        return _Loaded((first, second), ImageObjects.of(self.truth, path, first.size))

    def ask(self, batch: Sequence[_Loaded]) -> list[tuple[Outcome, Outcome]]:
        """Return the outcomes of both models for *batch*; the candidate explains the class of the reference."""
        wanted = None if self.target == TOP else [self.target] * len(batch)
        first = _named(
            "reference", self.reference, lambda own: own.outcomes([x.prepared_images[0] for x in batch], wanted)
        )
        classes = [outcome.target for outcome in first]
        second = _named(
            "candidate", self.candidate, lambda own: own.outcomes([x.prepared_images[1] for x in batch], classes)
        )
        return list(zip(first, second, strict=True))

    def compare(self, loaded: _Loaded, reference: Outcome, candidate: Outcome) -> ImageComparison:
        """Compare two outcomes with each other and with the ground truth."""
        own = self.reference
        return compare_outcomes(
            reference, candidate, *loaded.objects.of_class(reference.target, own.classes, own.class_names)
        )


@dataclass(frozen=True)
class _Loaded:
    """One image, preprocessed for both models, and its annotated objects."""

    prepared_images: tuple[PreparedImage, PreparedImage]
    objects: ImageObjects


def _pictures(images: Sequence[PathLike]) -> tuple[list[str], list[str]]:
    """Return the image files without duplicates, and a warning about duplicates."""
    found = pictures.files(images)
    once = {os.path.realpath(name): name for name in reversed(found)}
    names = [name for name in dict.fromkeys(found) if once[os.path.realpath(name)] == name]
    twice = len(found) - len(names)
    return names, [f"{twice} of the {len(found)} pictures are duplicates; each counts once"] if twice else []


def observing(side: str, model: ModelLike, **options: Any) -> Observer:
    """Open *model*; errors name its *side*, "reference" or "candidate"."""
    try:
        return Observer(model, **options)
    except OnnxcamError as error:
        raise _of_side(side, model, error) from error


def _named(side: str, observer: Observer, ask: Callable[[Observer], T]) -> T:
    """Return the result of *ask*; errors name the side of the model."""
    try:
        return ask(observer)
    except OnnxcamError as error:
        raise _of_side(side, observer.model, error) from error


def _of_side(side: str, model: ModelLike, error: OnnxcamError) -> OnnxcamError:
    name = f" '{os.fspath(model)}'" if isinstance(model, str | os.PathLike) else ""
    return type(error)(f"the {side}{name}: {error}")


def _identity(task: _Task, names: Sequence[str], target: int | str) -> dict[str, Any]:
    """Return the identity of the validation: a journal resumes only if it is the same."""
    found: dict[str, Any] = {"target": str(target), "truth": None if task.truth is None else str(task.truth.path)}
    if task.truth is not None:
        found["mask values"] = task.truth.values
    for side, seen in task.sides:
        of = seen.info
        found |= {
            f"{side} {name}": getattr(of, name) for name in ("sha256", "method", "layer", "preprocess", "provider")
        }
        found[f"{side} settings"] = {name: str(value) for name, value in seen.settings.items()}
    digest = hashlib.sha256("\n".join(names).encode("utf-8", "surrogateescape")).hexdigest()
    return found | {"pictures": f"{len(names)} ({digest[:12]})"}


def journal_in(directory: PathLike | None, identity: dict[str, Any], overwrite: bool, names: Sequence[str]) -> Journal:
    """Open the journal in *directory*; without one, a temporary journal."""
    if directory is None:
        return Journal(None, identity)
    path = Path(directory) / JOURNAL
    with writing(directory, "into "):
        path.parent.mkdir(parents=True, exist_ok=True)
    return Journal(path, identity, overwrite=overwrite, names=names)


def _run(task: _Task, names: Sequence[str], journal: Journal, batch_size: int, jobs: int, progress: Progress) -> None:
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

        def finish(batch: Sequence[tuple[int, _Loaded]], outcomes: Sequence[tuple[Outcome, Outcome]]) -> None:
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
    task: _Task, names: Sequence[str], loaded: Iterable[tuple[int, _Loaded | ImageError]]
) -> Iterator[tuple[int, _Loaded]]:
    """Yield the readable images and collect the others; raise the error of one if *task* is strict."""
    for number, one in loaded:
        if not isinstance(one, ImageError):
            yield number, one
        elif task.strict:
            raise one
        else:
            task.unreadable.append((names[number], str(one)))


def _kept(journal: Journal, total: int, directory: PathLike | None) -> str:
    """Return the end of an error message: how many images are kept."""
    if not len(journal) or directory is None:
        return ""
    return f"; {len(journal)} of {total} pictures are done and kept in '{directory}': repeat the command to resume"
