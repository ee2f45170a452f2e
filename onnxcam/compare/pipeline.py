"""Run two models over images and compare the outcomes: decoding, inference and comparison in parallel.

A few threads read and preprocess images ahead of the models, which run batch by batch; one more thread compares the
outcomes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

from onnxcam import pipeline
from onnxcam.compare.array_inputs import is_array
from onnxcam.compare.image_comparison import ImageComparison, compare_outcomes
from onnxcam.compare.journal import Journal
from onnxcam.compare.object_masks import ImageObjects
from onnxcam.compare.observer import Observer, PreparedImage
from onnxcam.compare.outcome import Outcome
from onnxcam.errors import ImageError, OnnxcamError
from onnxcam.graph.io import ModelLike
from onnxcam.media import image as pictures
from onnxcam.metrics.truth import Truth
from onnxcam.progress import Progress, Told, untold, values_in_words

__all__ = ["LoadedImage", "ModelPair", "of_side", "run"]

T = TypeVar("T")


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
            if any(is_array(seen.network, path) for _, seen in self.sides):
                pair = self.reference.prepare(path), self.candidate.prepare(path)
                return LoadedImage(pair, ImageObjects.of(self.truth, path, pair[0].size))
            self.reference.network.signals.check_unused()
            self.reference.require_images(path)
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


_Batch: TypeAlias = "list[tuple[tuple[int, LoadedImage], tuple[Outcome, Outcome]]]"


def run(
    task: ModelPair,
    names: Sequence[str],
    batches: Sequence[range],
    journal: Journal,
    jobs: int,
    progress: Progress,
    told: Told = untold,
) -> None:
    """Compare the images with the numbers in *batches* that are not in *journal* yet, and add them.

    A resumed run forms the same batches as the first one, because the outcome for an image may depend slightly on the
    other images of its batch (rounding, dynamic quantisation). *told* takes each comparison in words.
    """
    done = frozenset(journal.done)
    batches = [batch for batch in batches if not done.issuperset(batch)]
    todo = [number for batch in batches for number in batch if number not in done]
    steps = iter(progress(todo, len(todo)))

    def ask(loaded: list[tuple[int, LoadedImage | ImageError]]) -> _Batch | None:
        batch = list(_readable(task, names, pipeline.ticked(steps, done, loaded)))
        if all(number in done for number, _ in batch):
            return None
        return list(zip(batch, task.ask([one for _, one in batch]), strict=True))

    def finish(batch: _Batch) -> None:
        for (number, one), pair in batch:
            if number not in done:
                found = task.compare(one, *pair)
                journal.add(number, found)
                told(f"{found.picture}: {values_in_words(found.values)}")

    pipeline.run(batches, lambda number: task.load(names[number]), ask, finish, jobs=jobs)
    next(steps, None)


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
