"""Layers: the activations that CAM methods can explain, their names, and the choice that ``auto`` makes.

``auto`` chooses the last activation with spatial axes at which the target's gradient is not zero: in a CNN the last
rectified convolution, in a transformer the last normalised tokens that still influence the class token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import onnx_ir as ir

from onnxcam.autodiff.core import dependents
from onnxcam.autodiff.table import RuleSet
from onnxcam.errors import LayerError
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.infer import no_numbers
from onnxcam.graph.io import all_tensors
from onnxcam.graph.operators import Trait, operators
from onnxcam.graph.quantisation import dequantised, units
from onnxcam.structure.layout import GridLayout, Layout, TokenLayout
from onnxcam.structure.names import find, module_names
from onnxcam.structure.propagate import layouts
from onnxcam.structure.unplaced import TOKEN_MAKERS, last, origin, residual, unplaced

__all__ = [
    "PROBED",
    "RUNNERS_UP",
    "Choice",
    "Layer",
    "LayoutProbe",
    "Probe",
    "ancestors",
    "candidates",
    "choose",
    "located",
    "named",
    "tail",
    "widest",
]

Probe = Callable[[Sequence["Layer"]], "list[float]"]
"""Returns for each layer the share of its cells, 0 to 1, in which the gradient is not zero."""

LayoutProbe = Callable[[Sequence[ir.Value]], "dict[ir.Value, Layout | None]"]
"""Runs the network on changed pictures. Returns the layout of each tensor with spatial extent, None where none fits."""

RUNNERS_UP = 4
_LOCATED = (16, 32, 64)  # tensors whose layout is probed in each round, from the last one backwards
PROBED = 12  # `auto` examines this many token layers, from the last one backwards; if all are dead, more

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
) -> list[Layer]:
    """Return the activations with spatial axes between *image* and *scores*, last first.

    *known* are layouts that a run has shown.
    """
    found = layouts(graph, image, rules, known)
    before, own = ancestors(scores), tail(scores)
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
        and _spatial(y, found[y])
        and (z := _rounded(y, found, before)) is not scores
    ]
    return layers[::-1]


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


def choose(
    graph: ir.Graph,
    image: ir.Value,
    scores: ir.Value,
    rules: RuleSet,
    name: str | None = None,
    probe: Probe | None = None,
    layout_probe: LayoutProbe | None = None,
) -> Choice:
    """Return the layer called *name*; for None and ``"auto"`` the last suitable one.

    *probe* measures gradients if the last layer may see too little of them, as in a transformer whose last blocks pass
    on the class token only. *layout_probe* finds layouts that the graph does not show. LayerError if there is no such
    layer.
    """
    if name is not None and name != "auto":
        return Choice(named(graph, image, name, rules, layout_probe), "by name", source="user")
    for found in _rounds(graph, image, scores, rules, layout_probe):  # until one has a layer that the graph hides
        if not found.layers:
            raise LayerError(_no_layer(graph, image, scores, rules))
        choice = _suitable(graph, image, scores, rules, found.layers, probe)
        if choice is not None and choice.layer.value not in found.shown:
            break
    if choice is None:
        raise LayerError("the target depends on none of the last layers; name the layer to explain with --layer")
    run = bool(found.known) and choice.layer.value not in layouts(graph, image, rules)
    beside = _beside(choice.layer, scores, found.layers, dependents(graph, [image], rules))
    return replace(choice, reason=choice.reason + beside + _behind(found.lost), source="run" if run else "graph")


def _suitable(
    graph: ir.Graph, image: ir.Value, scores: ir.Value, rules: RuleSet, layers: Sequence[Layer], probe: Probe | None
) -> Choice | None:
    """Return the last layer on which the target depends, None where there is none."""
    if probe is not None and (
        isinstance(layers[0].layout, TokenLayout) or _is_bypassed(layers[0], graph, image, scores, rules)
    ):
        parts = (layers[:PROBED], layers[PROBED : 8 * PROBED])
        return next((choice for some in parts if some and (choice := _alive(some, probe)) is not None), None)
    return Choice(
        layers[0],
        "the last activation with spatial extent before the class scores",
        tuple(layers[1 : RUNNERS_UP + 1]),
    )


@dataclass(frozen=True)
class _Located:
    """The candidates, those of them that the graph *shows*, and the layouts that runs have shown."""

    layers: list[Layer]
    shown: frozenset[ir.Value]
    known: dict[ir.Value, Layout] = field(default_factory=dict)
    lost: list[ir.Value] = field(default_factory=list)  # activations behind them that have no layout


def located(
    graph: ir.Graph, image: ir.Value, scores: ir.Value, rules: RuleSet, layout_probe: LayoutProbe | None
) -> list[Layer]:
    """Return `candidates`, with those whose layout *layout_probe* finds first."""
    return next(_rounds(graph, image, scores, rules, layout_probe)).layers


def _rounds(
    graph: ir.Graph, image: ir.Value, scores: ir.Value, rules: RuleSet, layout_probe: LayoutProbe | None
) -> Iterator[_Located]:
    """Yield the candidates with the layouts that the last activations, then those before them, show in runs."""
    layers = candidates(graph, image, scores, rules)
    shown = frozenset(layer.value for layer in layers)
    known: dict[ir.Value, Layout] = {}
    lost: list[ir.Value] = []
    found = layouts(graph, image, rules)
    for probed in _probed(graph, image, scores, rules, layers, layout_probe):
        first = next((place for place, value in enumerate(probed) if probed[value] is not None), len(probed))
        new = {value: layout for value, layout in probed.items() if layout is not None}
        if not known:
            lost += [x for x in list(probed)[:first] if origin(x) not in found and origin(x) not in new]
        known |= new
        if new:
            yield _Located(candidates(graph, image, scores, rules, known), shown, dict(known), list(lost))
    if not known:
        yield _Located(layers, shown, {}, lost)


def _probed(
    graph: ir.Graph,
    image: ir.Value,
    scores: ir.Value,
    rules: RuleSet,
    layers: Sequence[Layer],
    layout_probe: LayoutProbe | None,
) -> Iterator[dict[ir.Value, Layout | None]]:
    """Yield the layouts, found by runs, of activations behind *layers*, some at once, from the last ones."""
    placed = {value for layer in layers for value in (layer.value, layer.origin or layer.value)}
    found = layouts(graph, image, rules)
    apart = {*tail(scores), *(value for value, layout in found.items() if not _spatial(value, layout))}
    behind = [y for y in unplaced(graph, image, scores, rules, placed, apart) if y not in found]
    if layout_probe is None or all(origin(y) in placed for y in behind):
        return
    for count in _LOCATED:
        if behind:
            yield layout_probe(behind[:count])
            behind = behind[count:]


def _no_layer(graph: ir.Graph, image: ir.Value, scores: ir.Value, rules: RuleSet) -> str:
    if scores not in dependents(graph, [image], rules):
        return (
            f"{scores.name!r}, the target, does not depend on the image {image.name!r}; name another target, or with "
            "--wrt another input to explain"
        )
    return (
        "the model has no activation with spatial extent between the image and the class scores; "
        "use --method gradient, which needs none"
    )


def _beside(layer: Layer, scores: ir.Value, layers: Sequence[Layer], active: set[ir.Value]) -> str:
    """Return in words which other layers reach the scores past *layer*."""
    ends = last(scores, {one.origin or one.value for one in layers}, active)
    sides = [one for one in layers if (one.origin or one.value) in ends and one.value is not layer.value]
    if (layer.origin or layer.value) not in ends or not sides:
        return ""
    return f"; the map shows this branch alone, beside it the scores depend on {_names(sides)}"


def _behind(lost: Sequence[ir.Value]) -> str:
    """Return in words which activations behind the layer were passed over."""
    if not lost:
        return ""
    return f"; behind it the place of {len(lost)} activations in the image is not known, such as {lost[0].name!r}"


def _names(layers: Sequence[Layer]) -> str:
    return ", ".join(repr(layer.name) for layer in layers[:3]) + (" and others" if len(layers) > 3 else "")


def _alive(layers: Sequence[Layer], probe: Probe) -> Choice | None:
    """Return the last of *layers* with a nonzero gradient, if any: in most cells for tokens, in any cell for a grid.

    After its last attention a transformer may pass on a few tokens only; in a grid the target may be a single position.
    """
    pairs = zip(layers, probe(layers), strict=True)
    alive = [layer for layer, share in pairs if share > (0.5 if isinstance(layer.layout, TokenLayout) else 0)]
    if not alive:
        return None
    what = "tokens whose patches" if isinstance(alive[0].layout, TokenLayout) else "activation with spatial extent that"
    return Choice(alive[0], f"the last {what} the target depends on", tuple(alive[1 : RUNNERS_UP + 1]))


def _is_bypassed(layer: Layer, graph: ir.Graph, image: ir.Value, scores: ir.Value, rules: RuleSet) -> bool:
    """Whether *scores* depend on *image* without *layer*."""
    maker = layer.value.producer()
    return scores in dependents((node for node in graph if node is not maker), [image], rules)


def widest(layers: Sequence[Layer], shares: Sequence[float]) -> Choice:
    """Return the last layer whose gradient covers most of the target's own region, such as a detection's box.

    *shares* holds the covered share of that region for each of *layers*, last first. LayerError if all are zero.
    """
    enough = min(0.5, max(shares, default=0))
    wide = [layer for layer, share in zip(layers, shares, strict=True) if share >= enough]
    if not max(shares, default=0) > 0:
        raise LayerError("the gradient of the target is zero at every layer; name another target, or use --method rise")
    reason = "the last activation in which the target depends on most of its own place"
    return Choice(wide[0], reason, tuple(wide[1 : RUNNERS_UP + 1]))


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


def _spatial(value: ir.Value, layout: Layout) -> bool:
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
