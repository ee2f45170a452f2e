"""`Explainer`: from a model, images and targets to explanations."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Unpack

from onnxcam import markup
from onnxcam.errors import ModelError, PreprocessError
from onnxcam.explainer.assembler import Assembler
from onnxcam.explainer.concept_calls import CONCEPTS, ConceptCalls
from onnxcam.explainer.explanation import Explanation
from onnxcam.explainer.image_calls import BATCH, Image
from onnxcam.explainer.options import Options
from onnxcam.explainer.runner import Runner
from onnxcam.explainer.target_calls import TargetCalls
from onnxcam.explainer.tensor_calls import TensorCalls
from onnxcam.explainer.tiled import TiledRunner
from onnxcam.graph.cache import GraphCache
from onnxcam.graph.io import ModelLike
from onnxcam.hub import local
from onnxcam.markup import Markup
from onnxcam.media.tiles import OVERLAP, Tiling
from onnxcam.metadata.reading import Part, Reading
from onnxcam.methods import find_method, read_settings
from onnxcam.methods.base import AUTO, NONE, SMOOTH
from onnxcam.methods.settings import require_layer_is_used
from onnxcam.model.description import ModelDescription
from onnxcam.model.inputs import InputValue
from onnxcam.model.signals import SignalChoice
from onnxcam.preprocess import Preprocess, Spec
from onnxcam.progress import Progress, quiet
from onnxcam.structure.layer import Choice
from onnxcam.structure.place import Place
from onnxcam.targets import ClassAim, Target

__all__ = ["BATCH", "CONCEPTS", "Explainer", "Image", "explain"]


@dataclass(eq=False, repr=False)
class Explainer(TargetCalls, TensorCalls, ConceptCalls):
    """A model that explains its decisions: built once, called for any number of images.

    The arguments are fixed once it is built; `replace` returns another explainer. Two explainers are equal only if
    they are the same object. A pickled one builds its session again where it is loaded.

    Args:
        model: A path, an address ``hf://org/name`` (docs/hub.md), the file's bytes, an `onnx.ModelProto` or an
            `onnx_ir.Model`.
        method: The method's id, such as ``"gradcam"``; ``"auto"`` takes the task's default: Grad-CAM for classifiers,
            LayerCAM for one place of an output (a detection, a patch), refined LayerCAM for text, AttnLRP for words
            of vision-language decoders. The attribute holds the id.
        layer: The layer of CAM methods: the name of a tensor, a node or a layer of the framework; None chooses one.
            The maps of several layers, a list or ``"a,b"``, are fused. MethodError for a method without a layer.
        target: The default target of calls: a class index, a label, ``"top"`` or another form
            (`onnxcam.targets.parser` lists them); None is the model's top class, object or text.
        provider: ``"auto"``, ``"cpu"``, ``"cuda"`` or another name of `onnxcam.engine.SHORT`.
        preprocess: How an image becomes the model's tensor: text such as ``"imagenet"`` (docs/preprocess.md), a
            `Preprocess`, or a function from uint8 [H, W, 3] RGB to the tensor [1, …]; None reads it from the file,
            else guesses.
        labels: A file of class names, or the names; None reads them from the model's file.
        settings: The method's settings, such as ``{"samples": 50, "batch_size": 16}``; see the method's docstring.
        smooth: For CAMs of one pass: ``"aug"`` averages over mirrored, darker and brighter images, ``"eigen"`` takes
            the principal component instead of the sum over channels, ``"aug+eigen"`` does both.
        signed: Keep the evidence against the target; the maps then have values from −1 to 1.
        inputs: The model's other inputs by name: words, numbers, an ``.npy`` file, an image or an array.
        wrt: The name of the input to explain, where several are images, or where it is no image, such as a question.
        task: What the model does, a value of `task` of its card (docs/card.md), such as ``"detection"``; None reads it
            from the file.
        scores_output: The output that holds the class scores; None finds it.
        boxes_output: The output that holds the boxes of a detector, and after a colon their convention, such as
            ``"boxes:xyxy"``; None finds both.
        letters: The letters of a text recogniser, in order; None reads them from the file.
        progress: A function (iterable, total) -> iterable that shows progress over the samples of methods of many
            passes.
        features: Also return the means of the layer's channels, `Explanation.features`.
        spin: Let the idle threads of a session spin. Runs in a row are then faster; without, other threads get the
            processor.
        cache: A folder that keeps the graphs of model files from one start to the next (docs/explain.md); None keeps
            none. *model* is then a path.
        text_model: The text tower of an image tower (CLIP, SigLIP), an ``.onnx`` file, for targets such as
            ``like="a dog"`` (docs/words.md); None: the model itself, if it holds both.
        tokenizer: The tokenizer of the text tower, a ``tokenizer.json``, a ``vocab.json`` with its ``merges.txt``, or
            their folder; None: the one beside the tower.
        rate: Of a model of signals: the samples in a second that it takes; None reads it from the file
            (docs/signals.md).
        start: Where the part of a longer signal begins: a sample, or seconds such as ``"2.5s"``.
        resample: Change signals of another rate to the model's.
        window: The lengths of the network's window on each axis of space, such as ``(64, 64, 64)``: larger images and
            volumes are explained window by window, and the maps joined (docs/volumes.md). None: the network takes the
            whole input.
        overlap: The share of a window that the next one covers too, from 0 to below 1; None is 0.5.
        frames: Which frames of a video are taken: so many, spread evenly, ``"stride=5"`` or ``"fps=2"``
            (docs/video.md).

    Raises:
        OnnxcamError: a message of one line says what is wrong (see `onnxcam.errors`).

    Example:
        >>> ex = Explainer("resnet50.onnx", preprocess="imagenet")
        >>> ex("cat.jpg", target="tabby").save("out")
    """

    model: ModelLike
    method: str = AUTO
    layer: str | Sequence[str] | None = None
    target: Target = None
    provider: str = "auto"
    preprocess: Spec | None = None
    labels: str | os.PathLike[str] | Sequence[str] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    smooth: str = NONE
    signed: bool = False
    inputs: Mapping[str, InputValue] = field(default_factory=dict)
    wrt: str | None = None
    task: str | None = None
    scores_output: str | None = None
    boxes_output: str | None = None
    letters: str | None = None
    progress: Progress = quiet
    features: bool = False
    spin: bool = True
    cache: str | os.PathLike[str] | None = None
    text_model: str | os.PathLike[str] | None = None
    tokenizer: str | os.PathLike[str] | None = None
    rate: float | None = None
    start: int | str | None = None
    resample: bool = False
    window: Sequence[int] | None = None
    overlap: float | None = None
    frames: int | str | None = None

    def __post_init__(self) -> None:
        self.settings, self.inputs = MappingProxyType(dict(self.settings)), MappingProxyType(dict(self.inputs))
        self.layer = tuple(self.layer) if isinstance(self.layer, list) else self.layer
        if self.method != AUTO:
            require_layer_is_used([find_method(self.method)], self.layer)  # before the model is read
        about = self.model, self.provider, self.preprocess, self.labels, self.wrt, self.inputs, self._said()
        signals = SignalChoice(self.rate, self.start, self.resample)
        self.network = ModelDescription(
            *about,
            cache=self._graph_cache(),
            text_model=self.text_model,
            tokenizer=self.tokenizer,
            signals=signals,
            tiling=self._tiling(),
            frames=self.frames,
        )
        self.method = self._default_method() if self.method == AUTO else self.method
        method = find_method(self.method)
        smooth = {} if self.smooth == NONE else {SMOOTH: self.smooth}
        settings = read_settings(method, {**self.settings, **smooth})
        require_layer_is_used([method], self.layer)
        self._runner = Runner(
            self.network,
            method,
            settings,
            self.layer,
            self.signed,
            self.progress,
            spin=self.spin,
            features=self.features,
        )
        stitched = self.network.stitched
        self._tiled = None if stitched is None else TiledRunner(self._runner, stitched)
        named = self.layer not in (None, AUTO) and method.uses_layer
        chosen = [f"{name}={value}" for name, value in {**self.settings, **smooth}.items()]
        variant = "-".join([*chosen, *(["signed"] if self.signed else [])])
        self._assembler = Assembler(self.network, method, self._runner.pooled, self.signed, named, variant)
        if self.target is not None:
            self.check(self.target)
        if isinstance(self.network.task.aim, ClassAim):  # one graph for all classes; other targets need an image
            self._runner.compile(self.network.open(), self.network.task.aim)
        self.fix()

    def _default_method(self) -> str:
        """Return the id of the task's default method; that of numbers, where the explained input is no image."""
        return self.network.task.method if self.network.explained is self.network.image else "gradient-x-input"

    def _tiling(self) -> Tiling | None:
        """Return the windows; PreprocessError where they are none, or an overlap has no window."""
        if self.window is not None:
            if isinstance(self.window, int | str):
                raise PreprocessError(
                    f"the window is {self.window!r}; give a length for each axis, such as (64, 64, 64)"
                )
            self.window = tuple(map(int, self.window))
            return Tiling(self.window, OVERLAP if self.overlap is None else self.overlap)
        if self.overlap is not None:
            raise PreprocessError("an overlap (--overlap) is one of windows; give the window too, or leave it out")
        return None

    def _graph_cache(self) -> GraphCache | None:
        """Return the cache of this model; ModelError where the model is no file."""
        if self.cache is None:
            return None
        if not isinstance(self.model, str | os.PathLike):
            raise ModelError("a cache keeps the graphs of model files; give the path of the model, or no cache")
        return GraphCache(Path(self.cache), local(self.model))

    def _said(self) -> dict[str, str]:
        """Return what the user says of the model in place of its card."""
        parts = {"task": self.task, "scores": self.scores_output, "boxes": self.boxes_output, "letters": self.letters}
        return {name: value for name, value in parts.items() if value is not None}

    @property
    def choice(self) -> Choice | None:
        """The layer, and why it was chosen; None for methods without one, or before the first target needs one."""
        return self._runner.choice

    def place(self, size: tuple[int, ...]) -> Place | None:
        """Return where the cells of the maps of `attribute` lie in an image tensor of the spatial *size*.

        None where they cover it evenly, as they do unless the network crops, pads or mirrors its input.
        """
        return self._runner.place(size)

    @property
    def reading(self) -> Reading:
        """What was read of the model: task, scores, boxes, layer, preprocessing …, and how each part is known."""
        choice = self.choice
        layer = [] if choice is None else [Part("layer", str(choice.layer), choice.source, choice.reason)]
        return Reading([*self.network.reading, *layer])

    def _repr_html_(self) -> str:
        name = str(self.model) if isinstance(self.model, str | os.PathLike) else f"a {type(self.model).__name__}"
        said = [("model", name), ("method", self.method), ("provider", self.provider)]
        return markup.block(markup.facts(said), Markup(self.reading._repr_html_()), markup.warned(self.warnings))

    @property
    def warnings(self) -> list[str]:
        """What the user should know about every map."""
        return self.network.warnings

    @property
    def preprocessing(self) -> Preprocess:
        """How images become tensors; found out at the first use."""
        return self.network.preprocessing


def explain(model: ModelLike, image: Image, **options: Unpack[Options]) -> Explanation:
    """Explain one image: ``Explainer(model, **options)(image)``."""
    return Explainer(model, **options)(image)
