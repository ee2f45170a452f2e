"""Which quantised tensors make a model look elsewhere: effects, statistics and causes over images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onnxcam.compare.observer import Observer, PreparedImage
from onnxcam.compare.tasks.classification import ClassScores, class_target
from onnxcam.diagnosis.conclude import conclude
from onnxcam.diagnosis.damage import Damage, DamageProbe, Explained
from onnxcam.diagnosis.diagnosis import Diagnosis
from onnxcam.diagnosis.mixture import Mixture
from onnxcam.diagnosis.pairing import Pairing, pair
from onnxcam.errors import DiagnosisError, GradientError, TargetError
from onnxcam.explainer.request import ExplanationRequest
from onnxcam.graph.io import ModelLike, load, to_proto
from onnxcam.media import image as files
from onnxcam.metadata.card import KEY
from onnxcam.methods import find_method, read_settings
from onnxcam.paths import PathLike
from onnxcam.progress import Progress, quiet
from onnxcam.targets.detection import Detections
from onnxcam.targets.goal import Goal, Look

__all__ = ["MOST", "Subject", "diagnose", "with_card"]

MOST = 16
"""Number of images that are enough to rank tensors."""
OBJECTS = 1
"""Number of things that are explained in an image, where a task predicts several."""


def diagnose(
    reference: ModelLike | None,
    candidate: ModelLike,
    images: PathLike | Sequence[PathLike],
    *,
    target: int | str = "top",
    most: int = MOST,
    progress: Progress = quiet,
    **options: Any,
) -> Diagnosis:
    """Return what each quantised tensor of *candidate* contributes to its difference from *reference*.

    Args:
        reference: The float model. None: the candidate without rounding takes its place; its weights then count as
            exact.
        candidate: The quantised model.
        images: Files, folders, glob patterns or lists. The first *most* that can be read count.
        target: What is explained, as for `onnxcam.compare.validate`.
        most: Number of images.
        progress: Wraps the images and their number.
        **options: Method, layer, preprocess, labels, settings, objects and inputs, as for
            `onnxcam.compare.observer.Observer`; preprocessing is that of the candidate.

    Raises:
        DiagnosisError: the two models are not one network, or no tensor is quantised.
        OnnxcamError: as for `onnxcam.Explainer`.

    Example:
        >>> found = onnxcam.diagnose("float.onnx", "int8.onnx", "photos/")
        >>> found.tensors[0].name, found.tensors[0].cause
    """
    return Subject.open(reference, candidate, images, most, **options).diagnosis(target, progress)


@dataclass
class Subject:
    """A quantised model, its float form and images, opened for a diagnosis.

    Attributes:
        candidate: The quantised model, observed.
        real: The float network in the structure of the quantised one, observed.
        pairing: The tensors of both.
        images: Images, prepared for the candidate.
    """

    candidate: Observer
    real: Observer
    pairing: Pairing
    images: Sequence[PreparedImage]
    _probe: DamageProbe | None = field(default=None, init=False)

    @classmethod
    def open(
        cls,
        reference: ModelLike | None,
        candidate: ModelLike,
        images: PathLike | Sequence[PathLike],
        most: int = MOST,
        **options: Any,
    ) -> Subject:
        """Open the models and read the images; see `diagnose`."""
        quantised = with_card(candidate, reference)
        observer = Observer(quantised, **{"objects": OBJECTS, **options})
        given = [images] if isinstance(images, str | os.PathLike) else list(images)
        prepared = [observer.prepare(path) for path in files.files(given)[:most]]
        feeds = dict(observer.look(prepared[0]).feeds)
        pairing = pair(quantised, reference, feeds)
        real = Observer(to_proto(pairing.mixture.real), **{"objects": OBJECTS, **options})
        real.network.use(observer.network.resolved)
        return cls(observer, real, pairing, prepared)

    @property
    def mixture(self) -> Mixture:
        """Return the mixture of both models."""
        return self.pairing.mixture

    @property
    def probe(self) -> DamageProbe:
        """Return what measures the damage."""
        if self._probe is None:
            method = find_method(self.real.method)
            settings = read_settings(method, self.real.settings)
            self._probe = DamageProbe(self.mixture, self.tensors, method, settings)
        return self._probe

    def diagnosis(self, target: int | str = "top", progress: Progress = quiet) -> Diagnosis:
        """Return what each quantised tensor contributes; see `diagnose`."""
        damages: list[Damage] = []
        used: list[str] = []
        for prepared in progress(self.images, len(self.images)):
            for found in self.damages(prepared, target):
                damages.append(found)
                used.append(prepared.picture)
        if not damages:
            raise DiagnosisError(
                f"nothing is explained in any of the {len(self.images)} images; give others, or a target"
            )
        return conclude(self.pairing, self.probe.statistics, damages, used, self.real.network.warnings)

    def damages(self, prepared: PreparedImage, target: int | str = "top") -> list[Damage]:
        """Return the damage for each thing that is explained in one image."""
        look = self.real.look(prepared)
        explained = []
        for goal in self._goals(look, target):
            request = ExplanationRequest(prepared.tensor, [goal])
            try:
                layers = self.real.layers(request)
            except GradientError:
                continue
            inputs = {name: array[None] for name, array in goal.inputs.items()}
            explained.append((Explained(goal.aim, layers), {**inputs, goal.aim.input: np.asarray(goal.feed)[None]}))
        return self.probe(explained, dict(look.feeds))

    def _goals(self, look: Look, target: int | str) -> list[Goal]:
        observation, network = self.real.observation, self.real.network
        prediction = observation.predict(self.real, look)
        if target != "top":
            wanted: Sequence[Any] = [str(target)]
        elif isinstance(prediction, ClassScores):
            wanted = [class_target(int(prediction.top))]
        else:
            wanted = list(observation.targets(self.real, prediction))[: self.real.objects]
        goals: list[Goal] = []
        for one in wanted:
            try:
                goals.append(network.resolve(one, look))
            except TargetError:
                continue
        return goals

    @property
    def tensors(self) -> list[str]:
        """Return the tensors of the float network that hold what its task reads."""
        task, graph = self.real.network.task, self.mixture.real.graph
        if isinstance(task, Detections):
            return list(task.decoder.tensors)
        if task.aim is not None:
            return [task.aim.locate(graph).name or ""]
        return [
            value.name or "" for value in graph.outputs if value.dtype is not None and value.dtype.is_floating_point()
        ]


def with_card(candidate: ModelLike, reference: ModelLike | None) -> ModelLike:
    """Return *candidate* with the card of *reference*, if quantisation dropped it."""
    if reference is None:
        return candidate
    said = load(reference).metadata_props.get(KEY)
    model = load(candidate)
    if said is None or KEY in model.metadata_props:
        return candidate
    model.metadata_props[KEY] = said
    return to_proto(model)
