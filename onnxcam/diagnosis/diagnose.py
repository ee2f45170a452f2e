"""Which quantised tensors make a model look elsewhere: effects, statistics and causes over images."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxcam.compare.array_inputs import takes_arrays
from onnxcam.compare.observer import Observer, PreparedImage
from onnxcam.compare.tasks.classification import ClassScores, class_target
from onnxcam.diagnosis.conclude import conclude
from onnxcam.diagnosis.damage import Damage, DamageProbe, ExplainedScalar
from onnxcam.diagnosis.diagnosis import Diagnosis
from onnxcam.diagnosis.mixture import Mixture
from onnxcam.diagnosis.options import check_options
from onnxcam.diagnosis.pairing import Pairing, pair
from onnxcam.errors import DiagnosisError, GradientError, ImageError, TargetError
from onnxcam.explainer.request import ExplanationRequest
from onnxcam.graph.io import ModelLike, load, to_proto
from onnxcam.media import image as files
from onnxcam.metadata.card import KEY
from onnxcam.methods import GraphMethod, find_method, read_settings
from onnxcam.paths import PathLike, left_out, naming
from onnxcam.progress import Progress, Told, quiet, untold, values_in_words
from onnxcam.targets.detection import Detections
from onnxcam.targets.goal import Goal, Look
from onnxcam.text import in_message

__all__ = ["MOST", "OBJECTS", "Subject", "diagnose", "with_card"]

MOST = 16
"""Number of images that are enough to rank tensors."""
_NOT_FINITE = "which is NaN or infinite in the float or the quantised network"
OBJECTS = 1
"""Number of things that are explained in an image, where a task predicts several."""


def diagnose(
    reference: ModelLike | None,
    candidate: ModelLike,
    images: PathLike | Sequence[PathLike],
    directory: PathLike | None = None,
    *,
    target: int | str = "top",
    most: int = MOST,
    overwrite: bool = False,
    progress: Progress = quiet,
    told: Told = untold,
    **options: Any,
) -> Diagnosis:
    """Return what each quantised tensor of *candidate* contributes to its difference from *reference*.

    Args:
        reference: The float model. None: the candidate without rounding takes its place; its weights then count as
            exact.
        candidate: The quantised model.
        images: Files, folders, glob patterns or lists. The first *most* that can be read count.
        directory: Folder for the report (`onnxcam.diagnosis.report.folder`). None: no report.
        target: What is explained: ``"top"`` or a target as for `onnxcam.explain`.
        most: Number of images.
        overwrite: Replace the report in *directory*.
        progress: Wraps the images and their number.
        told: Takes what rounding changes in an image in words, as soon as it is there.
        **options: Method, layer, preprocess, labels, provider, settings, objects and inputs, as for
            `onnxcam.compare.observer.Observer`; preprocessing is that of the candidate.

    Raises:
        DiagnosisError: the two models are not one network, or the float model gives NaN, or the same for each image.
        TypeError: there is no such option.
        ModelError: no tensor is quantised.
        OutputError: *directory* cannot be written, or holds a diagnosis, without *overwrite*.
        OnnxcamError: as for `onnxcam.Explainer`.

    Example:
        >>> found = onnxcam.diagnose("float.onnx", "int8.onnx", "photos/", "report")
        >>> found.tensors[0].name, found.tensors[0].cause
    """
    from onnxcam.diagnosis.report import folder

    check_options("diagnose", options, ("target", "most", "overwrite", "progress", "told"))
    if directory is not None:
        folder.refuse_finished(directory, overwrite)
    subject = Subject.open(reference, candidate, images, most, **options)
    found = subject.diagnosis(target, progress, told)
    if directory is not None:
        folder.save(found, subject, candidate, directory, target)
    return found


@dataclass
class Subject:
    """A quantised model, its float form and images, opened for a diagnosis.

    Attributes:
        candidate: The quantised model, observed.
        real: The float network in the structure of the quantised one, observed.
        pairing: The tensors of both.
        images: Images, prepared for the candidate.
        unreadable: Why other images were left out.
        given: Number of images that were given.
    """

    candidate: Observer
    real: Observer
    pairing: Pairing
    images: Sequence[PreparedImage]
    unreadable: Sequence[str] = ()
    given: int = 0
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
        if most < 1:
            raise DiagnosisError(f"most is {most}; give the number of images, 1 or more")
        quantised = with_card(candidate, reference)
        observer = Observer(quantised, **{"objects": OBJECTS, **options})
        if takes_arrays(observer.network):
            raise DiagnosisError(
                f"{observer.name} takes signals or volumes, and networks of images are diagnosed: `onnxcam validate "
                "--layers` finds the layer"
            )
        given = [images] if isinstance(images, str | os.PathLike) else list(images)
        names = files.files(given)
        prepared, unreadable = _read(observer, names, most)
        feeds = dict(observer.look(prepared[0]).feeds)
        pairing = pair(quantised, reference, feeds)
        if not math.isfinite(pairing.difference):
            raise DiagnosisError(
                f"the float model gives NaN or infinite outputs for {in_message(prepared[0].picture)}; correct the "
                "model or the preprocessing: what is broken in float cannot be diagnosed"
            )
        real = Observer(to_proto(pairing.mixture.real), **{"objects": OBJECTS, **options})
        real.network.use(observer.network.resolved)
        subject = cls(observer, real, pairing, prepared, unreadable, len(set(names)))
        subject._require_response()
        return subject

    def _require_response(self) -> None:
        """Raise DiagnosisError if the outputs of the float network do not depend on the image."""
        first = self.real.look(self.images[0])
        before = first.tensors(self.tensors)
        turned = first.at(_inverted(self.images[0].tensor))
        others = (self.real.look(prepared) for prepared in self.images[1:])
        if before and all(_equal(before, look.tensors(self.tensors)) for look in (turned, *others)):
            raise DiagnosisError(
                "the float model gives the same outputs for each image, so that no rounding can move what it looks "
                "at; correct the model or the preprocessing"
            )

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

    def diagnosis(self, target: int | str = "top", progress: Progress = quiet, told: Told = untold) -> Diagnosis:
        """Return the diagnosis over all images.

        Raises:
            DiagnosisError: the float network gives NaN.
            TargetError: no image has the *target*.
        """
        damages: list[Damage] = []
        used: list[str] = []
        warnings = list(self.unreadable)
        without: list[TargetError] = []
        for prepared in progress(self.images, len(self.images)):
            try:
                found = self.damages(prepared, target)
            except TargetError as error:
                without.append(error)
                continue
            for one in found:
                finite = _finite(one)
                lost = [name for name in one.change if name not in finite.change]
                warnings += [f"left out: {name} in {in_message(prepared.picture)}, {_NOT_FINITE}" for name in lost]
                if "outputs" in finite.change:
                    damages.append(finite)
                    used.append(prepared.picture)
                    told(f"{prepared.picture}: rounding changes {values_in_words(finite.change)}")
        if not damages and without:
            raise without[0]
        if not damages:
            raise DiagnosisError(f"no image can be diagnosed, {_NOT_FINITE}; correct the model or the preprocessing")
        if not isinstance(self.probe.method, GraphMethod):
            warnings.append(f"the effects on maps are not measured: the method {self.real.method} uses no gradient")
        warnings += self.real.network.warnings
        guessed = {part.name: part.value for part in self.candidate.network.reading if part.guessed}
        concluded = conclude(self.pairing, self.probe.statistics, damages, used, warnings)
        return replace(concluded, guessed=guessed, given=self.given)

    def goals(self, prepared: PreparedImage, target: int | str = "top") -> list[Goal]:
        """Return what is explained in one image.

        Raises:
            TargetError: the image does not have the *target*.
        """
        return self._goals(self.real.look(prepared), target)

    def damages(self, prepared: PreparedImage, target: int | str = "top") -> list[Damage]:
        """Return the damage for each thing that is explained in one image."""
        return self.probe(*self.explained(prepared, target))

    def explained(
        self, prepared: PreparedImage, target: int | str = "top"
    ) -> tuple[list[tuple[ExplainedScalar, dict[str, NDArray[Any]]]], dict[str, NDArray[Any]]]:
        """Return what is explained in one image, with the inputs of its aim; and the inputs of the model."""
        look = self.real.look(prepared)
        found = []
        for goal in self._goals(look, target):
            try:
                layers = self.real.layers(ExplanationRequest(prepared.tensor, [goal]))
            except GradientError:
                continue
            inputs = {name: array[None] for name, array in goal.inputs.items()}
            found.append((ExplainedScalar(goal.aim, layers), {**inputs, goal.aim.input: np.asarray(goal.feed)[None]}))
        return found, dict(look.feeds)

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
                if target != "top":
                    raise
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


def _inverted(x: NDArray[Any]) -> NDArray[Any]:
    """Return the negative of an image's tensor, in the same range; one that is constant becomes another constant."""
    values = x.astype(np.float64)
    low, high = values.min(), values.max()
    return (low + high - values if high > low else values + 1).astype(x.dtype)


def _equal(first: Sequence[NDArray[Any]], second: Sequence[NDArray[Any]]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def _read(observer: Observer, names: Sequence[str], most: int) -> tuple[list[PreparedImage], list[str]]:
    """Return the first *most* images that can be read, and why others cannot.

    Raises:
        ImageError: none can be read.
    """
    found: list[PreparedImage] = []
    unreadable: list[tuple[str, str]] = []
    for name in dict.fromkeys(names):
        if len(found) == most:
            break
        try:
            found.append(observer.prepare(name))
        except ImageError as error:
            unreadable.append((name, str(error)))
    if not found:
        raise ImageError(f"none of the {len(unreadable)} images could be read; the first: {naming(*unreadable[0])}")
    return found, left_out(unreadable)


def _finite(found: Damage) -> Damage:
    """Return the part of *found* that is finite: a network, quantised or not, may give NaN."""
    kept = [name for name, change in found.change.items() if np.isfinite([change, *found.effects[name]]).all()]
    return Damage(
        {name: found.effects[name] for name in kept}, {name: found.change[name] for name in kept}, found.accumulated
    )


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
