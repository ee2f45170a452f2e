"""Layers: the activations that CAM methods can explain, and their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxcam.autodiff.core import dependents
from onnxcam.autodiff.table import RuleSet
from onnxcam.errors import LayerError
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.infer import no_numbers
from onnxcam.graph.io import all_tensors
from onnxcam.graph.operators import Trait, operators
from onnxcam.graph.quantisation import dequantised, units
from onnxcam.graph.subgraph import used_values
from onnxcam.structure.layout import GridLayout, Layout, TokenLayout
from onnxcam.structure.names import find, module_names
from onnxcam.structure.propagate import layouts
from onnxcam.structure.unplaced import TOKEN_MAKERS, origin, residual

__all__ = [
    "Choice",
    "Layer",
    "LayoutProbe",
    "Probe",
    "ancestors",
    "candidates",
    "has_extent",
    "lengthened",
    "named",
    "tail",
]

Probe = Callable[[Sequence["Layer"]], "list[float]"]
"""Returns for each layer the share of its cells, 0 to 1, in which the gradient is not zero."""

LayoutProbe = Callable[[Sequence[ir.Value]], "dict[ir.Value, Layout | None]"]
"""Runs the network on changed images. Returns the layout of each tensor with spatial extent, None where none fits."""

_PASSIVE = operators(
    Trait.COPIES | Trait.RESHAPES | Trait.CUTS | Trait.REPEATS | Trait.INTERLEAVES | Trait.REORDERS
) | operators(Trait.RESIZES | Trait.QUANTISES | Trait.POOLS)
# Not Concat: it joins branches to a new activation.
_PASSIVE |= {"Dropout", "Transpose", "Pad", "ReduceMean", "ReduceMax", "ReduceSum", "QLinearReduceMean"}
_PASSIVE |= {"SequenceAt", "ConcatFromSequence", "OptionalGetElement"}
"""Operators that move, pool or convert an activation but do not make one."""

# Not Gather or SpaceToDepth: their inputs are features rather than scores.
_TAIL = operators(Trait.COPIES | Trait.RESHAPES | Trait.QUANTISES) | {"Transpose", "Pad", "Slice", "Split", "Concat"}
_TAIL |= {"Resize", "DepthToSpace", "Sigmoid", "Softmax", "Tanh", "Clip", "Relu", "Softplus", "Exp", "Abs"}
"""Operators between the last layer of scores and the output."""


@dataclass(frozen=True)
class Layer:
    """An activation and the layout of its axes."""

    value: ir.Value
    layout: Layout
    origin: ir.Value | None = None  # the tensor whose node names the layer, if not `value`

    @property
    def tensor(self) -> str:
        """Return the tensor's name in the graph."""
        return self.value.name or ""

    @property
    def name(self) -> str:
        """Return the framework's name of the layer if the file has one, else the name of the tensor."""
        names = module_names((self.origin or self.value).producer())
        return names[-1] if names else (self.origin or self.value).name or ""

    def in_graph(self, graph: ir.Graph) -> Layer:
        """Return the same layer in *graph*, a copy of the layer's graph."""
        return Layer(all_tensors(graph)[self.tensor], self.layout)

    def dequantised(self, op: Emitter) -> ir.Value:
        """Return the activation, dequantised if the graph holds it as integers."""
        return dequantised(op, self.value, self.value)

    def dequantised_gradient(self, op: Emitter, gradient: ir.Value) -> ir.Value:
        """Return the gradient with respect to `dequantised`, given the gradient with respect to the stored tensor."""
        integers = self.value.dtype is not None and not self.value.dtype.is_floating_point()
        known = units(self.value) if integers else None
        return gradient if known is None else op.Div(gradient, known.scale)

    @property
    def size(self) -> str:
        """Return the spatial size, such as ``7 × 7``."""
        lengths = self.layout.size(self.value)
        return " × ".join(str(length) if isinstance(length, int) else "?" for length in lengths)

    def __str__(self) -> str:
        label = self.tensor if self.name == self.tensor else f"{self.name} ({self.tensor})"
        return f"{label}, {self.size}" + (" patches" if isinstance(self.layout, TokenLayout) else "")


@dataclass(frozen=True)
class Choice:
    """The chosen layer, the reason, and other candidates."""

    layer: Layer
    reason: str
    others: tuple[Layer, ...] = ()
    source: str = "graph"  # how it is known, a key of `onnxcam.metadata.reading.SOURCES`


def candidates(
    graph: ir.Graph,
    image: ir.Value,
    scores: ir.Value,
    rules: RuleSet,
    known: Mapping[ir.Value, Layout] | None = None,
    found: Mapping[ir.Value, Layout] | None = None,
) -> list[Layer]:
    """Return the activations with spatial axes between *image* and *scores*, last first.

    *known* are layouts that a run has shown; *found* are the `layouts` that follow, if they are there already.
    """
    found = layouts(graph, image, rules, known) if found is None else found
    before, own = ancestors(scores), tail(scores) | lengthened(graph, image)
    active = dependents(graph, [image], rules)
    layers = [
        Layer(z, found[z], y)
        for node in graph
        for y in node.outputs
        if y in found
        and no_numbers(y) is None
        and y in before
        and y not in own
        and (_is_activation(node, found[y], active) or (y in (known or ()) and origin(y) not in found))
        and has_extent(y, found[y])
        and (z := _rounded(y, found, before)) is not scores
    ]
    return layers[::-1]


def lengthened(graph: ir.Graph, image: ir.Value) -> set[ir.Value]:
    """Return the tensors whose length depends on other inputs than *image*: tokens of a text beside those of the image.

    An empty set where the image's own size is open.
    """
    if _is_open(image):
        return set()
    others = {x for x in graph.inputs if x is not image and _is_open(x)}
    for node in graph if others else ():
        if not others.isdisjoint(used_values(node)):
            others.update(node.outputs)
    return {y for y in others if _is_open(y)}


def _is_open(x: ir.Value) -> bool:
    """Return whether an axis of *x*, besides the first, has no fixed length."""
    return x.shape is None or any(not isinstance(length, int) for length in list(x.shape)[1:])


def _rounded(y: ir.Value, found: Mapping[ir.Value, Layout], before: set[ir.Value]) -> ir.Value:
    """Return the output of QuantizeLinear and DequantizeLinear if these two alone read *y*, else *y*.

    The rest of an integer model reads that output, and ONNX Runtime fuses the operators before it only while *y* has
    no other reader.
    """
    z = y
    for operator in ("QuantizeLinear", "DequantizeLinear"):
        nodes = [node for node, at in z.uses() if at == 0 and node.outputs[0] in before]
        if len(nodes) != 1 or nodes[0].op_type != operator or nodes[0].outputs[0] not in found:
            return y if operator == "QuantizeLinear" else z
        z = nodes[0].outputs[0]
    return z


def named(
    graph: ir.Graph, image: ir.Value, name: str, rules: RuleSet, layout_probe: LayoutProbe | None = None
) -> Layer:
    """Return the layer called *name*: the name of a tensor, of a node, or of a layer of the source framework."""
    value = find(graph, name)
    what = no_numbers(value)
    if what is not None:
        raise LayerError(f"layer {name!r} is {what}, no activation; `onnxcam inspect` lists the layers that are")
    layout = layouts(graph, image, rules).get(value)
    if layout is None and layout_probe is not None and value in dependents(graph, [image], rules):
        layout = layout_probe([value]).get(value)
    if layout is None:
        raise LayerError(
            f"layer {name!r} ({value.shape}) has no spatial axes that can be followed from the image; "
            "`onnxcam inspect` lists the layers that have"
        )
    return Layer(value, layout)


def _is_activation(node: ir.Node, layout: Layout, active: set[ir.Value]) -> bool:
    if isinstance(layout, GridLayout):
        return node.op_type not in _PASSIVE
    return residual(node, active) or node.op_type in TOKEN_MAKERS


def has_extent(value: ir.Value, layout: Layout) -> bool:
    """Return whether *value* has more than one cell."""
    return any(not isinstance(length, int) or length > 1 for length in layout.size(value))


def tail(scores: ir.Value) -> set[ir.Value]:
    """Return *scores* and the tensors before it that differ only by movement, resizing or a final activation.

    A grid of scores, such as a segmentation before its upsampling, is the target and not a layer.
    """
    seen, stack = {scores}, [scores]
    while stack:
        node = stack.pop().producer()
        if node is not None and node.op_type in _TAIL:
            new = [x for x in node.inputs if x is not None and x not in seen]
            seen.update(new)
            stack.extend(new)
    return seen


def ancestors(value: ir.Value) -> set[ir.Value]:
    """Return *value* and every tensor that it is computed from."""
    seen, stack = {value}, [value]
    while stack:
        node = stack.pop().producer()
        for x in node.inputs if node is not None else ():
            if x is not None and x not in seen:
                seen.add(x)
                stack.append(x)
    return seen
