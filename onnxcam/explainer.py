"""The pipeline, top to bottom: model, layer, target, explanation graph, picture, map."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from onnxcam import heatmap
from onnxcam import image as pictures
from onnxcam.compiled import Compiled
from onnxcam.diagnose import choose_layer, gradient_flows, why_not_finite
from onnxcam.errors import GradientError, MethodError, ModelError, TargetError
from onnxcam.explanation import Explanation
from onnxcam.extras import ACTIVATION, CHOSEN, MAP, SCORE, load_bare
from onnxcam.graph import ModelLike, building
from onnxcam.inputs import Given
from onnxcam.layer import Choice
from onnxcam.methods import Passes, find_method, read_settings
from onnxcam.methods.passes import BATCH_SIZE, Progress, quiet
from onnxcam.network import Network
from onnxcam.preprocess import Preprocess, Spec, stack
from onnxcam.subject import Subject
from onnxcam.target import Aim, ClassAim, Goal, Look, Target, Top, parse, probability
from onnxcam.target.classes import Classes
from onnxcam.target.detection import Detections
from onnxcam.target.words import WISHES

Image: TypeAlias = "str | os.PathLike[str] | NDArray[np.uint8]"
Arrays: TypeAlias = Mapping[str, NDArray[Any]]

BATCH = 8  # pictures a run, where the model leaves the batch open


@dataclass
class Explainer:
    """A model that explains itself: built once, asked many times.

    Args:
        model: A path, the file's bytes, an `onnx.ModelProto` or an `onnx_ir.Model`.
        method: The method's id, such as ``"gradcam"``.
        layer: The layer that CAM methods look at: a tensor, a node, the framework's layer name; None chooses.
        target: What to explain where a call does not say: a class index, a label, ``"top"`` or other words
            (`onnxcam.target.words` lists them); None takes what the model puts first.
        provider: ``"auto"``, ``"cpu"``, ``"cuda"`` or another of `onnxcam.engine.SHORT`.
        preprocess: How a picture becomes the model's tensor: a spelling such as ``"imagenet"`` (docs/preprocess.md),
            a `Preprocess`, a function from uint8 [H, W, 3] to the tensor; None asks the file, then guesses.
        labels: A file of class names, or the names; None asks the file.
        settings: The method's own, such as ``{"samples": 50, "batch_size": 16}``; see its docstring.
        inputs: The model's other inputs by name: words, numbers, an ``.npy`` file, a picture or an array.
        wrt: Which input is the picture to be explained, where several could be.
        progress: Wraps the samples of such a method and their number, to show how far it is.

    Raises:
        OnnxcamError: with one line that says what is wrong (see `onnxcam.errors`).

    Example:
        >>> ex = Explainer("resnet50.onnx", preprocess="imagenet")
        >>> ex("cat.jpg", target="tabby").save("out")
    """

    model: ModelLike
    method: str = "gradcam"
    layer: str | None = None
    target: Target = None
    provider: str = "auto"
    preprocess: Spec | None = None
    labels: str | os.PathLike[str] | Sequence[str] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Given] = field(default_factory=dict)
    wrt: str | None = None
    progress: Progress = quiet

    def __post_init__(self) -> None:
        self._method = find_method(self.method)
        self._settings = read_settings(self._method, self.settings)
        self._compiled: dict[tuple[Aim, str | None], Compiled] = {}
        self.network = Network(self.model, self.provider, self.preprocess, self.labels, self.wrt, self.inputs)
        subject = self._open()
        self.network.read(subject)
        self.choice: Choice | None = None
        aim = self.network.task.aim if self.network.tasks[1:] else None
        if self.target is not None:
            self._check_class(self.target)
        if isinstance(aim, ClassAim):  # one graph for all classes; what other targets need, pictures say
            choice = choose_layer(subject, aim, self.layer) if self._method.uses_layer else None
            self._compile(subject, aim, choice)

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

    def best(self, image: Image, count: int, inputs: Mapping[str, Given] | None = None) -> list[Explanation]:
        """Explain what the model puts first, *count* of it, the best first: classes, or the objects it detects."""
        if not isinstance(self.network.task, Classes | Detections):
            raise TargetError(
                f"the {count} best are asked of classifiers and detectors; this is {self.network.task.name}"
            )
        first = self(image, "top", inputs)
        picture = pictures.read(image)
        look = self.network.look(self.preprocessing(picture), picture, self.network.read_inputs(inputs or {}))
        order = self.network.task.ranked(replace(look, known=first.outputs))
        return [first, *(self(image, wish, inputs) for wish in order[1:count])]

    def attribute(self, x: NDArray[Any] | Arrays, target: Target | Sequence[Target] = None) -> NDArray[np.float32]:
        """Return the raw maps of preprocessed tensors.

        Args:
            x: The model's input [N, …], or a dict with it, and its other inputs, under their names.
            target: What to explain, for all or one each. Places are in the tensor's pixels.

        Returns:
            For CAM methods float32 [N, h, w] at the layer's size (volumes [N, d, h, w]); for the gradient methods
            float32 in the input's own shape, signed. Neither scaled nor enlarged.
        """
        given = dict(x) if isinstance(x, Mapping) else {self.network.image.name or "": x}
        tensor = np.asarray(given.pop(self.network.image.name or ""))
        wanted = self._each(target, len(tensor))
        looks = [
            self.network.look(tensor[row : row + 1], None, {k: v[row : row + 1] for k, v in given.items()})
            for row in range(len(tensor))
        ]
        goals = [self._goal(one, look) for one, look in zip(wanted, looks, strict=True)]
        return np.concatenate([found[MAP] for _, found in self._run(tensor, goals, given)])

    def _explain(self, images: Sequence[Image], wanted: Target, extra: Arrays) -> Iterator[Explanation]:
        for start in range(0, len(images), BATCH):
            batch = [pictures.read(source) for source in images[start : start + BATCH]]
            tensors = [self.preprocessing(picture) for picture in batch]
            looks = [self.network.look(t, picture, extra) for t, picture in zip(tensors, batch, strict=True)]
            goals = [self._goal(wanted, look) for look in looks]
            same = len({tensor.shape for tensor in tensors}) == 1
            for group in [range(len(tensors))] if same else [[i] for i in range(len(tensors))]:
                found = self._run(stack(tensors[i] for i in group), [goals[i] for i in group], extra)
                for i, (compiled, one) in zip(group, found, strict=True):
                    yield self._explanation(batch[i], tensors[i], goals[i], compiled, one, extra)

    def _explanation(
        self,
        picture: NDArray[np.uint8],
        tensor: NDArray[Any],
        goal: Goal,
        compiled: Compiled,
        results: Arrays,
        extra: Arrays,
    ) -> Explanation:
        raw = results[MAP][0]
        index = int(results[CHOSEN][0]) if CHOSEN in results else goal.index
        names = self.class_names
        label = names[index] if CHOSEN in results and names and index is not None else goal.label
        flat = heatmap.magnitude(raw, None if self._method.at_layer else self._channel())
        warnings = list(self.warnings)
        if not flat.max(initial=0) > 0:
            warnings.append(self._why_blank(tensor, goal, index, compiled, extra))
        height, width = picture.shape[:2]
        placed = heatmap.enlarge(flat, self.preprocessing.frame(height, width), (height, width))
        outputs = {name: results[name] for name in self.network.outputs}
        return Explanation(
            image=picture,
            map=heatmap.normalize(placed),
            raw=raw,
            target=index,
            label=label,
            words=goal.words if CHOSEN not in results else label or str(index),
            score=float(results[SCORE][0]),
            probability=goal.probability if goal.probability is not None else self._probability(outputs, index),
            layer=compiled.choice.layer.name if compiled.choice else None,
            method=self.method,
            outputs=outputs,
            detection=goal.box,
            note=goal.note,
            warnings=tuple(warnings),
        )

    def _probability(self, outputs: Arrays, index: int | None) -> float | None:
        task = self.network.task
        if index is None or not isinstance(task, Classes):
            return None
        return probability(task.scores, outputs, index, self.network.multi_label)

    def _goal(self, wanted: Target, look: Look) -> Goal:
        return self.network.resolve(self.target if wanted is None else wanted, look)

    def _run(self, tensor: NDArray[Any], goals: Sequence[Goal], extra: Arrays) -> list[tuple[Compiled, Arrays]]:
        """Return for each row of the batch *tensor* what explained it, and its outputs, the raw map among them."""
        found: dict[int, tuple[Compiled, Arrays]] = {}
        groups: dict[Any, list[int]] = {}
        compiled = [self._for(goal, tensor[row : row + 1], _row(extra, row)) for row, goal in enumerate(goals)]
        for row, goal in enumerate(goals):
            groups.setdefault((id(compiled[row]), np.shape(goal.feed)), []).append(row)
        for rows in groups.values():
            one = compiled[rows[0]]
            feeds = self._feeds(one, tensor[rows], [goals[row] for row in rows], _rows(extra, rows, len(tensor)))
            whole = self._one_pass(one, feeds)
            for place, row in enumerate(rows):
                here = whole if len(rows) == 1 else {name: value[place : place + 1] for name, value in whole.items()}
                if not self._method.in_graph:
                    here = {**here, MAP: self._many_passes(one, tensor[row], goals[row], here, _row(extra, row))[None]}
                found[row] = one, here
        return [found[row] for row in range(len(goals))]

    def _for(self, goal: Goal, tensor: NDArray[Any], extra: Arrays) -> Compiled:
        """Return the explanation graph for *goal*; its layer may depend on where the goal's evidence lies."""
        if goal.region is None or not self._method.uses_layer or self.layer not in (None, "auto"):
            known = next((one for (aim, _), one in self._compiled.items() if aim == goal.aim), None)
            if known is not None:
                return known
        subject, choice = self._open(), None
        if self._method.uses_layer:
            feeds = {**self.network.feeds(tensor, {**extra, **_rowed(goal.inputs)}), goal.aim.input: goal.feed[None]}
            choice = choose_layer(subject, goal.aim, self.layer, feeds, goal.region)
        key = goal.aim, choice.layer.tensor if choice is not None else None
        return self._compiled.get(key) or self._compile(subject, goal.aim, choice)

    def _compile(self, subject: Subject, aim: Aim, choice: Choice | None) -> Compiled:
        made = Compiled.of(subject, self._method, aim, choice, self._settings, self.provider)
        self._compiled[aim, choice.layer.tensor if choice is not None else None] = made
        self.choice = choice
        return made

    def _open(self) -> Subject:
        with building():
            return Subject.open(self.model, self.wrt)

    def _feeds(self, compiled: Compiled, tensor: NDArray[Any], goals: Sequence[Goal], extra: Arrays) -> dict[str, Any]:
        inputs = {name: np.stack([goal.inputs[name] for goal in goals]) for name in goals[0].inputs}
        feeds = self.network.feeds(tensor, {**extra, **inputs})
        return {**feeds, compiled.aim.input: np.stack([goal.feed for goal in goals])}

    def _one_pass(self, compiled: Compiled, feeds: Arrays, outputs: Sequence[str] | None = None) -> dict[str, Any]:
        found = compiled.run(feeds, outputs)
        if SCORE in found and not np.isfinite(found[SCORE]).all():
            raise ModelError(why_not_finite(load_bare(self.model), feeds[self.network.image.name or ""]))
        return found

    def _many_passes(
        self, compiled: Compiled, picture: NDArray[Any], goal: Goal, here: Arrays, extra: Arrays
    ) -> NDArray[np.float32]:
        """Return the raw map of *picture*, for which one pass gave *here*."""
        feed, settings = here[CHOSEN][0] if CHOSEN in here else goal.feed, dict(self._settings)

        def feeds(batch: NDArray[Any]) -> dict[str, Any]:
            own = self.network.feeds(batch, {**extra, **_rowed(goal.inputs)})
            return {**own, goal.aim.input: np.repeat(np.asarray(feed)[None], len(batch), axis=0)}

        def ask(batch: NDArray[Any], outputs: Sequence[str]) -> Arrays:
            return self._one_pass(compiled, feeds(batch), outputs)

        def ask_head(activations: NDArray[Any]) -> NDArray[Any]:
            batch = np.broadcast_to(picture, (len(activations), *picture.shape))
            return compiled.run_head({**feeds(batch), ACTIVATION: activations})

        def ask_probability(batch: NDArray[Any]) -> NDArray[Any]:
            task = self.network.task
            if CHOSEN not in here or not isinstance(task, Classes):
                return ask(batch, [SCORE])[SCORE]
            rows = ask(batch, [task.scores.output])[task.scores.output]
            found = [self._probability({task.scores.output: row}, int(feed)) for row in rows]
            if None in found:
                raise MethodError(
                    f"{self.method} needs probabilities, but the model's scores are integers of unknown meaning; use "
                    "--method occlusion"
                )
            return np.asarray(found)

        passes = Passes(
            picture,
            here,
            self.network.layout,
            compiled.choice.layer.layout if compiled.choice else None,
            ask,
            ask_head,
            ask_probability,
            settings.pop(BATCH_SIZE),
            self.progress,
        )
        assert self._method.run is not None
        return self._method.run(passes, **settings).astype(np.float32)

    def _each(self, wanted: Target | Sequence[Target], count: int) -> list[Target]:
        alone = wanted is None or isinstance(wanted, (str, int, np.integer, *WISHES))
        each: list[Any] = [wanted] * count if alone else list(wanted)  # type: ignore[arg-type]
        if len(each) != count:
            raise TargetError(f"{len(each)} targets for {count} pictures; give one for all, or one each")
        return each

    def _check_class(self, target: Target) -> None:
        """TargetError at once for a class that the model does not have."""
        wish, task = parse(target, self.class_names), self.network.task
        if isinstance(task, Classes) and isinstance(wish, task.wishes) and not isinstance(wish, Top):
            task.goal(wish)

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

    def _why_blank(self, tensor: NDArray[Any], goal: Goal, index: int | None, compiled: Compiled, extra: Arrays) -> str:
        """Return a warning for a map without a positive value; GradientError where it has no gradient at all."""
        is_class = isinstance(goal.aim, ClassAim)
        label = self.class_names[index] if is_class and self.class_names and index is not None else str(index)
        name = f"class {label!r}" if is_class else f"target {goal.words!r}"
        if self._method.emit is None:
            return f"the map is blank: nowhere does covering the picture lower the score of {name}"
        value, where = self.network.image.name or "", "the input"
        if compiled.choice is not None:
            value, where = compiled.choice.layer.tensor, f"layer {compiled.choice.layer.name!r}"
        feed = np.asarray(index if is_class else goal.feed)[None]
        feeds = {**self.network.feeds(tensor, {**extra, **_rowed(goal.inputs)}), goal.aim.input: feed}
        if not gradient_flows(self._open(), goal.aim, feeds, value):
            raise GradientError(
                f"the gradient of {name} at {where} is zero everywhere for this picture: the units on the way "
                f"are saturated or dead; choose another layer (`onnxcam inspect` lists them) or another "
                + ("class" if is_class else "target")
            )
        counter = f"; --target 'not {label}' shows what does" if is_class else ""
        return f"the map is blank: at {where} everything speaks against {name}{counter}; try another class or layer"


def explain(model: ModelLike, image: Image, **settings: Any) -> Explanation:
    """Explain one picture: ``Explainer(model, **settings)(image)``."""
    return Explainer(model, **settings)(image)


def _rowed(arrays: Arrays) -> dict[str, NDArray[Any]]:
    return {name: array[None] for name, array in arrays.items()}


def _row(arrays: Arrays, row: int) -> dict[str, NDArray[Any]]:
    return {name: array[row : row + 1] if len(array) > 1 else array for name, array in arrays.items()}


def _rows(arrays: Arrays, rows: Sequence[int], count: int) -> dict[str, NDArray[Any]]:
    return {name: array[list(rows)] if len(array) == count else array for name, array in arrays.items()}
