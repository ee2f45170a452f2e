"""`Explainer`: from a model, images and targets to explanations."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias, Unpack, overload

import numpy as np
from numpy.typing import NDArray

from onnxcam import markup, paths
from onnxcam.errors import MethodError, ModelError, PreprocessError, TargetError
from onnxcam.explainer.assembler import Assembler
from onnxcam.explainer.compiled import CompiledExplanation
from onnxcam.explainer.concept_maps import ConceptMaps
from onnxcam.explainer.concepts import ConceptFinder, read_concepts
from onnxcam.explainer.explanation import Explanation
from onnxcam.explainer.frame_maps import explain_frames
from onnxcam.explainer.options import FixedArguments, Options
from onnxcam.explainer.request import Arrays, ExplanationRequest, PreprocessedImage, select_rows
from onnxcam.explainer.runner import Runner
from onnxcam.explainer.tiled import TiledRunner
from onnxcam.graph.cache import GraphCache
from onnxcam.graph.io import ModelLike
from onnxcam.hub import local
from onnxcam.markup import Markup
from onnxcam.media.tiles import OVERLAP, Tiling
from onnxcam.media.video import is_video
from onnxcam.metadata.reading import Part, Reading
from onnxcam.metadata.reserved import CHOSEN, MAP, SCORE
from onnxcam.methods import find_method, read_settings
from onnxcam.methods.base import AUTO, INDEPENDENT, NONE, SMOOTH
from onnxcam.methods.settings import require_layer_is_used
from onnxcam.model.clip_modality import ClipModality
from onnxcam.model.description import ModelDescription
from onnxcam.model.inputs import InputValue
from onnxcam.model.signals import SignalChoice
from onnxcam.preprocess import Preprocess, Spec, stack
from onnxcam.progress import Progress, quiet
from onnxcam.structure.layer import Choice
from onnxcam.structure.place import Place
from onnxcam.targets import ClassAim, Goal, Look, Target, Top, parse
from onnxcam.targets.classification import Classes
from onnxcam.targets.descriptions import Descriptions
from onnxcam.targets.detection import Detections
from onnxcam.targets.kinds import Class, Text
from onnxcam.targets.registry import TargetKind

__all__ = ["BATCH", "CONCEPTS", "Explainer", "Image", "explain"]

Image: TypeAlias = "str | os.PathLike[str] | NDArray[np.uint8] | PreprocessedImage"

CONCEPTS = "dff"
"""The method that finds concepts."""
BATCH = 8
"""The number of images in a run, where the model's batch size is open."""


@dataclass(eq=False, repr=False)
class Explainer(FixedArguments):
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

    def replace(self, **options: Unpack[Options]) -> Explainer:
        """Return another explainer of the same model: the arguments of this one, but for *options*.

        Example:
            >>> Explainer("model.onnx").replace(method="layercam", signed=True)
        """
        return type(self)(**{**self.arguments(), **options})

    @overload
    def __call__(
        self, images: Image, target: Target = None, inputs: Mapping[str, InputValue] | None = None
    ) -> Explanation: ...
    @overload
    def __call__(
        self, images: list[Image], target: Target = None, inputs: Mapping[str, InputValue] | None = None
    ) -> list[Explanation]: ...
    def __call__(
        self, images: Image | list[Image], target: Target = None, inputs: Mapping[str, InputValue] | None = None
    ) -> Explanation | list[Explanation]:
        """Explain one image, or each of a list.

        Args:
            images: An image file, an array uint8 [H, W, 3] RGB, what `prepare` returned, or a list of these; of a
                model of volumes a file or an array [D, H, W]; of a model of signals a .wav, .csv or .npy file, or an
                array (docs/signals.md).
            target: What to explain; None is the default target of this explainer.
            inputs: The model's other inputs; they override those of this explainer.

        Raises:
            ImageError: an image cannot be read.
            TargetError: the target means nothing for the model or the image.
            GradientError: the gradient is zero everywhere.
        """
        if self._is_of_frames(images):
            return explain_frames(self, images, target, inputs)  # type: ignore[arg-type]
        self._require_videos(images if isinstance(images, list) else [images])
        extra = self.network.read_inputs(inputs or {})
        with self.network.telling_guess():
            found = list(self._explain(images if isinstance(images, list) else [images], target, extra))
        return found if isinstance(images, list) else found[0]

    def prepare(self, image: Image) -> PreprocessedImage:
        """Read and preprocess *image*, for any number of calls of this explainer. Other threads may do it ahead.

        Raises ImageError and PreprocessError.
        """
        if isinstance(image, PreprocessedImage):
            return image
        content = self.network.modality.read(image)
        name = paths.stem(image) if isinstance(image, str | os.PathLike) else ""
        return PreprocessedImage(content, self.network.modality.tensor(content), name)

    def each(
        self,
        image: Image,
        target: Target | Sequence[Target] = None,
        inputs: Mapping[str, InputValue] | None = None,
    ) -> list[Explanation]:
        """Explain one image for *target*, or for each of a list.

        For ``top=5`` there are five explanations, for a text said of the image one for each word, else one. CAMs of
        several classes share one forward pass. Raises as a call does.
        """
        if self._is_of_frames(image):
            return [self(image, one, inputs) for one in _listed(target)]
        self._require_videos([image])
        prepared = self.prepare(image)
        wishes = [parse(self.target if one is None else one, self.class_names) for one in _listed(target)]
        found = self._of_classes(prepared, wishes, inputs)
        return [one for wish in wishes for one in self._wished(prepared, wish, inputs)] if found is None else found

    def _is_of_frames(self, image: Image | list[Image]) -> bool:
        """Whether *image* is a video whose frames the model takes one by one."""
        return is_video(image) and self.network.modality.decodes(str(image))

    def _require_videos(self, images: Sequence[Image]) -> None:
        """Raise PreprocessError where frames are asked for, and an image has none."""
        if self.frames is None or isinstance(self.network.modality, ClipModality):
            return
        if not all(isinstance(one, PreprocessedImage) for one in images):
            raise PreprocessError("frames= (--frames) is for videos, and this is an image; leave it out")

    def _wished(
        self, prepared: PreprocessedImage, wish: TargetKind, inputs: Mapping[str, InputValue] | None
    ) -> list[Explanation]:
        if isinstance(self.network.task, Descriptions) and isinstance(wish, Text | Top):
            return self._each_word(self.network.task, prepared, wish, self.network.read_inputs(inputs or {}))
        if isinstance(wish, Top) and wish.count > 1:
            return self.best(prepared, wish.count, inputs)
        return [self(prepared, wish, inputs)]

    def _each_word(
        self, task: Descriptions, image: PreprocessedImage, wish: Text | Top, extra: Arrays
    ) -> list[Explanation]:
        """Explain the words of a text; of the model's own where *wish* names none."""
        look = self.network.look(image.tensor, image.content, extra)
        with self.network.telling_guess():
            return [one for word in task.words(wish, look) for one in self._explain([image], word, extra)]

    def best(self, image: Image, count: int, inputs: Mapping[str, InputValue] | None = None) -> list[Explanation]:
        """Explain the *count* classes, or detected objects, with the highest scores, in their order.

        TargetError where the model is neither a classifier nor a detector.
        """
        if not isinstance(self.network.task, Classes | Detections):
            raise TargetError(
                f"only classifiers and detectors have {count} best targets; this is {self.network.task.name}"
            )
        prepared = self.prepare(image)
        found = self._of_classes(prepared, [Top(count)], inputs)
        if found is not None:
            return found
        first = self(prepared, "top", inputs)
        look = self.network.look(prepared.tensor, prepared.content, self.network.read_inputs(inputs or {}))
        with self.network.telling_guess():
            order = self.network.task.ranked(replace(look, known=first.outputs))
        return [first, *(self(prepared, wish, inputs) for wish in order[1:count])]

    @overload
    def concepts(
        self, images: Image, number: int | None = None, target: Target = None, *, together: bool | None = None
    ) -> ConceptMaps: ...
    @overload
    def concepts(
        self, images: list[Image], number: int | None = None, target: Target = None, *, together: bool | None = None
    ) -> list[ConceptMaps]: ...
    def concepts(
        self,
        images: Image | list[Image],
        number: int | None = None,
        target: Target = None,
        *,
        together: bool | None = None,
    ) -> ConceptMaps | list[ConceptMaps]:
        """Find what the layer sees in an image, whatever the class: all concepts of method `dff`, of one factorisation.

        Args:
            images: An image as for a call, or a list of images.
            number: The number of concepts; None is the setting *concepts* of `dff`, 5.
            target: Of models that are no classifiers: what chooses the layer. It changes nothing else.
            together: The images share one factorisation: a concept has the same number, colour and class in all of
                them. None is the setting *together* of `dff`, no.

        Raises as a call does, and MethodError where the layer has fewer positions or channels than concepts.

        Example:
            >>> found = Explainer("resnet50.onnx").concepts("cat.jpg", 4)
            >>> found.classes, found.maps.shape
        """
        if self.method != CONCEPTS:
            return self._of_concepts.concepts(images, number, target, together=together)
        several = images if isinstance(images, list) else [images]
        count = self._runner.settings["concepts"] if number is None else read_concepts(number)
        extra = self.network.read_inputs({})
        with self.network.telling_guess():
            batch = [self._image_of_concepts(image) for image in several]
            goals = [self._goal_of_concepts(target, one, extra) for one in batch]
            rows = list(zip(batch, goals, strict=True))
            shared = self.shares_concepts if together is None else together
            groups = [rows] if shared else [[row] for row in rows]
            finder = ConceptFinder(self._runner, self._assembler)
            found = [one for group in groups if group for one in finder.find(group, extra, count)]
        return found if isinstance(images, list) else found[0]

    @property
    def finds_concepts(self) -> bool:
        """Whether ``onnxcam explain`` writes all concepts of an image in place of a map: `dff` without its rank."""
        return self.method == CONCEPTS and "rank" not in self.settings

    @property
    def shares_concepts(self) -> bool:
        """Whether the images of one call of `concepts` share them: the setting *together* of `dff`."""
        return bool(self._runner.settings.get("together") == "yes")

    @cached_property
    def _of_concepts(self) -> Explainer:
        """The explainer of the same model that finds concepts."""
        return self.replace(method=CONCEPTS, settings={}, smooth=NONE, signed=False)

    def _image_of_concepts(self, image: Image) -> PreprocessedImage:
        """Return the prepared *image*; MethodError for windows and frames."""
        if self._tiled is not None or self._is_of_frames(image):
            raise MethodError(
                "all concepts at once are those of an image in one piece, not of windows or of the frames of a video; "
                "choose one concept, settings={'rank': 1} (--set rank=1)"
            )
        return self.prepare(image)

    def _goal_of_concepts(self, target: Target, image: PreprocessedImage, extra: Arrays) -> Goal:
        """Return what chooses the layer: of a classifier its top class, whatever the *target*."""
        look = self.network.look(image.tensor, image.content, extra)
        if isinstance(self.network.task, Classes):
            wish = parse(self.target if target is None else target, self.class_names)
            self.network.task.check(wish)
            return self._marked(self.network.resolve(Top(), look), wish)
        return self._goal(target, look)

    def _of_classes(
        self, prepared: PreprocessedImage, wishes: Sequence[TargetKind], inputs: Mapping[str, InputValue] | None
    ) -> list[Explanation] | None:
        """Explain several classes of one image in one run; None where *wishes* are no such classes."""
        task = self.network.task
        if isinstance(task, Classes):
            for wish in wishes:
                self._tell_count(task, wish)
        count = sum(wish.count if isinstance(wish, Top) else 1 for wish in wishes)
        if count < 2 or not (isinstance(task, Classes) and all(isinstance(wish, Top | Class) for wish in wishes)):
            return None
        extra = self.network.read_inputs(inputs or {})
        look = self.network.look(prepared.tensor, prepared.content, extra)
        with self.network.telling_guess():
            goals = [goal for wish in wishes for goal in task.goals(wish, look)]
            request = ExplanationRequest(prepared.tensor, goals[:1], extra)
            found = self._runner.classes(request, goals)
        if found is None:
            return None
        return [
            self._assembler.explanation(
                prepared.content, replace(request, goals=[goal]), compiled, one, name=prepared.name
            )
            for goal, (compiled, one) in zip(goals, found, strict=True)
        ]

    def _tell_count(self, task: Classes, wish: TargetKind) -> None:
        """Warn where *wish* is more classes than there are."""
        if isinstance(wish, Top) and wish.count > task.scores.classes:
            self.network.warn(f"top={wish.count}: the model has {task.scores.classes} classes, and all are explained")

    def attribute(self, x: NDArray[Any] | Arrays, target: Target | Sequence[Target] = None) -> NDArray[np.float32]:
        """Return the raw maps of preprocessed tensors.

        Args:
            x: The image input [N, …], or a dict of the image input and other inputs by name.
            target: The target of all, or a list of N. Boxes and points are in pixels of the tensor.

        Returns:
            For CAM methods float32 [N, h, w] at the layer's size (volumes [N, d, h, w]); for gradient methods float32
            in the input's shape, signed. Neither normalised nor enlarged.

        Raises:
            ModelError: *x* does not have the rank or the type of the model's input, or another input is missing.
            TargetError: a target means nothing for the model.
        """
        found = (self._tiled or self._runner).run(self._request(x, target))
        return np.concatenate([outputs[MAP] for _, outputs in found])

    def scores(self, x: NDArray[Any] | Arrays, target: Target | Sequence[Target] = None) -> NDArray[np.float64]:
        """Return the score of *target*, before softmax or sigmoid, float64 [N]. The arguments are `attribute`'s."""
        return (self._tiled or self._runner).outputs(self._request(x, target), [SCORE])[SCORE].astype(np.float64)

    def classes(self, x: NDArray[Any] | Arrays, target: Target | Sequence[Target] = None) -> NDArray[np.int64]:
        """Return the class index of *target*, int64 [N]: the model's top class for None and ``"top"``.

        TargetError where the target is no class.
        """
        return self._about_classes(x, target, [])[CHOSEN]

    def probabilities(self, x: NDArray[Any] | Arrays, target: Target | Sequence[Target] = None) -> NDArray[np.float64]:
        """Return the probability of the class *target*, float64 [N].

        MethodError where the model's scores are integers of unknown scale, TargetError where the target is no class.
        """
        outputs = self._about_classes(x, target, self.network.probability_outputs or [])
        found = self.network.probabilities(outputs, outputs[CHOSEN])
        if found is None:
            raise MethodError(
                "the model's scores are integers of unknown meaning, or above 1: there are no probabilities"
            )
        return found

    @property
    def class_count(self) -> int | None:
        """The number of classes; None where the model is no classifier."""
        task = self.network.task
        return task.scores.classes if isinstance(task, Classes) else None

    def _about_classes(
        self, x: NDArray[Any] | Arrays, target: Target | Sequence[Target], outputs: Sequence[str]
    ) -> Arrays:
        """Return the class indices and *outputs*, of one pass; TargetError where a target is no class."""
        request = self._request(x, target)
        if not all(isinstance(goal.aim, ClassAim) for goal in request.goals):
            raise TargetError(
                f"target {request.goals[0].words!r} is no class of a classifier; give an index or a label"
            )
        return self._runner.outputs(request, [CHOSEN, *outputs])

    def _request(self, x: NDArray[Any] | Arrays, target: Target | Sequence[Target]) -> ExplanationRequest:
        """Return the batch of tensors *x*, with what *target* means for each."""
        given = dict(x) if isinstance(x, Mapping) else {self.network.picture: x}
        tensor = self._checked(np.asarray(given.pop(self.network.picture)))
        each = self._each(target, len(tensor))
        looks = (
            self.network.look(tensor[row : row + 1], None, select_rows(given, [row], len(tensor)))
            for row in range(len(tensor))
        )
        return ExplanationRequest(tensor, [self._goal(one, look) for one, look in zip(each, looks, strict=True)], given)

    def _checked(self, tensor: NDArray[Any]) -> NDArray[Any]:
        """Return *tensor*; ModelError where its rank or its type is not that of the model's input."""
        shape = self.network.image.shape
        if tensor.ndim == 0 or (shape is not None and tensor.ndim != len(shape)):
            raise ModelError(
                f"the model takes {self.network.picture!r} {shape}, not an array {list(tensor.shape)}; "
                "give a batch of preprocessed tensors"
            )
        dtype = None if self.network.image.dtype is None else self.network.image.dtype.numpy()
        if dtype is not None and tensor.dtype != dtype:
            raise ModelError(
                f"the model takes {self.network.picture!r} as {dtype}, and this tensor is {tensor.dtype}; give "
                f"{_other_type(dtype)}, or the tensor of Explainer.prepare(image)"
            )
        return tensor

    def _explain(self, images: Sequence[Image], wanted: Target, extra: Arrays) -> Iterator[Explanation]:
        for start in range(0, len(images), BATCH):
            batch = [self.prepare(source) for source in images[start : start + BATCH]]
            looks = [self.network.look(one.tensor, one.content, extra) for one in batch]
            goals = [self._goal(wanted, look) for look in looks]
            same = len({one.tensor.shape for one in batch}) == 1
            for group in [range(len(batch))] if same else [[i] for i in range(len(batch))]:
                request = ExplanationRequest(stack(batch[i].tensor for i in group), [goals[i] for i in group], extra)
                found = (self._tiled or self._runner).run(request)
                for row, (i, (compiled, one)) in enumerate(zip(group, found, strict=True)):
                    yield self._assembled(batch[i], request.of([row]), compiled, one, looks[i])

    def _assembled(
        self,
        image: PreprocessedImage,
        request: ExplanationRequest,
        compiled: CompiledExplanation,
        results: Arrays,
        look: Look,
    ) -> Explanation:
        """Return the explanation of *image*; of windows with the joined output, which *look* has."""
        if self._tiled is None:
            return self._assembler.explanation(image.content, request, compiled, results, name=image.name)
        tile, results = self._tiled.heaviest(request), {**look.outputs, **results}
        return self._assembler.explanation(image.content, tile, compiled, results, name=image.name, joined=True)

    def _goal(self, wanted: Target, look: Look) -> Goal:
        wish = parse(self.target if wanted is None else wanted, self.class_names)
        if isinstance(wish, Top) and wish.count > 1:
            raise TargetError(
                f"top={wish.count} is {wish.count} explanations; ask for each (--target twice, Explainer.each)"
            )
        goal, ranks = self.network.resolve(wish, look), "rank" in self._runner.settings  # a target ranks concepts
        return goal if ranks else self._marked(goal, wish)

    def _marked(self, goal: Goal, wish: TargetKind) -> Goal:
        """Return *goal* with a warning if the user asked for it and the method hardly depends on it."""
        if not find_method(self.method).class_independent or wish == Top():
            return goal
        warning = (
            f"{self.method} is {INDEPENDENT}: its map hardly depends on the target; "
            f"{self.network.task.method} shows what speaks for one"
        )
        return replace(goal, warnings=(*goal.warnings, warning))

    def _each(self, wanted: Target | Sequence[Target], count: int) -> list[Target]:
        each = _listed(wanted, count)
        if len(each) != count:
            raise TargetError(f"{len(each)} targets for {count} images; give one for all, or one each")
        return each

    def check(self, target: Target) -> None:
        """Raise TargetError for a target that no image can have: wrong notation, or a class that the model lacks."""
        task, wish = self.network.task, parse(target, self.class_names)
        if isinstance(task, Classes):
            task.check(wish)

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
    def class_names(self) -> Sequence[str] | None:
        """The names of the model's classes; None where they are not known."""
        return self.network.class_names

    @property
    def warnings(self) -> list[str]:
        """What the user should know about every map."""
        return self.network.warnings

    @property
    def preprocessing(self) -> Preprocess:
        """How images become tensors; found out at the first use."""
        return self.network.preprocessing


def _other_type(dtype: np.dtype[Any]) -> str:
    """Return what to give for an input of *dtype*: quantised integers, or a cast."""
    return "its quantised integers" if np.issubdtype(dtype, np.integer) else f"x.astype(np.{dtype})"


def _listed(wanted: Target | Sequence[Target], count: int = 1) -> list[Target]:
    """Return a list of targets as it is, one target *count* times."""
    alone = wanted is None or isinstance(wanted, str | int | np.integer | TargetKind)
    each: list[Any] = [wanted] * count if alone else list(wanted)  # type: ignore[arg-type]
    return each


def explain(model: ModelLike, image: Image, **options: Unpack[Options]) -> Explanation:
    """Explain one image: ``Explainer(model, **options)(image)``."""
    return Explainer(model, **options)(image)
