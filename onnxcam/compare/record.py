"""Record scores and raw maps of one model in a folder that `onnxcam compare` reads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from onnxcam.compare.device_runner import FORMAT, VERSION, DiskError, RecordingWriter, RunnerError
from onnxcam.compare.layer_recordings import record_layers
from onnxcam.compare.layers import MAX_IMAGES
from onnxcam.compare.observer import Observer, PreparedImage, require_classifier
from onnxcam.compare.outcome import ModelInfo, Outcome
from onnxcam.compare.recordings import Recording
from onnxcam.compare.tasks.classification import ClassScores, class_target
from onnxcam.compare.tasks.observation import Wanted
from onnxcam.errors import ImageError, OnnxcamError, OutputError, RecordingError, TargetError
from onnxcam.graph.io import load
from onnxcam.metadata.reserved import stamp_of
from onnxcam.preprocess import Spec
from onnxcam.progress import Progress, quiet
from onnxcam.targets.scores import TOP

__all__ = [
    "BATCH",
    "Recordable",
    "Recorded",
    "baked",
    "described",
    "header",
    "meaning_of",
    "open_model",
    "prepare_images",
    "record",
]

BATCH = 8  # images per pass


class Recordable(Protocol):
    """Model that can be recorded: an `Observer` or a `TFLiteObserver`."""

    @property
    def info(self) -> ModelInfo:
        """Description of the model for reports."""

    @property
    def class_names(self) -> Sequence[str] | None:
        """Names of the classes."""

    def index(self, target: int | str) -> int:
        """Return the index of class *target*."""

    def prepare(self, path: str | os.PathLike[str]) -> PreparedImage:
        """Read and preprocess an image."""

    def outcomes(
        self, prepared_images: Sequence[PreparedImage], wanted: Sequence[Wanted] | None = None
    ) -> list[Outcome]:
        """Return the outcome for each image."""


@dataclass(frozen=True)
class Recorded:
    """Result of `record`."""

    path: Path
    info: ModelInfo
    pictures: int
    unreadable: Sequence[tuple[str, str]] = field(default=())
    warnings: Sequence[str] = field(default=())
    damaged: str = ""  # warning if the resumed recording was damaged


def record(
    model: str | os.PathLike[str],
    images: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    method: str | None = None,
    *,
    layer: str | None = None,
    target: int | str = "top",
    classes_from: str | os.PathLike[str] | None = None,
    preprocess: Spec | None = None,
    labels: str | os.PathLike[str] | Sequence[str] | None = None,
    provider: str = "auto",
    settings: Mapping[str, Any] | None = None,
    strict: bool = False,
    layers: bool = False,
    progress: Progress = quiet,
) -> Recorded:
    """Record scores and raw maps of *model* for *images* in the folder *output*.

    An unfinished recording in *output* is resumed.

    Args:
        model: Path of an .onnx file (also baked) or of a .tflite file (`onnxcam.compare.tflite`).
        images: Paths of images.
        output: Recording folder (docs/recording.md).
        method: Explanation method; None: the baked one, otherwise gradcam.
        layer: As for `Explainer`.
        target: Class to explain: ``"top"`` (per image), an index or a label.
        classes_from: Recording; explain each image for the class used in it.
        preprocess: As for `Explainer`.
        labels: As for `Explainer`.
        provider: As for `Explainer`.
        settings: Settings of the method.
        strict: Raise on an unreadable image; otherwise skip it and report it.
        layers: Also record the layers for the first images, see `onnxcam.compare.layer_recordings`.
        progress: Progress callback, see `onnxcam.progress`.

    Raises:
        RecordingError: *output* holds another recording, or *classes_from* cannot be used.
        OnnxcamError: as for `Explainer`.

    Example:
        >>> record("int8.onnx", ["cat.jpg"], "run", classes_from="reference")
    """
    observer, meaning, warnings = open_model(model, method, layer, preprocess, labels, provider, settings or {})
    if layers and not isinstance(observer, Observer):
        raise RecordingError("--layers needs an .onnx file: the interpreter of a .tflite file shows no layers")
    choose = _chooser(observer, target, classes_from)
    bad: list[tuple[str, str]] = []
    try:
        writer = RecordingWriter(output, header(observer, meaning))
        try:
            _run(observer, images, writer, choose, None if strict else bad, progress)
            if not writer.pictures:
                raise ImageError(f"none of the {len(bad)} images can be read; the first: {bad[0][1]}")
            found = _layers(observer, writer, choose) if isinstance(observer, Observer) and layers else None
        except OnnxcamError as error:
            writer.leave()
            raise type(error)(f"{error}{_kept(writer, len(images))}") from error
        except BaseException:
            writer.leave()
            raise
        warnings = [*dict.fromkeys(warnings)]
        writer.close(bad, warnings, found)
    except DiskError as error:
        raise OutputError(str(error)) from None
    except RunnerError as error:
        raise RecordingError(str(error)) from None
    return Recorded(Path(output), observer.info, len(writer.pictures), bad, warnings, writer.damaged)


def open_model(
    model: str | os.PathLike[str],
    method: str | None,
    layer: str | None,
    preprocess: Spec | None,
    labels: Any,
    provider: str,
    settings: Mapping[str, Any],
) -> tuple[Recordable, dict[str, Any], list[str]]:
    """Open *model*; return it, the meaning of its scores, and its list of warnings."""
    if Path(model).suffix.lower() == ".tflite":
        from onnxcam.compare.tflite import TFLiteObserver

        lite = TFLiteObserver(Path(model), method or "gradcam", layer, preprocess, labels, settings)
        return lite, lite.meaning, lite.warnings
    stamp = baked(model)
    method, layer = method or stamp.get("method", "gradcam"), layer or stamp.get("layer")
    observer = Observer(model, method, layer, preprocess, labels, provider, settings)
    return observer, meaning_of(observer), observer.network.warnings


def baked(model: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the metadata that `bake` wrote into the model; empty if it is not baked."""
    return stamp_of(load(model).metadata_props)


def meaning_of(observer: Observer) -> dict[str, Any]:
    """Return the meaning of the scores, in the form of a recording."""
    scores = require_classifier(observer, "a recording").scores
    integer = any(
        y.dtype is not None and y.dtype.is_integer()
        for y in load(observer.model).graph.outputs
        if y.name == scores.output
    )
    known = not integer or (scores.output_units is not None and scores.output_units.known is not None)
    return {"head": scores.head, "exclusive": scores.are_exclusive(observer.network.multi_label), "known": known}


def header(observer: Recordable, meaning: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of ``recording.json`` except images and tensors."""
    names = observer.class_names
    return {
        "format": FORMAT,
        "version": VERSION,
        "model": asdict(observer.info),
        "scores": dict(meaning),
        "labels": None if names is None else list(names),
    }


def _chooser(
    observer: Recordable, target: int | str, classes_from: str | os.PathLike[str] | None
) -> Callable[[PreparedImage], int]:
    """Return a function that gives the class to explain for an image."""
    if classes_from is None:
        index = observer.index(target)
        return lambda _: index
    if target != "top":
        raise TargetError("--target and --classes-from exclude each other; give one")
    explained = Recording(classes_from).explained

    def choose(prepared: PreparedImage) -> int:
        if prepared.sha256 not in explained:
            raise RecordingError(
                f"'{classes_from}' has no image like {prepared.picture}; give the images that it was made of"
            )
        return explained[prepared.sha256]

    return choose


def prepare_images(
    observer: Recordable, images: Iterable[str | os.PathLike[str]], bad: list[tuple[str, str]] | None
) -> Iterator[PreparedImage]:
    """Yield the preprocessed images. Unreadable ones are added to *bad*; without it, they raise ImageError."""
    for image in images:
        try:
            prepared = observer.prepare(image)
        except ImageError as error:
            if bad is None:
                raise
            bad.append((os.fspath(image), str(error)))
        else:
            yield prepared


def _run(
    observer: Recordable,
    images: Sequence[str | os.PathLike[str]],
    writer: RecordingWriter,
    choose: Callable[[PreparedImage], int],
    bad: list[tuple[str, str]] | None,
    progress: Progress,
) -> None:
    """Write the outcomes of *observer* for *images*.

    A resumed run forms the same batches as the first one, because the outcome for an image may depend slightly on the
    other images of its batch (rounding, dynamic quantisation).
    """
    rest = iter(progress(images, len(images)))
    for _ in range(0, len(images), BATCH):
        batch = list(prepare_images(observer, islice(rest, BATCH), bad))
        there = [writer.already(described(prepared)) for prepared in batch]
        outcomes = [] if all(there) else observer.outcomes(batch, [_wanted(choose(prepared)) for prepared in batch])
        for outcome, known in zip(outcomes, there, strict=False):
            if not known:
                _add(writer, outcome)
    next(rest, None)


def _layers(observer: Observer, writer: RecordingWriter, choose: Callable[[PreparedImage], int]) -> dict[str, Any]:
    """Record the layers for the first images."""
    prepared = [observer.prepare(picture["name"]) for picture in writer.pictures[:MAX_IMAGES]]
    return record_layers(observer, [(one, choose(one)) for one in prepared], writer.folder)


def _kept(writer: RecordingWriter, total: int) -> str:
    """Return the end of an error message: how many images are kept."""
    count = len(writer.pictures)
    return f"; {count} of {total} images are kept in '{writer.folder}': repeat the command to resume" if count else ""


def _wanted(index: int) -> Wanted:
    return ["top" if index == TOP else class_target(index)]


def _add(writer: RecordingWriter, outcome: Outcome) -> None:
    assert isinstance(outcome.prediction, ClassScores)
    (one,) = outcome.maps
    writer.add({**described(outcome), "why": one.why}, outcome.prediction.scores, one.map, one.index or 0)


def described(seen: PreparedImage | Outcome) -> dict[str, Any]:
    """Return the entry of an image in a recording."""
    found: dict[str, Any] = {"name": seen.picture, "sha256": seen.sha256, "size": list(seen.size)}
    return found if seen.frame is None else {**found, "frame": list(astuple(seen.frame))}
