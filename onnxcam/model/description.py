"""What is known of a model before anything is explained: its inputs, tasks, labels and preprocessing."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from onnxcam.engine import Session
from onnxcam.errors import PreprocessError
from onnxcam.graph.cache import GraphCache
from onnxcam.graph.io import ModelLike
from onnxcam.hub import local, notes_of
from onnxcam.media.tiles import Tiling
from onnxcam.metadata.labels import ClassNames
from onnxcam.metadata.reading import Part, Reading
from onnxcam.model import inputs as other_inputs
from onnxcam.model.class_numbers import ClassNumbers
from onnxcam.model.inputs import InputValue
from onnxcam.model.invalid import explaining_invalid_models
from onnxcam.model.measured import Measured
from onnxcam.model.placing import Places
from onnxcam.model.plain_runs import PlainRuns
from onnxcam.model.prepared import PreparedModel
from onnxcam.model.said import check_said
from onnxcam.model.signals import SignalChoice
from onnxcam.model.stitched import StitchedOutput
from onnxcam.model.text import find_text_tower, takes_texts
from onnxcam.preprocess import Spec
from onnxcam.structure.layout import may_be_image
from onnxcam.targets import Evidence, Goal, Look, Target, find_tasks, resolve
from onnxcam.text_towers import TextTower

__all__ = ["ModelDescription"]


@dataclass
class ModelDescription(PlainRuns, ClassNumbers):
    """A model, and what its file and its user say of it. See `onnxcam.Explainer` for the arguments.

    Attributes:
        image: The image input of the first copy that was opened.
        explained: The input that is explained: *image*, or the one named by *wrt*.
        others: The other inputs.
        outputs: The names of the model's outputs.
        names: The labels and the metadata.
        said: What the user says of the model in place of its card: `task`, `scores`, `boxes`, `letters`.
        size: The size to which an open input is fixed; None leaves it open.
        tiling: The windows over inputs of any size, one of which is the network's input; None: it takes whole inputs.
        cache: Keeps the model's canonical form from one start to the next.
        text_model: The text tower of an image tower; None: the model itself, if it holds both.
        tokenizer: The tokenizer of the text tower; None: the one beside it.
        signals: What the user says of signals: their rate, and the part to explain.
        frames: Which frames of a video are taken.
        tasks: What the model may do, the likeliest first.
        warnings: What the user should know about every map.
        stitched: The output that is joined of windows; None without windows.

    Raises:
        ModelError: no valid model, no image input, or no input named *wrt*.
    """

    model: ModelLike
    provider: str = "auto"
    preprocess: Spec | None = None
    labels: str | os.PathLike[str] | Sequence[str] | None = None
    wrt: str | None = None
    given: Mapping[str, InputValue] = field(default_factory=dict)
    said: Mapping[str, str] = field(default_factory=dict)
    size: tuple[int, ...] | None = None
    cache: GraphCache | None = None
    text_model: str | os.PathLike[str] | None = None
    tokenizer: str | os.PathLike[str] | None = None
    signals: SignalChoice = field(default_factory=SignalChoice)
    tiling: Tiling | None = None
    frames: int | str | None = None
    warnings: list[str] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self.warnings += notes_of(self.model)
        if isinstance(self.model, str | os.PathLike):
            self.model = local(self.model)
        self._sessions: dict[tuple[str, ...], Session] = {}
        self._places = Places(self.probe_feeds, self._run)
        self.size = self.tiling.window if self.tiling is not None else self.size
        self._unused: PreparedModel | None = None  # the copy that was opened to be described
        self._measured: Measured = {}
        self._windows_differ = False  # whether it was said
        self._is_guess_told = False
        self.text_tower: TextTower | None = None  # until the tasks are known
        self.stitched: StitchedOutput | None = None  # looks are at one window until the output is known
        prepared = self.open()
        self._unused = prepared
        self.image, self.explained = prepared.image, prepared.explained
        graph = prepared.model.graph
        self.others = [value for value in graph.inputs if value is not prepared.image]
        self.outputs = [value.name or "" for value in graph.outputs]
        path = self.model if isinstance(self.model, Path) else None
        self._warn_of_equal_inputs()
        self.names = ClassNames(self.labels, path, dict(prepared.model.metadata_props), self.said)
        self.names.check()
        self._measure(prepared)
        with explaining_invalid_models(self.model):
            self.tasks = find_tasks(Evidence(graph, prepared.image, self.names, self._samples))
        check_said(self.said, self.tasks)
        self.text_tower = find_text_tower(self.model, self.tasks, self.text_model, self.tokenizer, self.provider)
        self.stitched = self._stitched()
        self.warnings += self.task.warnings
        with suppress(PreprocessError):  # the input takes no image
            if self.resolved.guessed and not self.task.sees_centre:
                self.resolved = self._resolved(self.image, whole=True)
            self.warnings += self.resolved.warnings

    @property
    def takes_texts(self) -> bool:
        """Whether a text tower can belong to the model: a task compares embeddings."""
        return takes_texts(self.tasks)

    @property
    def measured(self) -> bool:
        """Whether shapes of tensors were measured by runs on probe images."""
        return bool(self._measured)

    @property
    def reading(self) -> Reading:
        """What was read of the model, and how each part is known."""
        task = self.task
        source = self.names.source("task") or task.source
        labels = self.class_names
        parts = [Part("task", task.name, source), *task.parts()]
        if labels and not any(part.name == "letters" for part in parts):
            said = f"{len(labels)} names, {labels[0]!r} to {labels[-1]!r}"
            parts.append(Part("labels", said, self.names.origin(len(labels)), self.names.why(len(labels))))
        with suppress(PreprocessError):  # the input takes no image
            parts += [self.modality.reading, *filter(None, [self.modality.rate])]
        if self.text_tower is not None:
            parts += self.text_tower.reading
        filled = other_inputs.sizes(self.others, self._lengths()).keys() - self.given_inputs.keys()
        return Reading([*parts, other_inputs.part(sorted(filled))] if filled else parts)

    def resolve(self, target: Target, look: Look) -> Goal:
        """Return what *target* means for the image of *look*; TargetError where it means nothing."""
        return resolve(self.tasks, target, self.class_names, look)

    def _warn_of_equal_inputs(self) -> None:
        """Warn if other inputs take images like the explained one, and the user names none."""
        images = [x for x in self.others if self._is_like_image(x) and may_be_image(x)]
        alike = [name for x in images if (name := x.name or "") not in self.given]
        if alike and self.wrt is None:
            count, names = 1 + len(alike), ", ".join(map(repr, alike))
            self.warn(
                f"the model takes {count} images; the map explains {self.picture!r}, and --wrt another of {names}"
            )
