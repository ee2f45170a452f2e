"""Validate a candidate model against a reference model on images."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from onnxcam.compare import checks
from onnxcam.compare.agreement import MAP_METRICS
from onnxcam.compare.doubt import PROBED, find_doubt
from onnxcam.compare.image_comparison import ImageComparison
from onnxcam.compare.inputs import InputDifference, difference, settle
from onnxcam.compare.journal import Journal, open_journal
from onnxcam.compare.layers import MAX_IMAGES, compare_layers
from onnxcam.compare.observer import Observer, require_classifier
from onnxcam.compare.pipeline import ModelPair, of_side, run
from onnxcam.compare.report.folder import refuse_finished
from onnxcam.compare.summary import completed, conclude, summarise
from onnxcam.compare.thresholds import Requirement, parse
from onnxcam.compare.validation import Validation
from onnxcam.errors import ImageError, MetricError, OnnxcamError
from onnxcam.graph.io import ModelLike
from onnxcam.media import image as pictures
from onnxcam.metrics.evaluation import require_scipy
from onnxcam.metrics.truth import Truth
from onnxcam.numbers import largest_setting, parse_int
from onnxcam.paths import PathLike
from onnxcam.pipeline import default_jobs
from onnxcam.progress import Progress, quiet

__all__ = ["BATCH", "MAX_JOBS", "observing", "validate"]

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
    require: str | None = None,
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
        target: Class: ``"top"``, a class index or a label. A classifier explains it; of a detector or a segmentation
            only the objects of this class are compared and explained.
        truth: Ground truth, see `onnxcam.metrics.Truth`. Adds ``energy`` and, if it names classes, ``accuracy``.
        require: Requirements, see `onnxcam.compare.thresholds`; None: those of the task (docs/validate.md).
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
    stated = None if require is None else parse(require)
    if directory is not None:
        refuse_finished(Path(directory), overwrite)
    names, warnings = _pictures([images] if isinstance(images, str | os.PathLike) else images)
    known = Truth(truth) if isinstance(truth, str | os.PathLike) else truth
    first, second = (
        given if isinstance(given, Observer) else observing(side, given, **options)
        for side, given in (("reference", reference), ("candidate", candidate))
    )
    requirements = parse(first.prediction.defaults) if stated is None else stated
    checks.require_comparable(first, second, requirements, known)
    only = first.only(target)
    if first.maps != second.maps:
        raise MetricError(
            f"maps come from {first.maps} of the reference and {second.maps} of the candidate: choose one"
        )
    warnings += settle(first, second)
    if first.reads_outputs or second.reads_outputs:  # both alike
        first.read_outputs()
        second.read_outputs()
    task = ModelPair(first, second, known, target, strict, only)
    journal = open_journal(directory, _identity(task, names, target), overwrite, names)
    try:
        several = 1 if first.black_box or second.black_box else batch_size  # a map takes long: each image is kept
        run(task, names, journal, several, jobs or default_jobs(), progress)
    except OnnxcamError as error:
        raise type(error)(f"{error}{_kept(journal, len(names), directory)}") from error
    finally:
        journal.release()
    if not len(journal):
        raise ImageError(f"none of the {len(names)} images could be read; the first: {task.unreadable[0][1]}")
    if only is not None and not any(pair.objects for pair in journal):
        raise MetricError(
            f"the reference finds no object of class {target!r} in any of the {len(journal)} images: nothing can be "
            "compared; give images that hold one, or leave --target out"
        )
    warnings += [f"{side}: {one}" for side, seen in task.sides for one in seen.network.warnings]
    differing = _input_difference(task, journal)
    labels = first.class_names or second.class_names
    found = conclude(
        first.info,
        second.info,
        journal,
        requirements,
        task.unreadable,
        warnings,
        labels,
        first.prediction,
        known,
        only,
    )
    of_images = [requirement for requirement in requirements if not requirement.total]
    found.doubt = _doubt(task, journal[:PROBED], of_images, differing, found.meets)
    if differing is not None and not found.doubt:
        found.warnings = [*found.warnings, differing.warning]
    if layers:
        require_classifier(first, "--layers")
        first_images = [pair.picture for pair in journal[:MAX_IMAGES]]
        found.levels = compare_layers(first, second, first_images, first.index(target))
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


def _pictures(images: Sequence[PathLike]) -> tuple[list[str], list[str]]:
    """Return the image files without duplicates, and a warning about duplicates."""
    found = pictures.files(images)
    once = {os.path.realpath(name): name for name in reversed(found)}
    names = [name for name in dict.fromkeys(found) if once[os.path.realpath(name)] == name]
    twice = len(found) - len(names)
    return names, [f"{twice} of the {len(found)} images are duplicates; each counts once"] if twice else []


def observing(side: str, model: ModelLike, **options: Any) -> Observer:
    """Open *model*; errors name its *side*, "reference" or "candidate"."""
    try:
        return Observer(model, **options)
    except OnnxcamError as error:
        raise of_side(side, model, error) from error


def _input_difference(task: ModelPair, journal: Journal) -> InputDifference | None:
    """Compare the inputs of both models for the first image."""
    return difference(task.reference, task.candidate, pictures.read(journal[0].picture))


def _doubt(
    task: ModelPair,
    probed: Sequence[ImageComparison],
    requirements: Sequence[Requirement],
    differing: InputDifference | None,
    holds: bool,
) -> str:
    """Return why the verdict is in doubt; *probed* are the first comparisons."""
    if task.reference.black_box:  # other preprocessings are tried on the predictions alone: maps take too long
        requirements = [one for one in requirements if one.metric not in MAP_METRICS]
    summaries = summarise(completed(probed, task.reference.prediction))
    present = all(requirement.verdict(summaries).holds for requirement in requirements)
    with _without_maps(task) if task.reference.black_box else nullcontext():
        return find_doubt(task, [pair.picture for pair in probed], requirements, differing, present, holds)


@contextmanager
def _without_maps(task: ModelPair) -> Iterator[None]:
    """Let both models explain nothing."""
    before = [(seen, seen.objects) for _, seen in task.sides]
    try:
        for seen, _ in before:
            seen.objects = 0
        yield
    finally:
        for seen, count in before:
            seen.objects = count


def _identity(task: ModelPair, names: Sequence[str], target: int | str) -> dict[str, Any]:
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


def _kept(journal: Journal, total: int, directory: PathLike | None) -> str:
    """Return the end of an error message: how many images are kept."""
    if not len(journal) or directory is None:
        return ""
    return f"; {len(journal)} of {total} images are done and kept in '{directory}': repeat the command to resume"
