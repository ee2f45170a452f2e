"""Run one ONNX model on images: its prediction for each image, and the maps of what it predicts."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam.compare.device_runner import digest
from onnxcam.compare.external_runner import SECONDS, ExternalRunner
from onnxcam.compare.outcome import ModelInfo, Outcome, Prediction
from onnxcam.compare.tasks import observation_of
from onnxcam.compare.tasks.classification import class_of
from onnxcam.compare.tasks.observation import Explained, PreparedImage, Wanted
from onnxcam.errors import MetricError
from onnxcam.explainer.compiled import CompiledExplanation
from onnxcam.explainer.request import ExplanationRequest
from onnxcam.explainer.runner import Runner
from onnxcam.graph.io import ModelLike, load, to_bytes
from onnxcam.graph.weights import is_beside, weights
from onnxcam.media import heatmap
from onnxcam.media import image as pictures
from onnxcam.media.frame import Frame
from onnxcam.metadata.reserved import MAP
from onnxcam.methods import find_method, read_settings
from onnxcam.methods.base import AUTO
from onnxcam.model.description import ModelDescription
from onnxcam.model.inputs import InputValue
from onnxcam.preprocess import Preprocess, Spec, stack
from onnxcam.preprocess.input_evidence import InputEvidence
from onnxcam.progress import quiet
from onnxcam.structure.layer import Layer
from onnxcam.targets.classification import Classes
from onnxcam.targets.goal import Goal, Look

__all__ = ["OBJECTS", "Observer", "PreparedImage", "class_of", "prepared_image", "require_classifier"]

OBJECTS = 3
"""Number of things that are explained in an image, where a task predicts several."""


@dataclass
class Observer:
    """A model with an explanation method, for comparison. Arguments as for `onnxcam.Explainer`.

    Attributes:
        objects: Maximum number of things that are explained in an image, such as detections.
        runner: A function that runs the model in another engine, ``"module:function"``
            (`onnxcam.compare.external_runner`). Predictions come from it, maps from the graph of *model*.
        runner_timeout: Time limit of one run of it, in seconds.

    Raises:
        MetricError: models of this task cannot be compared.
        OnnxcamError: as for `onnxcam.Explainer`.

    Example:
        >>> observer = Observer("int8.onnx", preprocess="imagenet")
        >>> observer.outcomes([observer.prepare("cat.jpg")])
    """

    model: ModelLike
    method: str = AUTO
    layer: str | None = None
    preprocess: Spec | None = None
    labels: str | os.PathLike[str] | Sequence[str] | None = None
    provider: str = "auto"
    settings: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, InputValue] = field(default_factory=dict)
    objects: int = OBJECTS
    runner: str | None = None
    runner_timeout: float = SECONDS

    def __post_init__(self) -> None:
        if self.method != AUTO:
            find_method(self.method)  # before the model is read
        self.network = ModelDescription(self.model, self.provider, self.preprocess, self.labels, given=self.inputs)
        subject, layout = self.network.open(), self.network.layout
        if layout is None or len(layout.space) != 2:
            raise MetricError(
                f"only models of images can be compared; {self.name} is a network of volumes: compare the maps of "
                "`onnxcam explain`"
            )
        self.observation = observation_of(self.network.task, self.name)
        self.method = self.network.task.method if self.method == AUTO else self.method
        method = find_method(self.method)
        self.evidence = InputEvidence.of(subject.image)
        self._channel = None if method.at_layer else layout.channel - 1
        settings = read_settings(method, self.settings)
        self._runner = Runner(self.network, method, settings, self.layer, False, quiet, spin=False)
        outputs = list(subject.model.graph.outputs)
        self._external = None if self.runner is None else ExternalRunner(self.runner, outputs, self.runner_timeout)
        if self.runner is not None:
            self.network.warn(f"predictions come from the runner {self.runner!r}, maps from the graph of the file")
        if isinstance(self.network.task, Classes):
            self._runner.compile(subject, self.network.task.aim)

    @property
    def name(self) -> str:
        """Name for messages: the path of the model, if it has one."""
        return os.fspath(self.model) if isinstance(self.model, str | os.PathLike) else "the model"

    @property
    def prediction(self) -> type[Prediction]:
        """Type of the predictions."""
        return self.observation.prediction

    @property
    def classes(self) -> int | None:
        """Number of classes of a classifier."""
        return self.network.task.scores.classes if isinstance(self.network.task, Classes) else None

    @property
    def class_names(self) -> Sequence[str] | None:
        """Names of the classes; None if unknown."""
        return self.network.class_names

    @cached_property
    def info(self) -> ModelInfo:
        """Description of the model for reports."""
        model = load(self.model)
        return ModelInfo(
            name=self.name,
            sha256=_hash(self.model, model),
            kind=_kind(model),
            method=self.method,
            layer=self._layers,
            preprocess=str(self.network.preprocessing),
            provider=self._provider,
            preprocess_source=self.network.resolved.source,
        )

    @property
    def _layers(self) -> str | None:
        """The layers of a classifier; of other models, the layer depends on what is explained."""
        last = self._runner.last
        if self.classes is not None and last is not None:
            return ", ".join(layer.name for layer in last.layers) or None
        named = None if self.layer == "auto" else self.layer
        return named or ("by object" if find_method(self.method).uses_layer else None)

    @property
    def _provider(self) -> str:
        if self.runner is not None:
            return self.runner
        last = self._runner.last
        return self.network.runs_on if last is None else last.session.provider

    @property
    def external(self) -> bool:
        """Return whether the predictions come from a runner of the user."""
        return self._external is not None

    def check(self, target: int | str) -> None:
        """Raise TargetError if no image can have the *target*."""
        self.observation.check(self, target)

    def index(self, target: int | str) -> int:
        """Return the index of class *target*, an index or label; `TOP` for ``"top"``. Raise TargetError for others."""
        return class_of(target, self.classes or 0, self.class_names)

    def prepare(self, path: str | os.PathLike[str]) -> PreparedImage:
        """Read and preprocess an image; raise ImageError if it cannot be read."""
        return self.prepare_decoded(os.fspath(path), *pictures.read_hashed(path, self.network.warn))

    def prepare_decoded(self, path: str, picture: NDArray[np.uint8], sha256: str) -> PreparedImage:
        """Preprocess a decoded image, uint8 [H, W, 3]."""
        return prepared_image(self.network.preprocessing, path, picture, sha256)

    def outcomes(
        self, prepared_images: Sequence[PreparedImage], wanted: Sequence[Wanted] | None = None
    ) -> list[Outcome]:
        """Return the outcome for each image, with the maps of what is *wanted* in it; None: of the best.

        Raises:
            EngineError: the model cannot be run.
        """
        return self.observation.outcomes(self, prepared_images, wanted)

    def same(self, outcome: Outcome) -> Wanted:
        """Return the targets that mean what *outcome* of another model explains."""
        return [self.observation.same(one) for one in outcome.maps]

    def look(self, prepared: PreparedImage) -> Look:
        """Return the look at one image."""
        look = replace(self.network.look(prepared.tensor, None, {}), frame=prepared.frame, picture=prepared.size)
        return look if self._external is None else replace(look, run=self._run_external)

    def _run_external(
        self, feeds: Mapping[str, NDArray[Any]], names: Sequence[str] | None
    ) -> Mapping[str, NDArray[Any]]:
        """Return the runner's outputs; MetricError for tensors inside the graph, which it does not give."""
        if names:
            raise MetricError(
                f"the reading needs {names[0]!r}, a tensor inside the graph, which the runner {self.runner!r} does not "
                "give; make it an output of the model, or name the outputs in its card (docs/card.md)"
            )
        assert self._external is not None
        return self._external(feeds)

    def explain(self, prepared_images: Sequence[PreparedImage], goals: Sequence[Goal]) -> list[Explained]:
        """Explain one goal in each image; all images have tensors of one shape."""
        if not goals:
            return []
        asked = ExplanationRequest(stack(prepared.tensor for prepared in prepared_images), goals)
        return [
            Explained(found, *self._placed(heatmap.flat(found[MAP][0], self._channel), prepared, compiled))
            for prepared, (compiled, found) in zip(prepared_images, self._runner.run(asked), strict=True)
        ]

    def placed(
        self, raw: NDArray[Any], prepared: PreparedImage, request: ExplanationRequest
    ) -> tuple[NDArray[np.float32], Frame]:
        """Return the *raw* map [1, …] of a *request* upright, and the rectangle of the image that it covers."""
        return self._placed(heatmap.flat(raw[0], self._channel), prepared, self._runner.compiled(request))

    def layers(self, request: ExplanationRequest) -> tuple[Layer, ...]:
        """Return the layers of the maps for a *request* of one image and goal; none if the method uses none."""
        return tuple(self._runner.compiled(request).layers)

    def _placed(
        self, raw: NDArray[Any], prepared: PreparedImage, compiled: CompiledExplanation
    ) -> tuple[NDArray[np.float32], Frame]:
        """Return the map upright, float32 [h, w], and the rectangle of the image that it covers."""
        layout, flat = self.network.layout, raw.astype(np.float32)
        size = () if layout is None else tuple(prepared.tensor.shape[axis] for axis in layout.space)
        place = compiled.place(size) if compiled.layers and self._channel is None else None
        if place is None or len(size) != 2:
            return flat, prepared.frame
        rows, columns = place.intervals
        return place.upright(flat), prepared.frame.part(rows, columns, (size[0], size[1]))


def require_classifier(observer: Observer, what: str) -> Classes:
    """Return the task of a classifier; MetricError for others, of which *what* cannot be made."""
    task = observer.network.task
    if not isinstance(task, Classes):
        raise MetricError(f"{what} is for classifiers; {observer.name} is {task.name}: `onnxcam validate` compares it")
    return task


def prepared_image(how: Preprocess, path: str, picture: NDArray[np.uint8], sha256: str) -> PreparedImage:
    """Preprocess a decoded image, uint8 [H, W, 3]."""
    size = (picture.shape[0], picture.shape[1])
    return PreparedImage(path, sha256, size, how(picture), how.frame(*size))


def _hash(source: ModelLike, model: ir.Model) -> str:
    """Return the SHA-256 of the model file, or bytes, together with its external weight files."""
    if not isinstance(source, str | os.PathLike):
        return hashlib.sha256(source if isinstance(source, bytes) else to_bytes(model)).hexdigest()
    beside = {str(x.const_value.path) for x in weights(model) if is_beside(x.const_value)}  # type: ignore[union-attr]
    return digest(Path(source), *map(Path, sorted(beside)))


def _kind(model: ir.Model) -> str:
    """Return the most common data type of the weights, such as float32 or int8."""
    counts: Counter[str] = Counter()
    for tensor in (value.const_value for value in weights(model)):
        if tensor is not None and tensor.dtype not in (ir.DataType.INT64, ir.DataType.BOOL):
            counts[tensor.dtype.numpy().name] += tensor.size
    return counts.most_common(1)[0][0] if counts else "float32"
