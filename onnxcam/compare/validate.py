"""Validate a candidate model against a reference model on images."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from onnxcam.compare.doubt import PROBED, try_inputs
from onnxcam.compare.journal import discarding
from onnxcam.compare.layers import MAX_IMAGES
from onnxcam.compare.observer import Observer
from onnxcam.compare.report.folder import refuse_finished
from onnxcam.compare.validation import Validation
from onnxcam.compare.validation_run import BATCH, ValidationRun
from onnxcam.graph.io import ModelLike
from onnxcam.metrics.truth import Truth
from onnxcam.paths import PathLike
from onnxcam.progress import Progress, Told, quiet, untold

__all__ = ["validate"]


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
    frames: int | str | None = None,
    layers: bool = False,
    progress: Progress = quiet,
    told: Told = untold,
    **options: Any,
) -> Validation:
    """Compare the predictions and explanations of two models on images.

    Both models explain the same class: the top class of the reference, unless *target* names another.

    Args:
        reference: Reference model: a path, bytes or an `onnx.ModelProto`; or an `Observer`, for options of its own such
            as another layer or preprocessing.
        candidate: Model to check against the reference, likewise; its classes have the same order.
        images: Files, folders, glob patterns or lists, see `onnxcam.media.image_files.files`. Duplicates count once.
            Of a video the *frames* are images.
        directory: Folder for the journal; the same call resumes an interrupted run there. None: a temporary journal.
        target: Class: ``"top"``, a class index or a label. A classifier explains it; of a detector or a segmentation
            only the objects of this class are compared and explained.
        truth: Ground truth, see `onnxcam.metrics.Truth`. Adds ``energy`` and, if it names classes, ``accuracy``.
        require: Requirements, see `onnxcam.compare.thresholds`; None: those of the task (docs/validate.md).
        strict: Raise on an unreadable image; otherwise skip it and report it.
        overwrite: Replace the contents of *directory*.
        batch_size: Images per pass.
        jobs: Threads that read images, at least 1. None: one per core, at most four.
        frames: Which frames of a video: so many, spread evenly, ``"stride=5"`` or ``"fps=2"``; None: 32.
        layers: Also compare layer by layer on the first images, see `onnxcam.compare.layers`.
        progress: Progress callback, see `onnxcam.progress`.
        told: Takes each comparison in words, as soon as it is there.
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
    if directory is not None:
        refuse_finished(Path(directory), overwrite)
    run = ValidationRun.of(
        reference,
        candidate,
        images,
        target=target,
        truth=truth,
        require=require,
        strict=strict,
        batch_size=batch_size,
        jobs=jobs,
        frames=frames,
        progress=progress,
        told=told,
        **options,
    )
    journal = run.compare(directory, overwrite)
    with discarding(journal):
        trials = try_inputs(run.task, [pair.picture for pair in journal[:PROBED]], run.scope.requirements)
        found = run.scope.conclude(journal, run.task.unreadable, run.warnings, trials)
        if layers:
            found.levels = run.layers([pair.picture for pair in journal[:MAX_IMAGES]])
    found.damaged = journal.damaged
    found.seconds = time.monotonic() - start
    return found
