"""What is known of a model before anything is explained: its picture, other inputs, tasks, labels, preprocessing."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam import preprocess as preparing
from onnxcam.engine import Session
from onnxcam.errors import ModelError
from onnxcam.graph.io import ModelLike, all_tensors, building
from onnxcam.media import image as pictures
from onnxcam.metadata.labels import ClassNames
from onnxcam.model import inputs as others
from onnxcam.model.blame import blaming
from onnxcam.model.inputs import Given
from onnxcam.model.modality import Medium, Pictures, Volumes
from onnxcam.model.prepared import Subject
from onnxcam.preprocess import Preprocess, Spec, TensorSpec
from onnxcam.structure.layout import Grid, picture_layout
from onnxcam.targets import Goal, Look, Target, Task, find_tasks, probability, resolve
from onnxcam.targets.classification import Classes


@dataclass
class Network:
    """A model as its user sees it; see `Explainer` for the arguments."""

    model: ModelLike
    provider: str = "auto"
    preprocess: Spec | None = None
    labels: str | os.PathLike[str] | Sequence[str] | None = None
    wrt: str | None = None
    given: Mapping[str, Given] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list, init=False)

    def open(self) -> Subject:
        """Open the model once more, to be edited."""
        with building(), blaming(self.model):
            return Subject.open(self.model, self.wrt)

    def read(self, subject: Subject) -> None:
        """Take in what *subject*, the model opened, tells."""
        with blaming(self.model):
            self._read(subject)

    def _read(self, subject: Subject) -> None:
        graph, self.image, self.asked = subject.model.graph, subject.image, subject.asked
        self.others = [value for value in graph.inputs if value is not subject.image]
        self.outputs = [value.name or "" for value in graph.outputs]
        path = Path(self.model) if isinstance(self.model, str | os.PathLike) else None
        self.names = ClassNames(self.labels, path, dict(subject.model.metadata_props))
        self.tasks = find_tasks(graph, subject.image, self.names)
        self._plain: dict[tuple[str, ...], Session] = {}

    @property
    def task(self) -> Task:
        """Return what the model does, as far as anybody can tell."""
        return self.tasks[0]

    @property
    def class_names(self) -> Sequence[str] | None:
        """Return the labels that targets may use."""
        return getattr(self.task, "labels", None)

    @property
    def picture(self) -> str:
        """Return the name of the picture input."""
        return self.image.name or ""

    @property
    def probability_outputs(self) -> list[str] | None:
        """Return the outputs that say how probable classes are; None where the model is no classifier."""
        return [self.task.scores.output] if isinstance(self.task, Classes) else None

    def probabilities(self, outputs: Mapping[str, NDArray[Any]], classes: NDArray[Any]) -> NDArray[np.float64] | None:
        """Return how probable each of *classes* [N] is; None for scores that are integers of unknown meaning."""
        assert isinstance(self.task, Classes)
        scores = self.task.scores
        if len(outputs[scores.output]) != len(classes):
            raise ModelError(
                f"output {scores.output!r} has {len(outputs[scores.output])} rows for {len(classes)} pictures; "
                "export the model with an open batch"
            )
        rows = zip(outputs[scores.output], classes, strict=True)
        found = [probability(scores, {scores.output: row}, int(index), self.multi_label) for row, index in rows]
        return None if None in found else np.asarray(found, np.float64)

    def parts(self, feeds: Mapping[str, NDArray[Any]]) -> list[str] | None:
        """Return the names of the asked input's parts, its words say, None for a picture."""
        if self.asked is self.image:
            return None
        name = self.asked.name or ""
        values, words = feeds[name].reshape(-1), self.names.card.vocabulary.get(name)
        return [words[int(i)] if words else f"{name}[{k}]" for k, i in enumerate(values)]

    @property
    def multi_label(self) -> bool:
        """Return whether the classes do not exclude each other."""
        return self.names.card.task == "multi-label"

    @property
    def layout(self) -> Grid | None:
        """Return the layout of the picture's tensor."""
        return picture_layout(self.image)

    @cached_property
    def preprocessing(self) -> Preprocess:
        """How pictures become tensors; read when the first picture comes."""
        found, warnings = self._preprocessing(self.image)
        self.warnings += warnings
        return found

    @cached_property
    def medium(self) -> Medium:
        """What the model looks at."""
        layout = self.layout
        if layout is None or len(layout.space) != 3:
            return Pictures(lambda: self.preprocessing)
        dtype = self.image.dtype.numpy() if self.image.dtype is not None else np.dtype(np.float32)
        return Volumes(layout, dtype, self.preprocess or self.names.card.preprocess, self.warnings.append)

    @cached_property
    def companions(self) -> dict[str, NDArray[Any]]:
        """The other inputs as far as they are given, [1, …] by name."""
        return self.read_inputs(self.given)

    def read_inputs(self, given: Mapping[str, Given]) -> dict[str, NDArray[Any]]:
        """Return *given* for other inputs as arrays, [1, …] by name."""
        return others.read(given, self.others, self.names.card.vocabulary, self._prepare_other)

    def feeds(self, tensor: NDArray[Any], extra: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return every input for the batch *tensor*: the other ones are repeated for each picture.

        *extra*, [1, …] or [N, …], stands above what was given. ModelError where an input is missing.
        """
        found = {**self.companions, **extra}
        others.missing(found, self.others)
        count = len(tensor)
        rows = {value.name or "": _repeated(found[value.name or ""], count) for value in self.others}
        return {self.picture: tensor, **rows}

    def resolve(self, target: Target, look: Look) -> Goal:
        """Return what *target* means in the picture of *look*."""
        return resolve(self.tasks, target, self.class_names, look)

    def look(self, tensor: NDArray[Any], picture: Any, extra: Mapping[str, NDArray[Any]]) -> Look:
        """Return the look at one *tensor* [1, …], made of *picture*, if of any."""
        layout = self.layout
        space = layout.space if layout is not None else tuple(range(1, tensor.ndim))
        frame = None if picture is None else self.medium.frame(picture)
        size = tuple(tensor.shape[axis] for axis in space) if picture is None else self.medium.size(picture)
        known = {**self.companions, **extra}
        blank = {
            value.name or "": np.zeros([d if isinstance(d, int) else 1 for d in value.shape or ()], value.dtype.numpy())
            for value in self.others
            if value.dtype is not None and value.name not in known and value.dtype.is_integer()
        }
        feeds = {self.picture: tensor, **blank, **known}
        return Look(feeds, self.picture, space, frame, size, self._run, self._prepare, self.medium.array)

    def _run(self, feeds: Mapping[str, NDArray[Any]], names: Sequence[str] | None) -> Mapping[str, NDArray[Any]]:
        """Run the plain model: its own outputs, or tensors inside it."""
        others.missing(feeds, self.others)
        key = tuple(names or ())
        if key not in self._plain:
            subject = self.open()
            if names:
                tensors = all_tensors(subject.model.graph)
                subject.model.graph.outputs[:] = [tensors[name] for name in names]
            self._plain[key] = Session(subject.model, self.provider)
        session = self._plain[key]
        return session.run({name: feeds[name] for name in session.inputs})

    def _prepare(self, picture: Any) -> NDArray[Any]:
        return self.medium.tensor(self.medium.read(picture))

    def _prepare_other(self, value: ir.Value, picture: Any) -> NDArray[Any]:
        return self._preprocessing(value)[0](pictures.read(picture))

    def _preprocessing(self, value: ir.Value) -> tuple[Preprocess, list[str]]:
        """Return how a picture becomes the input *value*, and what to say about it."""
        names, spec = self.names, TensorSpec.of(value)
        return preparing.resolve(self.preprocess, spec, path=names.path, metadata=names.metadata, graph_hint=value)


def _repeated(array: NDArray[Any], count: int) -> NDArray[Any]:
    return np.repeat(array, count, axis=0) if array.shape[:1] == (1,) and count > 1 else array
