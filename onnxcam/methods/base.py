"""What a method is, and the registry of all.

Most methods are a graph: one function emits the map. A procedure asks the network many times (`methods.passes`); what
its explanation graph gives is what it needs of one pass: the map of another method, the layer's activation, or nothing
but the score.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias, get_args, get_type_hints

import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam.autodiff.core import backward, connected
from onnxcam.autodiff.rulesets import ruleset
from onnxcam.autodiff.table import RuleSet
from onnxcam.errors import GradientError, MethodError, MissingRuleError, nearest
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.infer import gradient_dtype
from onnxcam.metadata.reserved import CHOSEN
from onnxcam.structure.layer import Layer
from onnxcam.targets.aim import Aimed
from onnxcam.targets.scores import Scores


@dataclass(frozen=True)
class Scene:
    """What a method works on: the picture, the layer and the score that is explained, in a graph that may grow."""

    op: Emitter
    image: ir.Value
    layer: Layer | None
    target: Aimed
    eigen: bool = False  # sums over channels give way to their principal component
    signed: bool = False  # what speaks against the target stays in the map

    @property
    def scores(self) -> Scores:
        """Return the scores of the classes; MethodError where something else is explained."""
        if self.target.scores is None:
            raise MethodError("this method compares classes; it applies to classifiers only: use --method gradcam")
        return self.target.scores

    @property
    def index(self) -> ir.Value:
        """Return the index of the class, int64 [N]; MethodError where no single class is explained."""
        if CHOSEN not in self.target.outputs:
            raise MethodError("this method needs one class of a classifier as its target: use --method gradcam")
        return self.target.outputs[CHOSEN]

    def positive(self, maps: ir.Value) -> ir.Value:
        """Return ReLU(*maps*), the last step of many methods; *maps* as they are where both signs are asked for."""
        return maps if self.signed else self.op.Relu(maps)

    def gradient(self, value: ir.Value, rules: str | RuleSet = "standard") -> ir.Value:
        """Return the gradient of the score with respect to *value*."""
        table, seeds = ruleset(rules), {self.target.value: self.target.seed}
        (found,) = backward(self.op, seeds, [value], table)
        gradient = connected(value, found, seeds, table)
        gradient.shape, gradient.type = value.shape, ir.TensorType(gradient_dtype(value))
        return gradient

    def activation(self) -> ir.Value:
        """Return the layer's activation A, [N, K, *space]."""
        layer = self._layer()
        return layer.layout.maps(self.op, layer.dequantised(self.op))

    def activation_gradient(self) -> ir.Value:
        """Return the gradient of the score with respect to A, [N, K, *space]."""
        layer = self._layer()
        return layer.layout.maps(self.op, layer.dequantised_gradient(self.op, self.gradient(layer.value)))

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
    blind: bool = False  # the map is the same whatever the target
    pooled: bool = False  # a channel has one weight for the whole layer, made of the gradient at all its positions

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


def method(
    id: str,
    *,
    at_layer: bool,
    uses_layer: bool | None = None,
    summed: bool = False,
    blind: bool = False,
    pooled: bool = False,
) -> Callable[[Emit], Emit]:
    """Enter the function below, which emits the map, into the registry as method *id*."""

    def enter(function: Emit) -> Emit:
        looks = at_layer if uses_layer is None else uses_layer
        summary = _summary(function)
        METHODS[id] = Method(id, function, at_layer, looks, summary, summed=summed, blind=blind, pooled=pooled)
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


@contextmanager
def offering_black_boxes() -> Iterator[None]:
    """Where no gradient passes, have the error name the methods that ask the network for its scores only."""
    try:
        yield
    except (MissingRuleError, GradientError) as error:
        *most, last = (method.id for method in METHODS.values() if method.emit is None)
        raise type(error)(
            f"{error}; or use --method {', '.join(most)} or {last}, which need no gradient (`onnxcam inspect` lists "
            "all that apply)"
        ) from error
