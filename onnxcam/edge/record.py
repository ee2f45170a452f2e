"""Record what one model says of pictures, into a folder that `onnxcam compare` reads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from onnxcam.edge.device import FORMAT, VERSION, Trouble, Writer
from onnxcam.edge.observer import Observer, Shot
from onnxcam.edge.outcome import Outcome
from onnxcam.edge.recording import Recording
from onnxcam.edge.validation import Side
from onnxcam.errors import ImageError, RecordingError
from onnxcam.graph import load
from onnxcam.methods.passes import Progress, quiet
from onnxcam.preprocess import Spec

BATCH = 8  # pictures a run
BAKED = "onnxcam.baked"


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
        model: An .onnx file, also one that `bake` wrote; or a .tflite file (see `onnxcam.edge.tflite`).
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
    classes = None if classes_from is None else Recording(classes_from)
    watched, warnings = _watched(model, method, layer, preprocess, labels, provider, settings or {})
    choose = _chooser(watched, target, classes)
    bad: list[tuple[str, str]] = []
    try:
        writer = Writer(output, header(watched))
        try:
            shots = _shots(watched, progress(images, len(images)), writer.done, bad, strict=strict)
            for batch in _batches(shots):
                for outcome in watched.outcomes(batch, [choose(shot) for shot in batch]):
                    _add(writer, outcome)
        except BaseException:
            writer.leave()
            raise
        if not writer.pictures:
            raise ImageError(f"none of the {len(bad)} pictures can be read; the first: {bad[0][1]}")
        writer.close(bad)
    except Trouble as error:
        raise RecordingError(str(error)) from None
    return Recorded(Path(output), watched.side, len(writer.pictures), bad, [*dict.fromkeys(warnings())])


def header(watched: Watched) -> dict[str, Any]:
    """Return what ``recording.json`` says beside pictures and tensors."""
    names = watched.class_names
    return {
        "format": FORMAT,
        "version": VERSION,
        "model": asdict(watched.side),
        "scores": meaning(watched),
        "labels": None if names is None else list(names),
    }
