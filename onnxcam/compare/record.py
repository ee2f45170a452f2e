"""Record predictions and raw maps of one model in a folder that `onnxcam compare` reads."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from onnxcam import files
from onnxcam.compare.device_runner import (
    DONE,
    FORMAT,
    OBJECTS_VERSION,
    PART,
    TENSORS,
    VERSION,
    DiskError,
    RecordingWriter,
    RunnerError,
)
from onnxcam.compare.layer_recordings import FILE as LAYERS
from onnxcam.compare.layer_recordings import record_layers
from onnxcam.compare.layers import MAX_IMAGES
from onnxcam.compare.observer import Observer, PreparedImage, require_classifier
from onnxcam.compare.outcome import ModelInfo, Outcome, Prediction
from onnxcam.compare.recorded_objects import object_entry
from onnxcam.compare.recordings import Recording
from onnxcam.compare.tasks.classification import ClassScores, class_target
from onnxcam.compare.tasks.embedding import EmbeddingPrediction
from onnxcam.compare.tasks.observation import Wanted
from onnxcam.decoders.files import has_parts
from onnxcam.deprecation import takes_old_names
from onnxcam.errors import ImageError, MetricError, OnnxcamError, OutputError, RecordingError, TargetError
from onnxcam.graph.io import load
from onnxcam.hub import local
from onnxcam.metadata.reserved import stamp_of
from onnxcam.methods.base import AUTO
from onnxcam.preprocess import Spec
from onnxcam.progress import Progress, Told, quiet, untold

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

    @property
    def prediction(self) -> type[Prediction]:
        """Type of the predictions."""

    def check(self, target: int | str) -> None:
        """Raise TargetError if no image can have the *target*."""

    def same(self, outcome: Outcome) -> Wanted:
        """Return the targets that mean what *outcome* of another model explains."""

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


@takes_old_names(classes_from="explain_from")
def record(
    model: str | os.PathLike[str],
    images: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    method: str | None = None,
    *,
    layer: str | None = None,
    target: int | str = "top",
    explain_from: str | os.PathLike[str] | None = None,
    preprocess: Spec | None = None,
    labels: str | os.PathLike[str] | Sequence[str] | None = None,
    provider: str = "auto",
    settings: Mapping[str, Any] | None = None,
    strict: bool = False,
    layers: bool = False,
    overwrite: bool = False,
    text_model: str | os.PathLike[str] | None = None,
    tokenizer: str | os.PathLike[str] | None = None,
    progress: Progress = quiet,
    told: Told = untold,
) -> Recorded:
    """Record predictions and raw maps of *model* for *images* in the folder *output*.

    An unfinished recording in *output* is resumed.

    Args:
        model: Path of an .onnx file (also baked) or of a .tflite file (`onnxcam.compare.tflite`).
        images: Paths of images.
        output: Recording folder (docs/recording.md).
        method: Explanation method; None: the baked one, otherwise that of the task.
        layer: As for `Explainer`.
        target: Class to explain: ``"top"`` (per image), an index or a label; of an embedding a comparison such as
            ``like="a dog"``; for other tasks ``"top"``.
        explain_from: Recording; explain in each image what is explained in it: the class, the objects, ….
        preprocess: As for `Explainer`.
        labels: As for `Explainer`.
        provider: As for `Explainer`.
        settings: Settings of the method.
        strict: Raise on an unreadable image; otherwise skip it and report it.
        text_model: As for `Explainer`, likewise *tokenizer*.
        layers: Also record the layers for the first images, see `onnxcam.compare.layer_recordings`.
        overwrite: Replace the recording in *output*.
        progress: Progress callback, see `onnxcam.progress`.
        told: Takes each outcome in words, as soon as it is there.

    Raises:
        RecordingError: *output* holds another recording, or *explain_from* cannot be used.
        OnnxcamError: as for `Explainer`.

    Example:
        >>> record("int8.onnx", ["cat.jpg"], "run", explain_from="reference")
    """
    texts = {"text_model": text_model, "tokenizer": tokenizer}
    observer, meaning, warned = open_model(model, method, layer, preprocess, labels, provider, settings or {}, **texts)
    if layers and not isinstance(observer, Observer):
        raise RecordingError("--layers needs an .onnx file: the interpreter of a .tflite file shows no layers")
    if layers and isinstance(observer, Observer):
        require_classifier(observer, "--layers")
    choice = _Selection.of(observer, target, explain_from)
    bad: list[tuple[str, str]] = []
    if overwrite:
        if choice.recording is not None and files.is_same(choice.recording.folder, output):
            raise RecordingError(f"'{output}' is read by --explain-from; choose another folder with -o")
        _remove(Path(output))
    try:
        writer = RecordingWriter(output, header(observer, meaning, choice.explains, choice.stated))
        try:
            _run(observer, images, writer, choice, None if strict else bad, progress, told)
            if not writer.pictures:
                raise ImageError(f"none of the {len(bad)} images can be read; the first: {bad[0][1]}")
            found = _layers(observer, writer, choice) if isinstance(observer, Observer) and layers else None
        except OnnxcamError as error:
            writer.leave()
            raise type(error)(f"{error}{_kept(writer, len(images))}") from error
        except BaseException:
            writer.leave()
            raise
        warned = [*dict.fromkeys(warned)]
        writer.close(bad, warned, found)
    except DiskError as error:
        raise OutputError(str(error)) from None
    except RunnerError as error:
        raise RecordingError(str(error)) from None
    return Recorded(Path(output), observer.info, len(writer.pictures), bad, warned, writer.damaged)


def _remove(folder: Path) -> None:
    """Remove the recording in *folder*, if there is one; other files stay."""
    with files.writing(folder, "into "):
        for name in (DONE, PART, LAYERS, *(f"{kind}.bin" for kinds in TENSORS.values() for kind in kinds)):
            (folder / name).unlink(missing_ok=True)


def open_model(
    model: str | os.PathLike[str],
    method: str | None,
    layer: str | None,
    preprocess: Spec | None,
    labels: Any,
    provider: str,
    settings: Mapping[str, Any],
    **texts: Any,
) -> tuple[Recordable, dict[str, Any], list[str]]:
    """Open *model*; return it, the meaning of its scores if it is a classifier, and its list of warnings."""
    if local(model).suffix.lower() == ".tflite":
        from onnxcam.compare.tflite import TFLiteObserver

        if any(texts.values()):
            raise TargetError(
                "a text compares with the embedding of an image, and .tflite files are read as classifiers; leave out "
                "--text-model and --tokenizer (text_model=, tokenizer=)"
            )
        lite = TFLiteObserver(local(model), method or "gradcam", layer, preprocess, labels, settings)
        return lite, lite.meaning, lite.warnings
    stamp = baked(model)
    method, layer = method or stamp.get("method", AUTO), layer or stamp.get("layer")
    observer = Observer(model, method, layer, preprocess, labels, provider, settings, **texts)
    meaning = meaning_of(observer) if observer.prediction is ClassScores else {}
    return observer, meaning, observer.network.warnings


def baked(model: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the metadata that `bake` wrote into the model; empty if it is not baked."""
    return {} if has_parts(model) else stamp_of(load(model).metadata_props)


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


def header(
    observer: Recordable, meaning: Mapping[str, Any], explains: str = "", target: str | None = "top"
) -> dict[str, Any]:
    """Return the content of ``recording.json`` except images and tensors.

    Classifiers have version 1, which old readers know. *explains* is the seal of the recording whose objects are
    explained; empty if there is none. *target* is what is explained in each image; None if it is not the same.
    """
    stated = {} if target is None else {"target": target}
    names = observer.class_names
    model, labels = asdict(observer.info), None if names is None else list(names)
    if observer.prediction is ClassScores:
        scores = {"scores": dict(meaning), "labels": labels, **stated}
        return {"format": FORMAT, "version": VERSION, "model": model, **scores}
    task = observer.prediction.task
    if not observer.prediction.forms:
        raise MetricError(f"predictions of {task} cannot be recorded yet; compare the models with `onnxcam validate`")
    found = {"format": FORMAT, "version": OBJECTS_VERSION, "task": task, "model": model, "labels": labels}
    return {**found, **stated, **({"explains": explains} if explains else {})}


@dataclass(frozen=True)
class _Selection:
    """What to explain: a *target*, or in each image the objects that a *recording* explains."""

    observer: Recordable
    target: int | str
    recording: Recording | None
    rows: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, observer: Recordable, target: int | str, explain_from: str | os.PathLike[str] | None) -> _Selection:
        """Check *target* and the recording *explain_from*."""
        if explain_from is None:
            observer.check(target)
            return cls(observer, target, None)
        if target != "top":
            raise TargetError("--target and --explain-from exclude each other; give one")
        recording = Recording(explain_from)
        tasks = observer.prediction.task, recording.prediction.task
        if tasks[0] != tasks[1]:
            raise RecordingError(f"'{recording.name}' is of a model for {tasks[1]}, this model is one for {tasks[0]}")
        if recording.prediction is EmbeddingPrediction:
            for explained in recording[0].maps:
                observer.check(explained.target)
        return cls(observer, target, recording, {one["sha256"]: row for row, one in enumerate(recording.pictures)})

    @property
    def explains(self) -> str:
        """Seal of the recording whose objects are explained; empty if there is none."""
        return "" if self.recording is None else self.recording.explains

    @property
    def stated(self) -> str | None:
        """The target of all images; None if a recording says what is explained."""
        return str(self.target) if self.recording is None else None

    def wanted(self, images: Sequence[PreparedImage]) -> list[Wanted] | None:
        """Return what to explain in each of *images*; None: the best."""
        if self.recording is not None:
            return [self.observer.same(self._outcome(one)) for one in images]
        if self.target == "top":
            return None
        target = self.target if isinstance(self.target, str) else class_target(self.target)
        return [[target]] * len(images)

    def _outcome(self, prepared: PreparedImage) -> Outcome:
        assert self.recording is not None
        if prepared.sha256 not in self.rows:
            raise RecordingError(
                f"'{self.recording.name}' has no image like {prepared.picture}; give the images that it was made of"
            )
        return self.recording[self.rows[prepared.sha256]]


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
    choice: _Selection,
    bad: list[tuple[str, str]] | None,
    progress: Progress,
    told: Told,
) -> None:
    """Write the outcomes of *observer* for *images*.

    A resumed run forms the same batches as the first one, because the outcome for an image may depend slightly on the
    other images of its batch (rounding, dynamic quantisation).
    """
    rest = iter(progress(images, len(images)))
    for _ in range(0, len(images), BATCH):
        batch = list(prepare_images(observer, islice(rest, BATCH), bad))
        there = [writer.already(described(prepared)) for prepared in batch]
        outcomes = [] if all(there) else observer.outcomes(batch, choice.wanted(batch))
        for outcome, known in zip(outcomes, there, strict=False):
            if not known:
                _add(writer, outcome)
                told(f"{outcome.picture}: {outcome.prediction.answer(observer.class_names).words}")
    next(rest, None)


def _layers(observer: Observer, writer: RecordingWriter, choice: _Selection) -> dict[str, Any]:
    """Record the layers for the first images."""
    prepared = [observer.prepare(picture["name"]) for picture in writer.pictures[:MAX_IMAGES]]
    wanted = choice.wanted(prepared) or [["top"]] * len(prepared)
    targets = [observer.index(str(one)) for (one,) in wanted]
    return record_layers(observer, [*zip(prepared, targets, strict=True)], writer.folder)


def _kept(writer: RecordingWriter, total: int) -> str:
    """Return the end of an error message: how many images are kept."""
    count = len(writer.pictures)
    return f"; {count} of {total} images are kept in '{writer.folder}': repeat the command to resume" if count else ""


def _add(writer: RecordingWriter, outcome: Outcome) -> None:
    if not isinstance(outcome.prediction, ClassScores):
        objects = [object_entry(one) for one in outcome.maps]
        told = outcome.prediction.shared if writer.pictures else ()
        arrays = {name: array for name, array in outcome.prediction.arrays().items() if name not in told}
        writer.add_objects(described(outcome), arrays, objects)
        return
    (one,) = outcome.maps
    writer.add({**described(outcome), "why": one.why}, outcome.prediction.scores, one.map, one.index or 0)


def described(seen: PreparedImage | Outcome) -> dict[str, Any]:
    """Return the entry of an image in a recording."""
    found: dict[str, Any] = {"name": seen.picture, "sha256": seen.sha256, "size": list(seen.size)}
    if seen.spacing is not None:
        found["spacing"] = list(seen.spacing)
    return found if seen.frame is None else {**found, "frame": list(seen.frame.corners)}
