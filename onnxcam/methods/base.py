"""What a method is, and the explanation graph that it becomes.

Most methods are a graph: one function emits the map. A procedure asks the network many times (`methods.passes`); what
its explanation graph gives is what it needs of one pass: the map of another method, the layer's activation, or nothing
but the score.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, get_args, get_type_hints

import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam.autodiff.core import Cotangent, backward, connected
from onnxcam.autodiff.emit import Emitter
from onnxcam.autodiff.infer import gradient_dtype, same
from onnxcam.autodiff.jacobian import add_output
from onnxcam.autodiff.rules import RuleSet
from onnxcam.autodiff.rulesets import ruleset
from onnxcam.autodiff.subgraph import prune, used_values
from onnxcam.errors import MethodError, nearest
from onnxcam.extras import ACTIVATION, AROUND, CHOSEN, CLASS, MAP, SCORE
from onnxcam.layer import Layer, ancestors
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
    index: ir.Value  # of the class, int64 [N]
    eigen: bool = False  # sums over channels give way to their principal component

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

    def unfolded(self, flat: ir.Value) -> ir.Value:
        """Return *flat*, a number for each picture and position of A, as [N, *space]."""
        op, lengths = self.op, self.size()
        if all(isinstance(length, int) for length in lengths):
            return op.Reshape(flat, [-1, *lengths])
        a = self.activation()
        return op.Reshape(flat, op.Concat(op.Shape(a, end=1), op.Shape(a, start=2), axis=0))

    def _layer(self) -> Layer:
        if self.layer is None:
            raise MethodError("this method looks at a layer; name one")
        return self.layer


SMOOTH, NONE = "smooth", "none"
SMOOTHINGS = (NONE, "aug", "eigen", "aug+eigen")
"""The setting of every CAM of one pass, and its values: `augment` has what they mean, and `activation.summed`."""

Emit: TypeAlias = Callable[..., ir.Value]
"""From a scene, and a method's settings, to a tensor of the graph."""
Procedure: TypeAlias = Callable[..., NDArray[Any]]


@dataclass(frozen=True)
class Method:
    """A way to explain: its id, how its map is emitted or computed, and where the map lies."""

    id: str
    emit: Emit | None  # the map; for a procedure what it needs of one pass, None if only scores
    at_layer: bool  # the map is [N, *space of the layer, or of the input if it uses none]; else the input's, signed
    uses_layer: bool
    summary: str
    run: Procedure | None = None  # the loop over passes, of one picture
    uses_head: bool = False  # it asks for scores of changed activations
    summed: bool = False  # the map is a sum over channels, for which their principal component may stand

    @property
    def in_graph(self) -> bool:
        """Whether the explanation graph gives the map itself, in one pass."""
        return self.run is None

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings by name, with their defaults: what the function takes beyond the scene, or the passes."""
        parameters = list(inspect.signature(self._function).parameters.values())[1:]
        own = {parameter.name: parameter.default for parameter in parameters}
        return {**own, SMOOTH: NONE} if self.in_graph and self.at_layer else own

    def choices(self, setting: str) -> tuple[str, ...]:
        """Return the words that *setting* may be; none for a number."""
        if setting == SMOOTH:
            return SMOOTHINGS if self.summed else SMOOTHINGS[:2]
        return get_args(get_type_hints(self._function)[setting])

    @property
    def _function(self) -> Callable[..., Any]:
        function = self.run or self.emit
        assert function is not None
        return function


METHODS: dict[str, Method] = {}
"""Every method by its id. The command line, the documentation and the tests read it."""


def method(id: str, *, at_layer: bool, uses_layer: bool | None = None, summed: bool = False) -> Callable[[Emit], Emit]:
    """Enter the function below, which emits the map, into the registry as method *id*."""

    def enter(function: Emit) -> Emit:
        looks = at_layer if uses_layer is None else uses_layer
        METHODS[id] = Method(id, function, at_layer, looks, _summary(function), summed=summed)
        return function

    return enter


def procedure(
    id: str, *, around: Emit | None, at_layer: bool, uses_layer: bool = False, uses_head: bool = False
) -> Callable[[Procedure], Procedure]:
    """Enter the function below, a loop over passes that each emit *around*, into the registry as method *id*."""

    def enter(function: Procedure) -> Procedure:
        METHODS[id] = Method(id, around, at_layer, uses_layer, _summary(function), function, uses_head)
        return function

    return enter


def _summary(function: Callable[..., Any]) -> str:
    return (function.__doc__ or "").strip().splitlines()[0]


def find_method(id: str) -> Method:
    """Return the method called *id*; MethodError, offering the nearest, where there is none."""
    if id not in METHODS:
        raise MethodError(f"no method is called {id!r}; there are {', '.join(METHODS)}.{nearest(id, METHODS)}")
    return METHODS[id]


def explanation_graph(
    subject: Subject, method: Method, layer: Layer | None, settings: Mapping[str, Any] | None = None
) -> None:
    """Make the model of *subject* explain itself, in place.

    It gains the input `CLASS` (−1: the model's own top class) and the outputs `MAP`, `CHOSEN` and `SCORE`. For a
    procedure `MAP` is what it needs of one pass, if anything. *settings* are those of a method that is a graph. A map
    has the size of the layer, or of the picture, unless it says itself what shape it is. For a method that uses the
    head, the tensors that go around the layer are outputs too.
    """
    graph, image, scores = subject.model.graph, subject.image, subject.scores
    op = Emitter(graph)
    wanted = class_input(graph, image)
    index, score = scores.select(op, wanted)
    batch = wanted.shape[:1] if wanted.shape is not None else [None]
    if method.emit is not None:
        own = dict(settings or {}) if method.in_graph else {}
        eigen = "eigen" in own.pop(SMOOTH, NONE)
        raw = method.emit(Scene(op, image, layer, scores, scores.seed(op, index), index, eigen), **own)
        value, layout = (layer.value, layer.layout) if method.uses_layer and layer else (image, picture_layout(image))
        if not method.in_graph:
            add_output(op, raw, MAP)
        elif method.at_layer and layout is not None:
            size = raw.shape[1:] if raw.shape is not None else layout.size(value)
            add_output(op, raw, MAP, shape=[*batch, *size])
        else:
            add_output(op, raw, MAP, like=image)
    if method.uses_head and layer is not None:
        graph.outputs.extend(x for x in ways_around(subject, layer) if x not in graph.outputs)
    _finish(op, {CHOSEN: index, SCORE: score}, batch)


def ways_around(subject: Subject, layer: Layer) -> list[ir.Value]:
    """Return the real tensors of the picture, [N, …], that the network behind *layer* takes besides it."""
    graph, image, scores = subject.model.graph, subject.image, subject.scores
    needed = ancestors(scores.value) | ancestors(scores.shown)
    seen, behind = _reached(graph, image), _reached(graph, layer.value)
    nodes = [node for node in graph if not behind.isdisjoint(node.outputs) and not needed.isdisjoint(node.outputs)]
    taken = dict.fromkeys(x for node in nodes for x in used_values(node) if x in seen and x not in behind)
    return [x for x in taken if x is not None and x is not image and _is_real_batch(x, image)]


def _reached(graph: ir.Graph, source: ir.Value) -> set[ir.Value | None]:
    """Return *source* and all that is computed from it."""
    found: set[ir.Value | None] = {source}
    for node in graph:
        if not found.isdisjoint(used_values(node)):
            found.update(node.outputs)
    return found


def _is_real_batch(x: ir.Value, image: ir.Value) -> bool:
    if x.dtype is None or not x.dtype.is_floating_point() or not x.shape or not image.shape:
        return False
    return same(x.shape[0], image.shape[0])


def head_graph(subject: Subject, layer: Layer) -> None:
    """Cut the model of *subject* at *layer*, in place: from the input `ACTIVATION` (and `CLASS`) to the output `SCORE`.

    What goes around the layer is an input too, named `AROUND` and the tensor; the picture stays one where more of it is
    asked for, such as its shape.
    """
    graph, image, cut = subject.model.graph, subject.image, layer.value
    for x in ways_around(subject, layer):
        around = ir.Value(name=f"{AROUND}{x.name}", shape=x.shape, type=x.type)
        x.replace_all_uses_with(around, replace_graph_outputs=True)
        graph.inputs.append(around)
    given = ir.Value(name=ACTIVATION, shape=cut.shape, type=cut.type)
    op = Emitter(graph)
    cut.replace_all_uses_with(given, replace_graph_outputs=True)
    graph.outputs.clear()
    wanted = class_input(graph, image)
    graph.inputs.append(given)
    _, score = subject.scores.select(op, wanted)
    _finish(op, {SCORE: score}, wanted.shape[:1] if wanted.shape is not None else [None])
    if not image.uses():
        graph.inputs.remove(image)


def _finish(op: Emitter, outputs: Mapping[str, ir.Value], batch: Sequence[Any]) -> None:
    """Make *outputs*, [N] each, the last outputs of the graph, and take out what no output needs."""
    for name, value in outputs.items():
        add_output(op, value, name, shape=batch)
    op.place(op.graph.outputs)
    prune(op.graph)


def class_input(graph: ir.Graph, image: ir.Value) -> ir.Value:
    """Add the input `CLASS` to *graph*, int64 [N] with the batch of *image*; return it."""
    batch = image.shape[0] if image.shape is not None else None
    wanted = ir.Value(name=CLASS, shape=ir.Shape([batch]), type=ir.TensorType(ir.DataType.INT64))
    graph.inputs.append(wanted)
    return wanted
