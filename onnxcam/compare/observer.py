"""Run one ONNX model on images: its prediction for each image, and the maps of what it predicts."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxcam.compare.array_inputs import is_array, prepared_array
from onnxcam.compare.black_box import BlackBox, black_box_method
from onnxcam.compare.external_runner import SECONDS, ExternalRunner
from onnxcam.compare.outcome import ModelInfo, Outcome, Prediction
from onnxcam.compare.output_reading import resolved_by_outputs, task_of_outputs
from onnxcam.compare.tasks import observation_of
from onnxcam.compare.tasks.classification import class_of
from onnxcam.compare.tasks.observation import Explained, PreparedImage, Wanted
from onnxcam.decoders.files import has_parts
from onnxcam.decoders.load import join
from onnxcam.errors import MetricError, ModelError, TargetError
from onnxcam.explainer.compiled import CompiledExplanation
from onnxcam.explainer.request import ExplanationRequest
from onnxcam.explainer.runner import Runner
from onnxcam.graph.io import ModelLike, load
from onnxcam.graph.model_files import model_hash, weights_kind
from onnxcam.hub import name_of
from onnxcam.media import heatmap
from onnxcam.media import image as pictures
from onnxcam.media.frame import Covered, Frame, covering
from onnxcam.metadata.reserved import MAP
from onnxcam.methods import ProcedureMethod, find_method, read_settings
from onnxcam.methods.base import AUTO
from onnxcam.methods.settings import require_layer_is_used
from onnxcam.model.clip_modality import ClipModality
from onnxcam.model.description import ModelDescription
from onnxcam.model.inputs import InputValue
from onnxcam.model.signal_modality import ImageOrSignalModality
from onnxcam.model.signals import SignalChoice
from onnxcam.preprocess import Preprocess, Spec, stack
from onnxcam.preprocess.input_evidence import InputEvidence
from onnxcam.preprocess.tensor_spec import refuse_encoded
from onnxcam.progress import quiet
from onnxcam.structure.layer import Layer
from onnxcam.structure.place import Place
from onnxcam.targets.classification import Classes
from onnxcam.targets.detection import Detections
from onnxcam.targets.goal import Goal, Look
from onnxcam.targets.registry import TargetKind, Task

__all__ = [
    "BLACK_BOX",
    "GRAPH",
    "MAPS",
    "OBJECTS",
    "Observer",
    "PreparedImage",
    "class_of",
    "prepared_image",
    "require_classifier",
]

OBJECTS = 3
"""Number of things that are explained in an image, where a task predicts several."""
GRAPH, BLACK_BOX = MAPS = ("graph", "black-box")
"""Where maps come from: the gradients of the graph, or the outputs for covered images."""
_GREY = 128


@dataclass
class Observer:
    """A model with an explanation method, for comparison. Arguments as for `onnxcam.Explainer`.

    Attributes:
        objects: Maximum number of things that are explained in an image, such as detections.
        runner: A function that runs the model in another engine, ``"module:function"``
            (`onnxcam.compare.external_runner`). Predictions come from it.
        runner_timeout: Time limit of one run of it, in seconds.
        maps: Where maps come from: ``"graph"``, the graph of *model*, whatever runs it; or ``"black-box"``, the outputs
            for covered images, of the runner if there is one (`onnxcam.compare.black_box`).
        text_model: The text tower of an image tower, for targets such as ``like="a dog"`` (docs/words.md).
        tokenizer: Its tokenizer, or that of a decoder.
        prompt: What a vision-language decoder is asked, as for `onnxcam.decoders.load.join`; *model* is the folder of
            its parts.
        rate: Of a model of signals, as for `onnxcam.Explainer`; likewise *start* and *resample*.
        image_token: Token of a decoder that stands for a part of the image.
        task: What the outputs are read as.

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
    maps: str = GRAPH
    text_model: str | os.PathLike[str] | None = None
    tokenizer: str | os.PathLike[str] | None = None
    prompt: str | None = None
    image_token: str | None = None
    rate: float | None = None
    start: int | str | None = None
    resample: bool = False
    task: Task = field(init=False)

    def __post_init__(self) -> None:
        if self.maps not in MAPS:
            raise MetricError(f"maps come from {' or '.join(MAPS)}, not from {self.maps!r}")
        if self.method != AUTO:
            find_method(self.method)  # before the model is read
        self._source = self.model
        is_folder = isinstance(self.model, str | os.PathLike) and has_parts(self.model)
        if is_folder:
            asked = {"prompt": self.prompt, "tokenizer": self.tokenizer, "image_token": self.image_token}
            self.model = join(self.model, **asked, preprocess=self.preprocess)  # type: ignore[arg-type]
        elif self.prompt is not None or self.image_token is not None:
            raise ModelError(
                f"{self.name} is no vision-language decoder: --prompt and --image-token (prompt=, image_token=) are "
                "for folders of its parts"
            )
        self.network = ModelDescription(
            self.model,
            self.provider,
            self.preprocess,
            self.labels,
            given=self.inputs,
            text_model=self.text_model,
            tokenizer=None if is_folder else self.tokenizer,
            signals=SignalChoice(self.rate, self.start, self.resample),
        )
        subject, layout = self.network.open(), self.network.layout
        refuse_encoded(subject.image)
        if layout is None or isinstance(self.network.modality, ClipModality):
            raise MetricError(
                "only models of images, signals and volumes can be compared; "
                f"{self.name} is another: compare the maps of `onnxcam explain`"
            )
        self.task = self.network.task
        self.observation = observation_of(self.task, self.name)
        if len(layout.space) > 2 and self.observation.in_images:
            raise MetricError(
                f"{self.name} takes volumes and is {self.task.name}, which is compared in images: compare the maps of "
                "`onnxcam explain`"
            )
        if self.maps == BLACK_BOX:
            self.method = black_box_method(self.method, self.task)
        self.method = self.task.method if self.method == AUTO else self.method
        method = find_method(self.method)
        self.evidence = InputEvidence.of(subject.image)
        self._channel = None if method.at_layer else layout.channel - 1
        self._settings = read_settings(method, self.settings)
        require_layer_is_used([method], self.layer)
        self._runner = Runner(self.network, method, self._settings, self.layer, False, quiet, spin=False)
        outputs = list(subject.model.graph.outputs)
        self._external = None if self.runner is None else ExternalRunner(self.runner, outputs, self.runner_timeout)
        if self.runner is not None or self.black_box:
            self.read_outputs()
        if self.runner is not None:
            own = f"predictions and maps come from the runner {self.runner!r}"
            graph = f"predictions come from the runner {self.runner!r}, maps from the graph of the file"
            self.network.warn(own if self.black_box else graph)
        if isinstance(self.task, Classes) and not self.black_box:
            self._runner.compile(subject, self.task.aim)

    @property
    def black_box(self) -> bool:
        """Return whether maps come from outputs for covered images."""
        return self.maps == BLACK_BOX

    @property
    def reads_outputs(self) -> bool:
        """Return whether the outputs are read where the graph would show more, such as all candidates."""
        return self.task is not self.network.task

    def read_outputs(self) -> None:
        """Read the outputs only, not tensors inside the graph, if the task can be read so."""
        outputs_only = None if self.reads_outputs else task_of_outputs(self.network)
        if outputs_only is not None:
            self.task = outputs_only
            self.network.warn("objects are read from the outputs, after the suppression in the graph")

    @property
    def name(self) -> str:
        """Name for messages: the path of the model, if it has one."""
        return name_of(self._source) if isinstance(self._source, str | os.PathLike) else "the model"

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
    def _quantised(self) -> bool:
        """Whether the graph holds operators of quantised tensors."""
        return any("Quantize" in node.op_type or node.op_type.startswith("QLinear") for node in load(self.model).graph)

    @cached_property
    def info(self) -> ModelInfo:
        """Description of the model for reports."""
        model = load(self.model)
        return ModelInfo(
            name=self.name,
            sha256=model_hash(self.model, model),
            kind=weights_kind(model),
            method=f"black-box {self.method}" if self.black_box else self.method,
            layer=self._layers,
            preprocess=self.network.modality.reading.value,
            provider=self._provider,
            preprocess_source=self.network.modality.reading.source,
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
        """Return whether the predictions do not come from the explanation graph."""
        return self._external is not None or self.black_box

    def check(self, target: int | str) -> None:
        """Raise TargetError if no image can have the *target*."""
        self.observation.check(self, target)

    def only(self, target: int | str) -> int | None:
        """Return the class that is compared alone, if *target* means one of a detector or segmentation; else None.

        Raises:
            TargetError: no image can have the *target*.
        """
        return self.observation.only(self, target)

    def index(self, target: int | str) -> int:
        """Return the index of class *target*, an index or label; `TOP` for ``"top"``. Raise TargetError for others."""
        return class_of(target, self.classes or 0, self.class_names)

    def prepare(self, path: str | os.PathLike[str]) -> PreparedImage:
        """Read and preprocess an image, a signal or a volume; raise ImageError if it cannot be read."""
        if is_array(self.network, os.fspath(path)):
            return prepared_array(self.network.modality, path)
        self.require_images(os.fspath(path))
        return self.prepare_decoded(os.fspath(path), *pictures.read_hashed(path, self.network.warn))

    def require_images(self, path: str) -> None:
        """Raise ImageError for the image *path* where the model states that it takes signals."""
        if isinstance(self.network.modality, ImageOrSignalModality):
            self.network.modality.require_images(path)

    def prepare_decoded(self, path: str, picture: NDArray[np.uint8], sha256: str) -> PreparedImage:
        """Preprocess a decoded image, uint8 [H, W, 3]."""
        return prepared_image(self.network.preprocessing, path, picture, sha256)

    def outcomes(
        self,
        prepared_images: Sequence[PreparedImage],
        wanted: Sequence[Wanted] | None = None,
        only: int | None = None,
    ) -> list[Outcome]:
        """Return the outcome for each image, with the maps of what is *wanted* in it; None: of the best.

        *only* is the class to which predictions are limited, see `only`; None: all.

        Raises:
            EngineError: the model cannot be run.
        """
        return self.observation.outcomes(self, prepared_images, wanted, only)

    def same(self, outcome: Outcome) -> Wanted:
        """Return the targets that mean what *outcome* of another model explains."""
        return [self.observation.same(one) for one in outcome.maps]

    def look(self, prepared: PreparedImage) -> Look:
        """Return the look at one image."""
        frame = prepared.frame if isinstance(prepared.frame, Frame) else None
        look = replace(self.network.look(prepared.tensor, None, {}), frame=frame, picture=prepared.size)
        if self._external is not None:
            return replace(look, run=self._run_external)
        return self._looked(look) if isinstance(self.network.task, Detections) else look

    def _looked(self, look: Look) -> Look:
        """Return *look* at an image of a detector with all that its maps need, from one forward pass.

        Tensors inside a quantised graph are asked for apart: as outputs they change what ONNX Runtime fuses.
        """
        assert isinstance(self.network.task, Detections)
        kept = self._runner.kept
        if not kept or self._quantised:
            return look
        names = list(dict.fromkeys([*self.network.task.decoder.tensors, *kept]))
        return replace(look, known=look.run(look.feeds, names))

    def _run_external(
        self, feeds: Mapping[str, NDArray[Any]], names: Sequence[str] | None
    ) -> Mapping[str, NDArray[Any]]:
        """Return the runner's outputs; MetricError for tensors inside the graph, which it does not give."""
        if names := [name for name in names or () if name not in self.network.outputs]:
            raise MetricError(
                f"the reading needs {names[0]!r}, a tensor inside the graph, which the runner {self.runner!r} does not "
                "give; make it an output of the model, or name the outputs in its card (docs/card.md)"
            )
        assert self._external is not None
        return self._external(feeds)

    def resolve(self, target: TargetKind | str, look: Look) -> Goal:
        """Return what *target* means for the image of *look*; TargetError if it means nothing."""
        if not self.reads_outputs:
            return self.network.resolve(target, look)
        own = resolved_by_outputs(self.task, self.network, target, look)
        if self.black_box:
            if own is None:
                raise TargetError(f"no object of the outputs is at {target}")
            return own
        inner = replace(self.network.look(look.feeds[look.image], None, {}), frame=look.frame, picture=look.picture)
        found = self.network.resolve(target if own is None else own.words, inner)
        if own is None:  # the graph tells what is left of the evidence
            return replace(found, probability=0.0, box=None)
        return replace(found, words=own.words, probability=own.probability, box=own.box)

    def explain(self, prepared_images: Sequence[PreparedImage], goals: Sequence[Goal]) -> list[Explained]:
        """Explain one goal in each image; all images have tensors of one shape."""
        if not goals:
            return []
        if self.black_box:
            return self._explain_by_outputs(prepared_images, goals)
        asked = ExplanationRequest(stack(prepared.tensor for prepared in prepared_images), goals)
        return [
            Explained(found, *self._placed(self._flat(found[MAP]), prepared, compiled))
            for prepared, (compiled, found) in zip(prepared_images, self._runner.run(asked), strict=True)
        ]

    def explain_in(self, look: Look, prepared: PreparedImage, goals: Sequence[Goal]) -> list[Explained]:
        """Explain several goals in one image; detections share the forward pass of *look*."""
        own = look if self._external is None else self.network.look(prepared.tensor, None, {})
        can_share = isinstance(self.network.task, Detections) and not self.black_box
        shared = self._runner.maps(own, goals) if can_share else None
        if shared is None:
            return self.explain([prepared] * len(goals), goals)
        return [
            Explained(found, *self._placed(self._flat(found[MAP]), prepared, compiled)) for compiled, found in shared
        ]

    def placed(
        self, raw: NDArray[Any], prepared: PreparedImage, request: ExplanationRequest
    ) -> tuple[NDArray[np.float32], Covered]:
        """Return the *raw* map [1, …] of a *request* upright, and the part of the image that it covers."""
        return self._placed(self._flat(raw), prepared, self._runner.compiled(request))

    def _flat(self, raw: NDArray[Any]) -> NDArray[np.float32]:
        """Return the raw map [1, …] of one image without channels, as in `Explanation.map`."""
        return heatmap.flat(raw[0], self._channel, summed=find_method(self.method).sums_channels)

    def layers(self, request: ExplanationRequest) -> tuple[Layer, ...]:
        """Return the layers of the maps for a *request* of one image and goal; none if the method uses none."""
        return tuple(self._runner.compiled(request).layers)

    @cached_property
    def _box(self) -> BlackBox:
        method = find_method(self.method)
        assert isinstance(method, ProcedureMethod)
        return BlackBox(self.network, self.task, method, self._settings, self.network.warn)

    def _explain_by_outputs(self, prepared_images: Sequence[PreparedImage], goals: Sequence[Goal]) -> list[Explained]:
        """Explain goals by a black-box method; those of one image share the runs."""
        found = []
        for prepared, pairs in groupby(zip(prepared_images, goals, strict=True), lambda pair: pair[0]):
            maps = self._box.maps(self.look(prepared), self._covered(prepared), [goal for _, goal in pairs])
            found += [Explained({}, raw, prepared.frame) for raw in maps]
        return found

    def _covered(self, prepared: PreparedImage) -> NDArray[Any]:
        """Return the tensor of a wholly covered image, a grey one; of a signal or volume its mean."""
        if not is_array(self.network, prepared.picture):
            blank = np.full((*prepared.size, 3), _GREY, np.uint8)
            return self.prepare_decoded(prepared.picture, blank, prepared.sha256).tensor
        space = self.network.layout.space if self.network.layout is not None else ()
        mean = prepared.tensor.mean(axis=space, keepdims=True).astype(prepared.tensor.dtype)
        return np.ascontiguousarray(np.broadcast_to(mean, prepared.tensor.shape))

    def _placed(
        self, raw: NDArray[Any], prepared: PreparedImage, compiled: CompiledExplanation
    ) -> tuple[NDArray[np.float32], Covered]:
        """Return the map upright, float32 [h, w] or [d, h, w], and the part of the image that it covers."""
        layout, flat = self.network.layout, raw.astype(np.float32)
        size = () if layout is None else tuple(prepared.tensor.shape[axis] for axis in layout.space)
        place = compiled.place(size) if compiled.layers and self._channel is None else None
        if len(size) == 1:
            return self._along_time(flat, prepared, place)
        if place is None:
            return flat, prepared.frame
        if not isinstance(prepared.frame, Frame):  # the tensor of a volume has its size
            return place.upright(flat), covering(place.intervals)
        rows, columns = place.intervals
        return place.upright(flat), prepared.frame.part(rows, columns, (size[0], size[1]))

    def _along_time(
        self, flat: NDArray[np.float32], prepared: PreparedImage, place: Place | None
    ) -> tuple[NDArray[np.float32], Covered]:
        """Return the map of a signal as one row, and the part of the signal that it covers."""
        if place is None:
            return flat[None], prepared.frame
        ((first, last),) = place.intervals
        return place.upright(flat)[None], Frame(first, 0, last, 1)


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
