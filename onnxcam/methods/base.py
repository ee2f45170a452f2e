"""What a method is, and the explanation graph that it becomes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from onnxcam.autodiff.core import Cotangent, backward, connected
from onnxcam.autodiff.emit import Emitter
from onnxcam.autodiff.infer import gradient_dtype
from onnxcam.autodiff.jacobian import add_output
from onnxcam.autodiff.rules import RuleSet
from onnxcam.autodiff.rulesets import ruleset
from onnxcam.autodiff.subgraph import prune
from onnxcam.errors import MethodError, nearest
from onnxcam.extras import CHOSEN, CLASS, MAP, SCORE
from onnxcam.layer import Layer
from onnxcam.layout import picture_layout
from onnxcam.subject import Subject
from onnxcam.target import Scores


@dataclass(frozen=True)
class Scene:
    """What a method works on: the picture, the layer and the score of one class, in a graph that may grow."""

    op: Emitter
    image: ir.Value
    layer: Layer | None
    scores: Scores
    seed: Cotangent

    def gradient(self, value: ir.Value, rules: str | RuleSet = "standard") -> ir.Value:
        """Return the gradient of the class score with respect to *value*."""
        table, seeds = ruleset(rules), {self.scores.value: self.seed}
        (found,) = backward(self.op, seeds, [value], table)
        gradient = connected(value, found, seeds, table)
        gradient.shape, gradient.type = value.shape, ir.TensorType(gradient_dtype(value))
        return gradient

    def activation(self) -> ir.Value:
        """Return the layer's activation A, [N, K, *space]."""
        layer = self._layer()
        return layer.layout.maps(self.op, layer.real(self.op))

    def activation_gradient(self) -> ir.Value:
        """Return the gradient of the class score with respect to A, [N, K, *space]."""
        layer = self._layer()
        return layer.layout.maps(self.op, layer.real_gradient(self.op, self.gradient(layer.value)))

    def size(self) -> tuple[Any, ...]:
        """Return the lengths of the axes of space of A, ints where they are known."""
        layer = self._layer()
        return layer.layout.size(layer.value)

    def space(self) -> list[int]:
        """Return the axes of space of A."""
        return list(range(2, 2 + len(self.size())))

    def _layer(self) -> Layer:
        if self.layer is None:
            raise MethodError("this method looks at a layer; name one")
        return self.layer


@dataclass(frozen=True)
class Method:
    """A way to explain: its id, how its map is emitted, and where the map lies."""

    id: str
    emit: Callable[[Scene], ir.Value]
    at_layer: bool  # the map is [N, *space of the layer, or of the input if it uses none]; else the input's, signed
    uses_layer: bool
    summary: str


METHODS: dict[str, Method] = {}
"""Every method by its id. The command line, the documentation and the tests read it."""


def method(
    id: str, *, at_layer: bool, uses_layer: bool | None = None
) -> Callable[[Callable[[Scene], ir.Value]], Callable[[Scene], ir.Value]]:
    """Enter the function below into the registry as method *id*."""

    def enter(function: Callable[[Scene], ir.Value]) -> Callable[[Scene], ir.Value]:
        summary = (function.__doc__ or "").strip().splitlines()[0]
        METHODS[id] = Method(id, function, at_layer, at_layer if uses_layer is None else uses_layer, summary)
        return function

    return enter


def find_method(id: str) -> Method:
    """Return the method called *id*; MethodError, offering the nearest, where there is none."""
    if id not in METHODS:
        raise MethodError(f"no method is called {id!r}; there are {', '.join(METHODS)}.{nearest(id, METHODS)}")
    return METHODS[id]


def explanation_graph(subject: Subject, method: Method, layer: Layer | None) -> None:
    """Make the model of *subject* explain itself, in place.

    It gains the input `CLASS` (−1: the model's own top class) and the outputs `MAP`, `CHOSEN` and `SCORE`.
    """
    graph, image, scores = subject.model.graph, subject.image, subject.scores
    op = Emitter(graph)
    wanted = class_input(graph, image)
    index, score = scores.select(op, wanted)
    raw = method.emit(Scene(op, image, layer, scores, scores.seed(op, index)))
    batch = wanted.shape[:1] if wanted.shape is not None else [None]
    value, layout = (layer.value, layer.layout) if method.uses_layer and layer else (image, picture_layout(image))
    if method.at_layer and layout is not None:
        add_output(op, raw, MAP, shape=[*batch, *layout.size(value)])
    else:
        add_output(op, raw, MAP, like=image)
    add_output(op, index, CHOSEN, shape=batch)
    add_output(op, score, SCORE, shape=batch)
    op.place(graph.outputs)
    prune(graph)


def class_input(graph: ir.Graph, image: ir.Value) -> ir.Value:
    """Add the input `CLASS` to *graph*, int64 [N] with the batch of *image*; return it."""
    batch = image.shape[0] if image.shape is not None else None
    wanted = ir.Value(name=CLASS, shape=ir.Shape([batch]), type=ir.TensorType(ir.DataType.INT64))
    graph.inputs.append(wanted)
    return wanted
