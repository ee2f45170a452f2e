"""The pipeline, top to bottom: model, layer, target, explanation graph, picture, map."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from onnxcam.errors import GradientError, MethodError, TargetError
from onnxcam.explainer.compiled import Compiled
from onnxcam.explainer.explanation import Explanation
from onnxcam.explainer.runner import Asked, Runner, of_rows
from onnxcam.graph.io import ModelLike
from onnxcam.media import heatmap
from onnxcam.media.volume import Volume
from onnxcam.metadata.reserved import CHOSEN, MAP, SCORE
from onnxcam.methods import find_method, read_settings
from onnxcam.methods.base import NONE, SMOOTH
from onnxcam.model.description import Network
from onnxcam.model.diagnose import gradient_flows
from onnxcam.model.inputs import Given
from onnxcam.preprocess import Preprocess, Spec, stack
from onnxcam.progress import Progress, quiet
from onnxcam.structure.layer import Choice
from onnxcam.targets import ClassAim, Goal, Look, Target, TargetKind, Top, parse
from onnxcam.targets.classification import Classes
from onnxcam.targets.detection import Detections

Image: TypeAlias = "str | os.PathLike[str] | NDArray[np.uint8]"
Arrays: TypeAlias = Mapping[str, NDArray[Any]]

BATCH = 8  # pictures a run, where the model leaves the batch open


@dataclass
class Explainer:
    """A model that explains itself: built once, asked many times.

    Args:
        model: A path, the file's bytes, an `onnx.ModelProto` or an `onnx_ir.Model`.
        method: The method's id, such as ``"gradcam"``.
        layer: The layer that CAM methods look at: a tensor, a node, the framework's layer name; None chooses. The maps
            of several, a list or ``"a,b"``, are fused.
        target: What to explain where a call does not say: a class index, a label, ``"top"`` or other words
            (`onnxcam.targets.parser` lists them); None takes what the model puts first.
        provider: ``"auto"``, ``"cpu"``, ``"cuda"`` or another of `onnxcam.engine.SHORT`.
        preprocess: How a picture becomes the model's tensor: a spelling such as ``"imagenet"`` (docs/preprocess.md),
            a `Preprocess`, a function from uint8 [H, W, 3] to the tensor; None asks the file, then guesses.
        labels: A file of class names, or the names; None asks the file.
        settings: The method's own, such as ``{"samples": 50, "batch_size": 16}``; see its docstring.
        smooth: For CAMs of one pass: ``"aug"`` averages over mirrored, darker and brighter pictures, ``"eigen"`` takes
            the principal component in place of the sum over channels, ``"aug+eigen"`` does both.
        signed: Whether what speaks against the target stays in the maps, which then go from −1 to 1.
        inputs: The model's other inputs by name: words, numbers, an ``.npy`` file, a picture or an array.
        wrt: Which input is explained, where several are pictures; or one that is none, such as a question.
        progress: Wraps the samples of such a method and their number, to show how far it is.

    Raises:
        OnnxcamError: with one line that says what is wrong (see `onnxcam.errors`).

    Example:
        >>> ex = Explainer("resnet50.onnx", preprocess="imagenet")
        >>> ex("cat.jpg", target="tabby").save("out")
    """

    model: ModelLike
    method: str = "gradcam"
    layer: str | Sequence[str] | None = None
    target: Target = None
    provider: str = "auto"
    preprocess: Spec | None = None
    labels: str | os.PathLike[str] | Sequence[str] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    smooth: str = NONE
    signed: bool = False
    inputs: Mapping[str, Given] = field(default_factory=dict)
    wrt: str | None = None
    progress: Progress = quiet

    def __post_init__(self) -> None:
        method = find_method(self.method)
        smooth = {} if self.smooth == NONE else {SMOOTH: self.smooth}
        settings = read_settings(method, {**self.settings, **smooth})
        self.network = Network(self.model, self.provider, self.preprocess, self.labels, self.wrt, self.inputs)
        subject = self.network.open()
        self.network.read(subject)
        self._runner = Runner(self.network, method, settings, self.layer, self.signed, self.progress)
        if self.target is not None:
            self._check_class(self.target)
        if isinstance(self.network.task.aim, ClassAim):  # one graph for all classes; other targets need a picture
            self._runner.compile(subject, self.network.task.aim)

    @overload
    def __call__(
        self, images: Image, target: Target = None, inputs: Mapping[str, Given] | None = None
    ) -> Explanation: ...
    @overload
    def __call__(
        self, images: list[Image], target: Target = None, inputs: Mapping[str, Given] | None = None
    ) -> list[Explanation]: ...
    def __call__(
        self, images: Image | list[Image], target: Target = None, inputs: Mapping[str, Given] | None = None
    ) -> Explanation | list[Explanation]:
        """Explain one picture (a file, or uint8 [H, W, 3] RGB), or a list; *inputs* stand above those given before."""
        extra = self.network.read_inputs(inputs or {})
        if isinstance(images, list):
            return list(self._explain(images, target, extra))
        return next(self._explain([images], target, extra))

    def each(self, image: Image, target: Target = None, inputs: Mapping[str, Given] | None = None) -> list[Explanation]:
        """Explain one picture: what *target* means, which for ``top=5`` is five explanations, else one."""
        wish = parse(self.target if target is None else target, self.class_names)
        count = wish.count if isinstance(wish, Top) else 1
        return self.best(image, count, inputs) if count > 1 else [self(image, target, inputs)]

    def best(self, image: Image, count: int, inputs: Mapping[str, Given] | None = None) -> list[Explanation]:
        """Explain what the model puts first, *count* of it, the best first: classes, or the objects it detects."""
        if not isinstance(self.network.task, Classes | Detections):
            raise TargetError(
                f"the {count} best are asked of classifiers and detectors; this is {self.network.task.name}"
            )
        picture = self.network.medium.read(image)
        first = self(picture, "top", inputs)
        tensor = self.network.medium.tensor(picture)
        look = self.network.look(tensor, picture, self.network.read_inputs(inputs or {}))
        order = self.network.task.ranked(replace(look, known=first.outputs))
        return [first, *(self(picture, wish, inputs) for wish in order[1:count])]

    def attribute(self, x: NDArray[Any] | Arrays, target: Target | Sequence[Target] = None) -> NDArray[np.float32]:
        """Return the raw maps of preprocessed tensors.

        Args:
            x: The model's input [N, …], or a dict with it, and its other inputs, under their names.
            target: What to explain, for all or one each. Places are in the tensor's pixels.

        Returns:
            For CAM methods float32 [N, h, w] at the layer's size (volumes [N, d, h, w]); for the gradient methods
            float32 in the input's own shape, signed. Neither scaled nor enlarged.
        """
        found = self._runner.run(self._asked(x, target))
        return np.concatenate([outputs[MAP] for _, outputs in found])

    def scores(self, x: NDArray[Any] | Arrays, target: Target | Sequence[Target] = None) -> NDArray[np.float64]:
        """Return the score [N] of *target* for preprocessed tensors, as `attribute` takes them."""
        return self._runner.outputs(self._asked(x, target), [SCORE])[SCORE].astype(np.float64)

    def classes(self, x: NDArray[Any] | Arrays, target: Target | Sequence[Target] = None) -> NDArray[np.int64]:
        """Return the class index [N] that *target* stands for: the model's own top class for None and ``"top"``.

        TargetError where the target is no class.
        """
        return self._about_classes(x, target, [])[CHOSEN]

    def probabilities(self, x: NDArray[Any] | Arrays, target: Target | Sequence[Target] = None) -> NDArray[np.float64]:
        """Return the probability [N] of the class *target*; MethodError where the model's scores tell none."""
        outputs = self._about_classes(x, target, self.network.probability_outputs or [])
        found = self.network.probabilities(outputs, outputs[CHOSEN])
        if found is None:
            raise MethodError("the model's scores are integers of unknown meaning: there are no probabilities")
        return found

    @property
    def class_count(self) -> int | None:
        """How many classes the model has; None where it is no classifier."""
        task = self.network.task
        return task.scores.classes if isinstance(task, Classes) else None

    def _about_classes(
        self, x: NDArray[Any] | Arrays, target: Target | Sequence[Target], outputs: Sequence[str]
    ) -> Arrays:
        """Return which classes are meant, and *outputs*, in one pass; TargetError where a target is no class."""
        asked = self._asked(x, target)
        if not all(isinstance(goal.aim, ClassAim) for goal in asked.goals):
            raise TargetError(f"target {asked.goals[0].words!r} is no class of a classifier; give an index or a label")
        return self._runner.outputs(asked, [CHOSEN, *outputs])

    def _asked(self, x: NDArray[Any] | Arrays, target: Target | Sequence[Target]) -> Asked:
        """Return the batch of tensors *x*, and what *target* means in each of them."""
        given = dict(x) if isinstance(x, Mapping) else {self.network.picture: x}
        tensor = np.asarray(given.pop(self.network.picture))
        each = self._each(target, len(tensor))
        looks = (
            self.network.look(tensor[row : row + 1], None, of_rows(given, [row], len(tensor)))
            for row in range(len(tensor))
        )
        return Asked(tensor, [self._goal(one, look) for one, look in zip(each, looks, strict=True)], given)

    def _explain(self, images: Sequence[Image], wanted: Target, extra: Arrays) -> Iterator[Explanation]:
        medium = self.network.medium
        for start in range(0, len(images), BATCH):
            batch = [medium.read(source) for source in images[start : start + BATCH]]
            tensors = [medium.tensor(picture) for picture in batch]
            looks = [self.network.look(t, picture, extra) for t, picture in zip(tensors, batch, strict=True)]
            goals = [self._goal(wanted, look) for look in looks]
            same = len({tensor.shape for tensor in tensors}) == 1
            for group in [range(len(tensors))] if same else [[i] for i in range(len(tensors))]:
                asked = Asked(stack(tensors[i] for i in group), [goals[i] for i in group], extra)
                for row, (i, (compiled, one)) in enumerate(zip(group, self._runner.run(asked), strict=True)):
                    yield self._explanation(batch[i], asked.of([row]), compiled, one)

    def _explanation(self, picture: Any, asked: Asked, compiled: Compiled, results: Arrays) -> Explanation:
        (goal,), raw = asked.goals, results[MAP][0]
        index = int(results[CHOSEN][0]) if CHOSEN in results else goal.index
        names = self.class_names
        label = names[index] if CHOSEN in results and names and index is not None else goal.label
        parts = self.network.parts(asked.feeds(self.network))
        channel = None if self._runner.method.at_layer else self._channel()
        if parts is not None:
            channel = 1 if raw.ndim > 1 else None
            raw = raw if raw.ndim > 1 else np.abs(raw)
        flat = heatmap.flat(raw, channel, signed=self.signed)
        warnings = list(self.warnings)
        if not (np.abs(flat) if self.signed else flat).max(initial=0) > 0:
            warnings.append(self._why_blank(asked, index, compiled))
        if goal.box is not None and self._runner.pooled:
            warnings.append(
                f"{self.method} averages gradients over the whole layer, which may lose the place of one box or patch; "
                "layercam and hirescam keep it"
            )
        placed = flat if parts is not None else self.network.medium.enlarge(flat, picture)
        outputs = {name: results[name] for name in self.network.outputs}
        return Explanation(
            image=picture.data if isinstance(picture, Volume) else picture,
            affine=picture.affine if isinstance(picture, Volume) else None,
            map=heatmap.normalize(placed, signed=self.signed),
            raw=raw,
            target=index,
            label=label,
            words=goal.words if CHOSEN not in results else label or str(index),
            score=float(results[SCORE][0]),
            probability=self._probability(goal, outputs, index),
            layer=", ".join(layer.name for layer in compiled.layers) or None,
            method=self.method,
            outputs=outputs,
            detection=goal.box,
            note=goal.note,
            parts=tuple(parts) if parts is not None else None,
            warnings=tuple(warnings),
        )

    def _probability(self, goal: Goal, outputs: Arrays, index: int | None) -> float | None:
        if goal.probability is not None or index is None or self.network.probability_outputs is None:
            return goal.probability
        found = self.network.probabilities(outputs, np.asarray([index]))
        return None if found is None else float(found[0])

    def _goal(self, wanted: Target, look: Look) -> Goal:
        wish = parse(self.target if wanted is None else wanted, self.class_names)
        if isinstance(wish, Top) and wish.count > 1:
            raise TargetError(
                f"top={wish.count} is {wish.count} explanations; ask Explainer.each(picture, target) for them"
            )
        return self.network.resolve(wish, look)

    def _each(self, wanted: Target | Sequence[Target], count: int) -> list[Target]:
        alone = wanted is None or isinstance(wanted, (str, int, np.integer, TargetKind))
        each: list[Any] = [wanted] * count if alone else list(wanted)  # type: ignore[arg-type]
        if len(each) != count:
            raise TargetError(f"{len(each)} targets for {count} pictures; give one for all, or one each")
        return each

    def _check_class(self, target: Target) -> None:
        """TargetError at once for a class that the model does not have."""
        task = self.network.task
        if isinstance(task, Classes):
            task.check(parse(target, self.class_names))

    @property
    def choice(self) -> Choice | None:
        """The layer that was chosen, and why; None for methods that need none, or before a target says it."""
        return self._runner.choice

    @property
    def class_names(self) -> Sequence[str] | None:
        """The names of the model's classes, None where nobody names them."""
        return self.network.class_names

    @property
    def warnings(self) -> list[str]:
        """What the user should know about every map."""
        return self.network.warnings

    @property
    def preprocessing(self) -> Preprocess:
        """How pictures become tensors; read when the first picture comes."""
        return self.network.preprocessing

    def _channel(self) -> int:
        return self.network.layout.channel - 1 if self.network.layout is not None else 0

    def _why_blank(self, asked: Asked, index: int | None, compiled: Compiled) -> str:
        """Return a warning for a map without a positive value; GradientError where it has no gradient at all."""
        (goal,) = asked.goals
        is_class = isinstance(goal.aim, ClassAim)
        label = self.class_names[index] if is_class and self.class_names and index is not None else str(index)
        name = f"class {label!r}" if is_class else f"target {goal.words!r}"
        if self._runner.method.emit is None:
            return f"the map is blank: nowhere does covering the picture lower the score of {name}"
        value, where = self.network.picture, "the input"
        if compiled.layers:
            value, where = compiled.layers[0].tensor, f"layer {compiled.layers[0].name!r}"
        if self._runner.method.blind:
            return f"the map is blank: nothing stands out at {where}, whatever the target; choose another layer"
        feeds = asked.feeds(self.network)
        if is_class:
            feeds[goal.aim.input] = np.asarray([index])
        if not gradient_flows(self.network.open(), goal.aim, feeds, value):
            raise GradientError(
                f"the gradient of {name} at {where} is zero everywhere for this picture: the units on the way "
                f"are saturated or dead; choose another layer (`onnxcam inspect` lists them) or another "
                + ("class" if is_class else "target")
            )
        return (
            f"the map is blank: at {where} everything speaks against {name}; signed=True (--signed) shows what does"
            + (f", and so does the target 'not {label}'" if is_class else "")
            + "; or try another class or layer"
        )


def explain(model: ModelLike, image: Image, **settings: Any) -> Explanation:
    """Explain one picture: ``Explainer(model, **settings)(image)``."""
    return Explainer(model, **settings)(image)
