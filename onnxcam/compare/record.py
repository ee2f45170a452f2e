"""Record what one model says of pictures, into a folder that `onnxcam compare` reads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from onnxcam.compare.device_runner import FORMAT, VERSION, DiskTrouble, Trouble, Writer
from onnxcam.compare.observer import Observer, Shot
from onnxcam.compare.outcome import Outcome, Side
from onnxcam.compare.recordings import Recording
from onnxcam.errors import ImageError, OnnxcamError, OutputError, RecordingError, TargetError
from onnxcam.graph.io import load
from onnxcam.metadata.reserved import stamp_of
from onnxcam.preprocess import Spec
from onnxcam.progress import Progress, quiet

BATCH = 8  # pictures a run


class Watched(Protocol):
    """A model that says an outcome of each picture: an `Observer`, or a TFLite file's."""

    @property
    def side(self) -> Side:
        """The model, as reports print it."""

    @property
    def class_names(self) -> Sequence[str] | None:
        """The names of its classes."""

    def index(self, target: int | str) -> int:
        """Return the class that *target* means."""

    def shot(self, path: str | os.PathLike[str]) -> Shot:
        """Read and preprocess a picture."""

    def outcomes(self, shots: Sequence[Shot], classes: Sequence[int] | None = None) -> list[Outcome]:
        """Return what it says of each of *shots*."""


@dataclass(frozen=True)
class Recorded:
    """What `record` wrote."""

    path: Path
    side: Side
    pictures: int
    unreadable: Sequence[tuple[str, str]] = field(default=())
    warnings: Sequence[str] = field(default=())
    damaged: str = ""  # a warning where an unfinished recording was gone on with that was not as it was written


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
    progress: Progress = quiet,
) -> Recorded:
    """Write what *model* says of *images*, scores and raw maps, into the folder *output*.

    A folder with the beginning of the same recording is gone on with.

    Args:
        model: An .onnx file, also one that `bake` wrote; or a .tflite file (see `onnxcam.compare.tflite`).
        images: Pictures.
        output: The folder; docs/recording.md says what will be in it.
        method: The method's id; None: what was baked into the model, else gradcam.
        layer: As for `Explainer`.
        target: The class of the maps: ``"top"`` for each picture's own, an index or a label.
        classes_from: A recording: of each picture the class is explained that it explained.
        preprocess: As for `Explainer`.
        labels: As for `Explainer`.
        provider: As for `Explainer`.
        settings: Of the method.
        strict: Whether a picture that cannot be read is an error, in place of a note.
        progress: Wraps the pictures and their number.

    Raises:
        OnnxcamError: what `Explainer` raises; RecordingError for *output* or *classes_from*.

    Example:
        >>> record("int8.onnx", ["cat.jpg"], "run", classes_from="reference")
    """
    watched, meaning, warnings = watch(model, method, layer, preprocess, labels, provider, settings or {})
    choose = _chooser(watched, target, classes_from)
    bad: list[tuple[str, str]] = []
    try:
        writer = Writer(output, header(watched, meaning))
        try:
            _run(watched, images, writer, choose, None if strict else bad, progress)
            if not writer.pictures:
                raise ImageError(f"none of the {len(bad)} pictures can be read; the first: {bad[0][1]}")
        except OnnxcamError as error:
            writer.leave()
            raise type(error)(f"{error}{_kept(writer, len(images))}") from error
        except BaseException:
            writer.leave()
            raise
        warnings = [*dict.fromkeys(warnings)]
        writer.close(bad, warnings)
    except DiskTrouble as error:
        raise OutputError(str(error)) from None
    except Trouble as error:
        raise RecordingError(str(error)) from None
    return Recorded(Path(output), watched.side, len(writer.pictures), bad, warnings, writer.damaged)


def watch(
    model: str | os.PathLike[str],
    method: str | None,
    layer: str | None,
    preprocess: Spec | None,
    labels: Any,
    provider: str,
    settings: Mapping[str, Any],
) -> tuple[Watched, dict[str, Any], list[str]]:
    """Return *model*, ready to be recorded; what its scores are, and the list to which its warnings come."""
    if Path(model).suffix.lower() == ".tflite":
        from onnxcam.compare.tflite import TFLiteObserver

        lite = TFLiteObserver(Path(model), method or "gradcam", layer, preprocess, labels, settings)
        return lite, lite.meaning, lite.warnings
    told = baked(model)
    method, layer = method or told.get("method", "gradcam"), layer or told.get("layer")
    observer = Observer(model, method, layer, preprocess, labels, provider, settings)
    return observer, meaning_of(observer), observer.network.warnings


def baked(model: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what `bake` wrote into the model's metadata; nothing where it is not baked."""
    return stamp_of(load(model).metadata_props)


def meaning_of(observer: Observer) -> dict[str, Any]:
    """Return what the scores are, as recordings say it."""
    scores = observer.scores
    dtype = next(y.dtype for y in load(observer.model).graph.outputs if y.name == scores.output)
    integer = dtype is not None and dtype.is_integer()
    known = not integer or (scores.output_units is not None and scores.output_units.known is not None)
    return {"head": scores.head, "exclusive": observer.exclusive, "known": known}


def header(watched: Watched, meaning: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``recording.json`` says beside pictures and tensors."""
    names = watched.class_names
    return {
        "format": FORMAT,
        "version": VERSION,
        "model": asdict(watched.side),
        "scores": dict(meaning),
        "labels": None if names is None else list(names),
    }


def _chooser(watched: Watched, target: int | str, classes_from: str | os.PathLike[str] | None) -> Callable[[Shot], int]:
    """Return which class is explained of a shot."""
    if classes_from is None:
        index = watched.index(target)
        return lambda _: index
    if target != "top":
        raise TargetError("--target and --classes-from exclude each other; give one")
    explained = Recording(classes_from).explained

    def choose(shot: Shot) -> int:
        if shot.sha256 not in explained:
            raise RecordingError(
                f"'{classes_from}' has no picture like {shot.picture}; give the pictures that it was made of"
            )
        return explained[shot.sha256]

    return choose


def shots(
    watched: Watched, images: Iterable[str | os.PathLike[str]], bad: list[tuple[str, str]] | None
) -> Iterator[Shot]:
    """Yield the pictures; those that cannot be read go to *bad*, ImageError where that is None."""
    for image in images:
        try:
            shot = watched.shot(image)
        except ImageError as error:
            if bad is None:
                raise
            bad.append((os.fspath(image), str(error)))
        else:
            yield shot


def _run(
    watched: Watched,
    images: Sequence[str | os.PathLike[str]],
    writer: Writer,
    choose: Callable[[Shot], int],
    bad: list[tuple[str, str]] | None,
    progress: Progress,
) -> None:
    """Write what *watched* says of *images*.

    The pictures of a run are always the same ones, those that were written before among them: what a model says of one
    may depend on the others by a rounding, or by more where it is quantised on the way.
    """
    rest = iter(progress(images, len(images)))
    for _ in range(0, len(images), BATCH):
        batch = list(shots(watched, islice(rest, BATCH), bad))
        there = [writer.already(described(shot)) for shot in batch]
        outcomes = [] if all(there) else watched.outcomes(batch, [choose(shot) for shot in batch])
        for outcome, known in zip(outcomes, there, strict=False):
            if not known:
                _add(writer, outcome)
    next(rest, None)


def _kept(writer: Writer, total: int) -> str:
    """Return what became of the pictures done before an error."""
    count = len(writer.pictures)
    return f"; {count} of {total} pictures are kept in '{writer.folder}': the same command goes on" if count else ""


def _add(writer: Writer, outcome: Outcome) -> None:
    writer.add({**described(outcome), "why": outcome.why}, outcome.scores, outcome.map, outcome.target)


def described(seen: Shot | Outcome) -> dict[str, Any]:
    """Return what a recording says of the picture itself."""
    found: dict[str, Any] = {"name": seen.picture, "sha256": seen.sha256, "size": list(seen.size)}
    return found if seen.frame is None else {**found, "frame": list(astuple(seen.frame))}
