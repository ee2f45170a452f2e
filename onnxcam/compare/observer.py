"""Run one ONNX classifier on images: scores and map of each image, in one pass."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam.compare.device_runner import digest
from onnxcam.compare.outcome import ModelInfo, Outcome
from onnxcam.errors import MetricError
from onnxcam.explainer.request import ExplanationRequest
from onnxcam.explainer.runner import Runner
from onnxcam.graph.io import ModelLike, load, to_bytes
from onnxcam.graph.weights import is_beside, weights
from onnxcam.media import heatmap
from onnxcam.media import image as pictures
from onnxcam.media.frame import Frame
from onnxcam.metadata.reserved import CHOSEN, MAP
from onnxcam.methods import find_method, read_settings
from onnxcam.model.description import ModelDescription
from onnxcam.model.inputs import InputValue
from onnxcam.preprocess import Preprocess, Spec, stack
from onnxcam.preprocess.input_evidence import InputEvidence
from onnxcam.progress import quiet
from onnxcam.targets import ClassAim
from onnxcam.targets.classification import Classes, class_index
from onnxcam.targets.goal import Goal
from onnxcam.targets.scores import TOP, Scores, probabilities, real_scores

__all__ = ["Observer", "PreparedImage", "class_of"]


@dataclass(frozen=True)
class PreparedImage:
    """One image, preprocessed for one model: the tensor [1, …], and the rectangle of the image that it covers."""

    picture: str
    sha256: str
    size: tuple[int, int]
    tensor: NDArray[Any]
    frame: Frame

    @classmethod
    def of(cls, how: Preprocess, path: str, picture: NDArray[np.uint8], sha256: str) -> PreparedImage:
        """Preprocess a decoded image, uint8 [H, W, 3]."""
        size = (picture.shape[0], picture.shape[1])
        return cls(path, sha256, size, how(picture), how.frame(*size))


@dataclass
class Observer:
    """An image classifier with an explanation method. Arguments as for `onnxcam.Explainer`.

    Raises:
        MetricError: the model is no image classifier.
        OnnxcamError: as for `onnxcam.Explainer`.

    Example:
        >>> observer = Observer("int8.onnx", preprocess="imagenet")
        >>> observer.outcomes([observer.prepare("cat.jpg")])
    """

    model: ModelLike
    method: str = "gradcam"
    layer: str | None = None
    preprocess: Spec | None = None
    labels: str | os.PathLike[str] | Sequence[str] | None = None
    provider: str = "auto"
    settings: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, InputValue] = field(default_factory=dict)

    def __post_init__(self) -> None:
        method = find_method(self.method)
        self.network = ModelDescription(self.model, self.provider, self.preprocess, self.labels, given=self.inputs)
        subject = self.network.open()
        layout = self.network.layout
        if not isinstance(self.network.task, Classes) or layout is None or len(layout.space) != 2:
            what = self.network.task.name if layout is None or len(layout.space) == 2 else "a network of volumes"
            raise MetricError(
                f"only image classifiers can be compared; {self.name} is {what}: compare the maps of "
                "`onnxcam explain`, or cut the model so that it puts out class scores"
            )
        self.scores: Scores = self.network.task.scores
        self.evidence = InputEvidence.of(subject.image)
        self._channel = None if method.at_layer else layout.channel - 1
        settings = read_settings(method, self.settings)
        self._runner = Runner(self.network, method, settings, self.layer, False, quiet, spin=False)
        compiled = self._runner.compile(subject, self.network.task.aim)
        self._layers = ", ".join(layer.name for layer in compiled.layers) or None
        self._provider = compiled.session.provider

    @property
    def name(self) -> str:
        """Name for messages: the path of the model, if it has one."""
        return os.fspath(self.model) if isinstance(self.model, str | os.PathLike) else "the model"

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.scores.classes

    @property
    def class_names(self) -> Sequence[str] | None:
        """Names of the classes; None if unknown."""
        return self.network.class_names

    @property
    def exclusive(self) -> bool:
        """Whether the classes exclude each other."""
        return self.scores.are_exclusive(self.network.multi_label)

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

    def index(self, target: int | str) -> int:
        """Return the index of class *target*, an index or label; `TOP` for ``"top"``. Raise TargetError for others."""
        return class_of(target, self.scores.classes, self.class_names)

    def prepare(self, path: str | os.PathLike[str]) -> PreparedImage:
        """Read and preprocess an image; raise ImageError if it cannot be read."""
        return self.prepare_decoded(os.fspath(path), *pictures.read_hashed(path, self.network.warn))

    def prepare_decoded(self, path: str, picture: NDArray[np.uint8], sha256: str) -> PreparedImage:
        """Preprocess a decoded image, uint8 [H, W, 3]."""
        return PreparedImage.of(self.network.preprocessing, path, picture, sha256)

    def outcomes(self, prepared_images: Sequence[PreparedImage], classes: Sequence[int] | None = None) -> list[Outcome]:
        """Return the outcome for each image, with the map of one class each; without *classes*, of the top class.

        Raises:
            EngineError: the model cannot be run.
        """
        wanted = [TOP] * len(prepared_images) if classes is None else classes
        return [
            outcome
            for _, group in groupby(zip(prepared_images, wanted, strict=True), lambda pair: pair[0].tensor.shape)
            for outcome in self._batch(list(group))
        ]

    def _batch(self, pairs: Sequence[tuple[PreparedImage, int]]) -> Iterator[Outcome]:
        goals = [Goal(self.network.task.aim or ClassAim(), np.asarray(index), str(index), index) for _, index in pairs]
        asked = ExplanationRequest(stack(prepared.tensor for prepared, _ in pairs), goals)
        for (prepared, _), (_, found) in zip(pairs, self._runner.run(asked), strict=True):
            yield self._outcome(prepared, found)

    def _outcome(self, prepared: PreparedImage, found: Mapping[str, NDArray[Any]]) -> Outcome:
        values = found[self.scores.output][0]
        real = real_scores(self.scores, values)
        raw, frame = self._placed(heatmap.flat(found[MAP][0], self._channel).astype(np.float32), prepared)
        return Outcome(
            picture=prepared.picture,
            sha256=prepared.sha256,
            size=prepared.size,
            scores=np.asarray(values.reshape(-1) if real is None else real, np.float32),
            probabilities=probabilities(self.scores, values, self.network.multi_label),
            target=int(found[CHOSEN][0]),
            map=raw,
            frame=frame,
            head=self.scores.head,
            exclusive=self.exclusive,
        )

    def _placed(self, raw: NDArray[np.float32], prepared: PreparedImage) -> tuple[NDArray[np.float32], Frame]:
        """Return the map upright, and the rectangle of the image that it covers."""
        layout = self.network.layout
        size = () if layout is None else tuple(prepared.tensor.shape[axis] for axis in layout.space)
        place = self._runner.place(size)
        if place is None or len(size) != 2:
            return raw, prepared.frame
        rows, columns = place.intervals
        return place.upright(raw), prepared.frame.part(rows, columns, (size[0], size[1]))


def class_of(target: int | str, count: int, names: Sequence[str] | None) -> int:
    """Return the index of *target* among *count* classes; `TOP` for ``"top"``. Raise TargetError if it is unknown."""
    if target == "top":
        return TOP
    return class_index(target.strip() if isinstance(target, str) else target, count, names)


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
