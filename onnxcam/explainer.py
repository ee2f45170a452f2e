"""The pipeline, top to bottom: model, layer, target, explanation graph, picture, map."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, overload

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam import heatmap
from onnxcam import image as pictures
from onnxcam import labels as labelling
from onnxcam.card import Card
from onnxcam.diagnose import gradient_flows, why_not_finite
from onnxcam.engine import Session
from onnxcam.errors import GradientError, MethodError, ModelError, TargetError
from onnxcam.explanation import Explanation
from onnxcam.extras import ACTIVATION, AROUND, CHOSEN, CLASS, MAP, SCORE, load_bare
from onnxcam.graph import ModelLike, building
from onnxcam.layout import picture_layout
from onnxcam.methods import Passes, explanation_graph, find_method, head_graph, read_settings
from onnxcam.methods.augment import augmented
from onnxcam.methods.base import NONE, SMOOTH
from onnxcam.methods.passes import BATCH_SIZE, Progress, quiet
from onnxcam.preprocess import Preprocess, Spec, TensorSpec, stack
from onnxcam.preprocess import resolve as resolve_preprocess
from onnxcam.subject import Subject
from onnxcam.target import Target, probability
from onnxcam.target import resolve as resolve_target

Image: TypeAlias = "str | os.PathLike[str] | NDArray[np.uint8]"

BATCH = 8  # pictures a run, where the model leaves the batch open


@dataclass
class Explainer:
    """A model that explains itself: built once, asked many times.

    Args:
        model: A path, the file's bytes, an `onnx.ModelProto` or an `onnx_ir.Model`.
        method: The method's id, such as ``"gradcam"``.
        layer: The layer that CAM methods look at: a tensor, a node, the framework's layer name; None chooses.
        target: What to explain where a call does not say: a class index, a label, ``"top"`` or None (the top class).
        provider: ``"auto"``, ``"cpu"``, ``"cuda"`` or another of `onnxcam.engine.SHORT`.
        preprocess: How a picture becomes the model's tensor: a spelling such as ``"imagenet"`` (docs/preprocess.md),
            a `Preprocess`, a function from uint8 [H, W, 3] to the tensor; None asks the file, then guesses.
        labels: A file of class names, or the names; None asks the file.
        settings: The method's own, such as ``{"samples": 50, "batch_size": 16}``; see its docstring.
        smooth: For CAMs of one pass: ``"aug"`` averages over mirrored, darker and brighter pictures, ``"eigen"`` takes
            the principal component in place of the sum over channels, ``"aug+eigen"`` does both.
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
    smooth: str = NONE
    progress: Progress = quiet
    warnings: list[str] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self._method = find_method(self.method)
        smooth = {} if self.smooth == NONE else {SMOOTH: self.smooth}
        self._settings = read_settings(self._method, {**self.settings, **smooth})
        with building():
            subject = self._explain_itself()
        self._session = Session(subject.model, self.provider)

    def _explain_itself(self) -> Subject:
        """Return the model as an explanation graph."""
        subject = Subject.open(self.model)
        self._image, self._scores = subject.image, subject.scores
        self._own_outputs = [value.name or "" for value in subject.model.graph.outputs]
        self._read_companions(subject.model)
        self._default = resolve_target(self.target, self._scores.classes, self.class_names)
        self.choice = subject.choose(self.layer) if self._method.uses_layer else None
        layer = self.choice.layer if self.choice else None
        twin = subject.twin() if self._method.uses_head else None
        explanation_graph(subject, self._method, layer, self._settings)
        if twin is not None and layer is not None:
            head_graph(twin, layer.twin(twin.model.graph))
            self._head = Session(twin.model, self.provider)
        return subject

    @overload
    def __call__(self, images: Image, target: Target = None) -> Explanation: ...
    @overload
    def __call__(self, images: list[Image], target: Target = None) -> list[Explanation]: ...
    def __call__(self, images: Image | list[Image], target: Target = None) -> Explanation | list[Explanation]:
        """Explain one picture (a file, or uint8 [H, W, 3] RGB), or a list of them."""
        if isinstance(images, list):
            return list(self._explain(images, target))
        return next(self._explain([images], target))

    def best(self, image: Image, count: int) -> list[Explanation]:
        """Explain the *count* best classes of one picture, the best first."""
        first = self(image, "top")
        scores = first.outputs[self._scores.output].reshape(-1).astype(np.float64)
        order = [int(index) for index in np.argsort(-scores, kind="stable") if index != first.target]
        return [first, *(self(image, index) for index in order[: count - 1])]

    def attribute(
        self, x: np.ndarray | Mapping[str, np.ndarray], target: Target | Sequence[Target] = None
    ) -> NDArray[np.float32]:
        """Return the raw maps of preprocessed tensors.

        Args:
            x: The model's input [N, …], or a dict with it under its name.
            target: What to explain, for all or one each.

        Returns:
            For CAM methods float32 [N, h, w] at the layer's size (volumes [N, d, h, w]); for the gradient methods
            float32 in the input's own shape, signed. Neither scaled nor enlarged.
        """
        tensor = x[self._image.name or ""] if isinstance(x, Mapping) else x
        return self._run(np.asarray(tensor), self._indices(target, len(tensor)))[MAP]

    def _explain(self, images: Sequence[Image], wanted: Target) -> Iterator[Explanation]:
        for start in range(0, len(images), BATCH):
            batch = [pictures.read(source) for source in images[start : start + BATCH]]
            tensors = [self.preprocessing(picture) for picture in batch]
            same = len({tensor.shape for tensor in tensors}) == 1
            for group in [range(len(tensors))] if same else [[i] for i in range(len(tensors))]:
                tensor = stack(tensors[i] for i in group)
                results = self._run(tensor, self._indices(wanted, len(tensor)))
                for row, i in enumerate(group):
                    one = {name: value[row : row + 1] for name, value in results.items()}
                    yield self._explanation(batch[i], tensors[i], one)

    def _explanation(
        self, picture: NDArray[np.uint8], tensor: np.ndarray, results: Mapping[str, np.ndarray]
    ) -> Explanation:
        raw, index = results[MAP][0], int(results[CHOSEN][0])
        flat = heatmap.magnitude(raw, None if self._method.at_layer else self._channel())
        warnings = list(self.warnings)
        if not flat.max(initial=0) > 0:
            warnings.append(self._why_blank(tensor, index))
        height, width = picture.shape[:2]
        placed = heatmap.enlarge(flat, self.preprocessing.frame(height, width), (height, width))
        outputs = {name: results[name] for name in self._own_outputs}
        return Explanation(
            image=picture,
            map=heatmap.normalize(placed),
            raw=raw,
            target=index,
            label=self.class_names[index] if self.class_names else None,
            score=float(results[SCORE][0]),
            probability=probability(self._scores, outputs, index, self.multi_label),
            layer=self.choice.layer.name if self.choice else None,
            method=self.method,
            outputs=outputs,
            warnings=tuple(warnings),
        )

    def _run(self, tensor: np.ndarray, indices: NDArray[np.int64]) -> dict[str, np.ndarray]:
        """Return the outputs for the batch *tensor*, the raw maps among them."""
        whole = self._one_pass(tensor, indices)
        if self._method.in_graph:
            return self._augmented(tensor, whole) if "aug" in self._settings.get(SMOOTH, NONE) else whole
        rows = ({name: value[row : row + 1] for name, value in whole.items()} for row in range(len(tensor)))
        maps = [self._many_passes(picture, here) for picture, here in zip(tensor, rows, strict=True)]
        return {**whole, MAP: np.stack(maps).astype(np.float32)}

    def _augmented(self, tensor: np.ndarray, whole: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return *whole*, which one pass gave, with the maps of all augmentations together."""
        classes, layout = whole[CHOSEN], picture_layout(self._image)
        return {**whole, MAP: augmented(tensor, layout, lambda x: self._one_pass(x, classes, [MAP])[MAP])}

    def _one_pass(
        self, tensor: np.ndarray, indices: NDArray[np.int64], outputs: Sequence[str] | None = None
    ) -> dict[str, np.ndarray]:
        found = self._run_session(self._session, {self._image.name or "": tensor, CLASS: indices}, outputs)
        if SCORE in found and not np.isfinite(found[SCORE]).all():
            raise ModelError(why_not_finite(load_bare(self.model), tensor))
        return found

    def _many_passes(self, picture: np.ndarray, here: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the raw map of *picture*, for which one pass gave *here*."""
        index, settings = int(here[CHOSEN][0]), dict(self._settings)

        def ask(batch: np.ndarray, outputs: Sequence[str]) -> dict[str, np.ndarray]:
            return self._one_pass(batch, np.full(len(batch), index), outputs)

        def ask_head(activations: np.ndarray) -> np.ndarray:
            pictures = np.broadcast_to(picture, (len(activations), *picture.shape))
            feeds = {ACTIVATION: activations, CLASS: np.full(len(activations), index), self._image.name or "": pictures}
            for name in (name for name in self._head.inputs if name.startswith(AROUND)):
                feeds[name] = np.repeat(here[name.removeprefix(AROUND)], len(activations), axis=0)
            return self._run_session(self._head, {name: feeds[name] for name in self._head.inputs})[SCORE]

        def ask_probability(batch: np.ndarray) -> np.ndarray:
            rows = ask(batch, [self._scores.output])[self._scores.output]
            found = [probability(self._scores, {self._scores.output: row}, index, self.multi_label) for row in rows]
            if None in found:
                raise MethodError(
                    f"{self.method} needs probabilities, but the model's scores are integers of unknown meaning; use "
                    "--method occlusion"
                )
            return np.asarray(found)

        passes = Passes(
            picture,
            here,
            picture_layout(self._image),
            self.choice.layer.layout if self.choice else None,
            ask,
            ask_head,
            ask_probability,
            settings.pop(BATCH_SIZE),
            self.progress,
        )
        assert self._method.run is not None
        return self._method.run(passes, **settings)

    def _run_session(
        self, session: Session, feeds: dict[str, np.ndarray], outputs: Sequence[str] | None = None
    ) -> dict[str, np.ndarray]:
        """Run *session*, in pieces where the model fixes the batch."""
        fixed = self._image.shape[0] if self._image.shape is not None else None
        if fixed == len(feeds[CLASS]) or not isinstance(fixed, int):
            return session.run(feeds, outputs)
        return session.run_in_pieces(feeds, fixed, outputs)

    def _indices(self, wanted: Target | Sequence[Target], count: int) -> NDArray[np.int64]:
        each = [wanted] * count if wanted is None or isinstance(wanted, str | int | np.integer) else list(wanted)
        if len(each) != count:
            raise TargetError(f"{len(each)} targets for {count} pictures; give one for all, or one each")
        resolved = [
            self._default if one is None else resolve_target(one, self._scores.classes, self.class_names)
            for one in each
        ]
        return np.asarray(resolved, np.int64)

    def _read_companions(self, model: ir.Model) -> None:
        path = Path(self.model) if isinstance(self.model, str | os.PathLike) else None
        props = dict(model.metadata_props)
        self.class_names = labelling.resolve(self.labels, self._scores.classes, path=path, metadata=props)
        self.multi_label = Card.of(props).task == "multi-label"
        self._props, self._path = props, path

    @property
    def preprocessing(self) -> Preprocess:
        """How pictures become tensors; read when the first picture comes."""
        if not hasattr(self, "_preprocessing"):
            spec = TensorSpec.of(self._image)
            self._preprocessing, warnings = resolve_preprocess(
                self.preprocess, spec, path=self._path, metadata=self._props, graph_hint=self._image
            )
            self.warnings += warnings
        return self._preprocessing

    def _channel(self) -> int:
        layout = picture_layout(self._image)
        return layout.channel - 1 if layout is not None else 0

    def _why_blank(self, tensor: np.ndarray, index: int) -> str:
        """Return a warning for a map without a positive value; GradientError where it has no gradient at all."""
        name = self.class_names[index] if self.class_names else str(index)
        if self._method.emit is None:
            return f"the map is blank: nowhere does covering the picture lower the score of class {name!r}"
        value, where = self._image, "the input"
        if self.choice is not None:
            value, where = self.choice.layer.value, f"layer {self.choice.layer.name!r}"
        if not gradient_flows(load_bare(self.model), self._image, index, tensor, value):
            raise GradientError(
                f"the gradient of class {name!r} at {where} is zero everywhere for this picture: the units on the way "
                "are saturated or dead; choose another layer (`onnxcam inspect` lists them) or another class"
            )
        return f"the map is blank: at {where} everything speaks against class {name!r}; try another class or layer"


def explain(model: ModelLike, image: Image, **settings: Any) -> Explanation:
    """Explain one picture: ``Explainer(model, **settings)(image)``."""
    return Explainer(model, **settings)(image)
