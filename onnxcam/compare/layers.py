"""Compare two models layer by layer: at which layer does the candidate begin to disagree?

At every common layer, two things are compared: the activations (what was computed so far), and the LayerCAM maps (what
the score depends on; LayerCAM also suits early layers). One backward pass gives the gradients at all layers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam.autodiff import STANDARD
from onnxcam.autodiff.differentiate import set_outputs
from onnxcam.compare.layer_agreement import LayerAgreement
from onnxcam.compare.map_comparison import compare_maps
from onnxcam.compare.observer import Observer, PreparedImage
from onnxcam.compare.outcome import Outcome
from onnxcam.compare.similarity import cosine
from onnxcam.compare.tasks.classification import ClassScores, class_map
from onnxcam.engine import Session
from onnxcam.errors import MetricError
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.infer import gradient_dtype
from onnxcam.graph.io import building
from onnxcam.metadata.reserved import CHOSEN
from onnxcam.methods.activation import layercam
from onnxcam.methods.context import MapContext
from onnxcam.structure.layer import Layer, candidates
from onnxcam.targets import ClassAim
from onnxcam.targets.aim import emit_gradients
from onnxcam.targets.scores import TOP

__all__ = [
    "MAX_IMAGES",
    "ImageLayers",
    "LayerKey",
    "LayerProbe",
    "compare_layers",
    "image_outcome",
    "layer_agreement",
    "matched",
]

MAX_IMAGES = 16
"""Number of images compared. A few are enough, because a faulty layer usually shows on every image."""


@dataclass(frozen=True)
class LayerKey:
    """The key that matches layers of two models: name, number of channels, and size."""

    name: str
    channels: int | str | None
    size: str

    @classmethod
    def of(cls, layer: Layer) -> LayerKey:
        """Describe *layer*."""
        return cls(layer.name, _channels(layer), layer.size)


@dataclass(frozen=True)
class ImageLayers:
    """All layers of one model for one image.

    Attributes:
        outcome: The image and the explained class, without scores and map.
        activations: Shape, and values (or a sketch of them, `onnxcam.compare.layer_recordings`), of each layer.
        maps: LayerCAM map of each layer, [h, w]; None if it has none.
    """

    outcome: Outcome
    activations: Sequence[tuple[tuple[int, ...], NDArray[Any]]]
    maps: Sequence[NDArray[Any] | None]


class LayerProbe:
    """Activations and LayerCAM maps at all layers of one model."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer
        subject, aim = observer.network.open(), observer.network.task.aim or ClassAim()
        graph = subject.model.graph
        with building():
            self.layers = candidates(graph, subject.image, aim.locate(graph), STANDARD)[::-1]
            self.keys = [LayerKey.of(layer) for layer in self.layers]
            op = Emitter(graph)
            aimed, found = emit_gradients(op, aim, subject.batch, [layer.value for layer in self.layers])
            outputs = {CHOSEN: aimed.outputs[CHOSEN]}
            for number, (layer, gradient) in enumerate(zip(self.layers, found, strict=True)):
                a = outputs[f"{number}.activation"] = _float32(op, layer, layer.dequantised(op))
                if gradient is not None:
                    outputs[f"{number}.map"] = _map(MapContext(op, subject.image, layer, aimed), a, gradient)
            set_outputs(op, outputs, replace=True)
        self._class, self._batch = aim.input, subject.batch if isinstance(subject.batch, int) else 1
        self._session = Session(subject.model, observer.provider)

    def ask(self, prepared: PreparedImage, index: int) -> tuple[int, dict[str, NDArray[Any]]]:
        """Return the explained class, and the activation and map of each layer for one image."""
        feeds = self.observer.network.feeds(np.repeat(prepared.tensor, self._batch, axis=0), {})
        given = {**feeds, self._class: np.full(self._batch, index)}
        found = self._session.run({name: given[name] for name in self._session.inputs})
        return int(found.pop(CHOSEN)[0]), {name: array[0] for name, array in found.items()}

    def look(self, prepared: PreparedImage, index: int) -> ImageLayers:
        """Return all layers for one image, explained for class *index*."""
        chosen, found = self.ask(prepared, index)
        count = len(self.layers)
        activations = [found[f"{number}.activation"] for number in range(count)]
        return ImageLayers(
            image_outcome(prepared, chosen),
            [(array.shape, array.ravel()) for array in activations],
            [found.get(f"{number}.map") for number in range(count)],
        )


@dataclass(frozen=True, kw_only=True)
class _DifferentiatedLayer(MapContext):
    """The context of a layer whose activation A and gradient are in the graph already, in float32."""

    known_activation: ir.Value
    known_gradient: ir.Value

    def activation(self) -> ir.Value:
        """Return A."""
        return self.known_activation

    def activation_gradient(self) -> ir.Value:
        """Return the gradient of the score with respect to A."""
        return self.known_gradient


def _map(context: MapContext, a: ir.Value, gradient: ir.Value) -> ir.Value:
    """Return the LayerCAM map of a layer of activation *a* and of *gradient*, which has the layer's own layout."""
    op, layer, image, aimed = context.op, context.layer, context.image, context.target
    gradient.shape, gradient.type = layer.value.shape, ir.TensorType(gradient_dtype(layer.value))
    g = _float32(op, layer, layer.dequantised_gradient(op, gradient))
    return layercam(_DifferentiatedLayer(op, image, layer, aimed, known_activation=a, known_gradient=g))


def _float32(op: Emitter, layer: Layer, value: ir.Value) -> ir.Value:
    """Return *value*, of the layout of *layer*, as [N, K, *space] in float32."""
    return op.Cast(layer.layout.maps(op, value), to=int(ir.DataType.FLOAT))


def compare_layers(
    reference: Observer, candidate: Observer, images: Sequence[str], target: int = TOP
) -> list[LayerAgreement]:
    """Return the agreement at each common layer, from input to output, averaged over *images*.

    Layers correspond if they have the same name; otherwise, in order, if they have the same channels and size, or the
    same channels.

    Raises:
        MetricError: the models have no common layer.

    Example:
        >>> [level.iou for level in compare_layers(Observer("float.onnx"), Observer("int8.onnx"), ["cat.jpg"])]
    """
    first, second = LayerProbe(reference), LayerProbe(candidate)

    def both(image: str) -> tuple[ImageLayers, ImageLayers]:
        own = first.look(first.observer.prepare(image), target)
        return own, second.look(second.observer.prepare(image), own.outcome.target or 0)

    return layer_agreement(first.keys, second.keys, map(both, images))


def layer_agreement(
    first: Sequence[LayerKey], second: Sequence[LayerKey], images: Iterable[tuple[ImageLayers, ImageLayers]]
) -> list[LayerAgreement]:
    """Return the agreement at each common layer, averaged over *images*, seen by both models.

    Raises:
        MetricError: the models have no common layer.
    """
    pairs = matched(first, second)
    if not pairs:
        raise MetricError("--layers finds no layer that both networks have, neither by name nor by channels and size")
    rows = np.array([_picture(own, other, pairs) for own, other in images])
    with np.errstate(invalid="ignore"):
        counts = np.isfinite(rows).sum(0)
        means = np.where(counts > 0, np.nansum(rows, 0) / np.maximum(counts, 1), np.nan)
    return [
        LayerAgreement(first[i].name, second[j].name, first[i].size, *_known(means[row]))
        for row, (i, j) in enumerate(pairs)
    ]


def _known(values: NDArray[np.float64]) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]


def matched(first: Sequence[LayerKey], second: Sequence[LayerKey]) -> list[tuple[int, int]]:
    """Return the indices of corresponding layers, by the criterion that finds the most."""
    ways = (
        [[layer.name for layer in layers] for layers in (first, second)],
        [[(layer.channels, layer.size) for layer in layers] for layers in (first, second)],
        [[layer.channels for layer in layers] for layers in (first, second)],
    )
    return max((_aligned(*way) for way in ways), key=len)


def _aligned(first: Sequence[Any], second: Sequence[Any]) -> list[tuple[int, int]]:
    blocks = SequenceMatcher(None, first, second, autojunk=False).get_matching_blocks()
    return [(a + i, b + i) for a, b, size in blocks for i in range(size)]


def _channels(layer: Layer) -> int | str | None:
    """Return the number of channels; for tokens, the length of the last axis."""
    axis = getattr(layer.layout, "channel", -1)
    length = None if layer.value.shape is None else layer.value.shape[axis]
    return length if isinstance(length, int | None) else length.value


def _picture(own: ImageLayers, other: ImageLayers, pairs: Sequence[tuple[int, int]]) -> NDArray[np.float64]:
    """Return cosine, Pearson correlation and IoU at each common layer for one image, [layers, 3]."""
    rows = np.full((len(pairs), 3), np.nan)
    for row, (i, j) in enumerate(pairs):
        (shape, a), (other_shape, b) = own.activations[i], other.activations[j]
        if shape == other_shape:
            rows[row, 0] = cosine(a, b)
        seen = _with_map(own.outcome, own.maps[i]), _with_map(other.outcome, other.maps[j])
        values = compare_maps(seen, (seen[0].maps[0], seen[1].maps[0])).values
        rows[row, 1:] = values.get("pearson", np.nan), values.get("iou", np.nan)
    return rows


_NOTHING = ClassScores(np.zeros(1, np.float32), np.ones(1))


def _with_map(outcome: Outcome, raw: NDArray[Any] | None) -> Outcome:
    return replace(outcome, maps=(replace(outcome.maps[0], map=raw),))


def image_outcome(seen: PreparedImage | Outcome, index: int) -> Outcome:
    """Return an outcome for class *index* without scores and map."""
    own = (class_map(index, None),)
    return Outcome(seen.picture, seen.sha256, seen.size, _NOTHING, own, seen.frame, seen.spacing)
