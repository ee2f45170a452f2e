"""Which activation the CAM methods look at, and what people call it.

`auto` takes the last activation with spatial extent that the target depends on with a gradient that is not zero: the
last rectified convolution of a CNN, the last normalised tokens of a transformer that still reach its class token.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxcam.autodiff.core import dependents
from onnxcam.autodiff.table import RuleSet
from onnxcam.errors import LayerError, nearest
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.infer import no_numbers
from onnxcam.graph.io import all_tensors
from onnxcam.graph.operators import Trait, operators
from onnxcam.graph.quantisation import dequantised, units
from onnxcam.metadata.literals import literal
from onnxcam.passes.names import LAYER
from onnxcam.structure.layout import GridLayout, Layout, TokenLayout, layouts

Probe = Callable[[Sequence["Layer"]], "list[float]"]
"""Tells for each layer in which share of its cells the gradient is not zero."""

RUNNERS_UP = 4
NESTED = 64  # modules inside modules; a name that tells of more is none of a framework
PROBED = 12  # so many layers of tokens are looked at, the last ones

_PASSIVE = operators(
    Trait.COPIES | Trait.RESHAPES | Trait.CUTS | Trait.REPEATS | Trait.INTERLEAVES | Trait.REORDERS
) | operators(Trait.RESIZES | Trait.QUANTISES | Trait.POOLS)
# Concat is missing, as it joins branches to an activation of its own.
_PASSIVE |= {"Dropout", "Transpose", "Pad", "ReduceMean", "ReduceMax", "ReduceSum", "QLinearReduceMean"}
_PASSIVE |= {"SequenceAt", "ConcatFromSequence", "OptionalGetElement"}
"""Operators that move, pool or convert an activation but do not make one."""

# Gather and SpaceToDepth are missing: behind them are rather features than scores.
_TAIL = operators(Trait.COPIES | Trait.RESHAPES | Trait.QUANTISES) | {"Transpose", "Pad", "Slice", "Split", "Concat"}
_TAIL |= {"Resize", "DepthToSpace", "Sigmoid", "Softmax", "Tanh", "Clip"}
"""Operators between the last layer of scores and the output."""

_TOKEN_MAKERS = frozenset(
    ("LayerNormalization", "RMSNormalization", "SkipLayerNormalization", "SimplifiedLayerNormalization")
)


@dataclass(frozen=True)
class Layer:
    """An activation and the layout of its axes."""

    value: ir.Value
    layout: Layout
    origin: ir.Value | None = None  # the tensor whose maker names the layer, if not `value`

    @property
    def tensor(self) -> str:
        """Return the tensor's name in the graph."""
        return self.value.name or ""

    @property
    def name(self) -> str:
        """Return the framework's name of the layer where the file carries one, else the tensor's."""
        names = module_names((self.origin or self.value).producer())
        return names[-1] if names else (self.origin or self.value).name or ""

    def in_graph(self, graph: ir.Graph) -> Layer:
        """Return the same layer in *graph*, a copy of its own."""
        return Layer(all_tensors(graph)[self.tensor], self.layout)

    def dequantised(self, op: Emitter) -> ir.Value:
        """Return the activation as real numbers: dequantised where the graph keeps integers."""
        return dequantised(op, self.value, self.value)

    def dequantised_gradient(self, op: Emitter, gradient: ir.Value) -> ir.Value:
        """Return the gradient with respect to `real`, given that with respect to the integers."""
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
    """The layer that was taken, why, and what else could have been."""

    layer: Layer
    reason: str
    others: tuple[Layer, ...] = ()


def candidates(graph: ir.Graph, image: ir.Value, scores: ir.Value, rules: RuleSet) -> list[Layer]:
    """Return the activations with spatial extent between *image* and *scores*, the last first."""
    found = layouts(graph, image, rules)
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
        and _is_activation(node, found[y], active)
        and _spatial(y, found[y])
        and (z := _rounded(y, found, before)) is not scores
    ]
    return layers[::-1]


def _rounded(y: ir.Value, found: Mapping[ir.Value, Layout], before: set[ir.Value]) -> ir.Value:
    """Return what the network goes on with where *y* is only rounded to integers and back.

    An integer model runs on these; and ONNX Runtime fuses the operators before only if nobody else reads *y*.
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
) -> Choice:
    """Return the layer called *name*, or the one that suits best for None and ``"auto"``.

    *probe* is asked where the last layer may show too little: the last blocks of a transformer may pass only the class
    token on. LayerError where there is no such layer.
    """
    if name is not None and name != "auto":
        return Choice(named(graph, image, name, rules), "by name")
    layers = candidates(graph, image, scores, rules)
    if not layers:
        raise LayerError(
            "the model has no activation with spatial extent between the picture and the class scores; "
            "use --method gradient, which needs none"
        )
    if probe is not None and (
        isinstance(layers[0].layout, TokenLayout) or _is_bypassed(layers[0], graph, image, scores, rules)
    ):
        return _alive(layers[:PROBED], probe)
    return Choice(
        layers[0],
        "the last activation with spatial extent before the class scores",
        tuple(layers[1 : RUNNERS_UP + 1]),
    )


def _alive(layers: Sequence[Layer], probe: Probe) -> Choice:
    """Return the last of *layers* that has a gradient: tokens in most of their cells, grids in any.

    Behind the last attention a transformer may pass a few tokens on; in a grid the target may be a place.
    """
    pairs = zip(layers, probe(layers), strict=True)
    alive = [layer for layer, share in pairs if share > (0.5 if isinstance(layer.layout, TokenLayout) else 0)]
    if not alive:
        raise LayerError("the target depends on none of the last layers; name the layer to explain with --layer")
    what = "tokens whose patches" if isinstance(alive[0].layout, TokenLayout) else "activation with spatial extent that"
    return Choice(alive[0], f"the last {what} the target depends on", tuple(alive[1 : RUNNERS_UP + 1]))


def _is_bypassed(layer: Layer, graph: ir.Graph, image: ir.Value, scores: ir.Value, rules: RuleSet) -> bool:
    """Whether *scores* depend on *image* without *layer*."""
    maker = layer.value.producer()
    return scores in dependents((node for node in graph if node is not maker), [image], rules)


def widest(layers: Sequence[Layer], shares: Sequence[float]) -> Choice:
    """Return the last layer in which the target looks at most of its own place, such as a detection's box.

    *shares* says for each of *layers*, the last first, at which share of that place. LayerError where it is none.
    """
    enough = min(0.5, max(shares, default=0))
    wide = [layer for layer, share in zip(layers, shares, strict=True) if share >= enough]
    if not max(shares, default=0) > 0:
        raise LayerError("the gradient of the target is zero at every layer; name another target, or use --method rise")
    reason = "the last activation in which the target depends on most of its own place"
    return Choice(wide[0], reason, tuple(wide[1 : RUNNERS_UP + 1]))


def named(graph: ir.Graph, image: ir.Value, name: str, rules: RuleSet) -> Layer:
    """Return the layer that *name* means: a tensor, a node, or a layer of the framework the file came from."""
    value = find(graph, name)
    what = no_numbers(value)
    if what is not None:
        raise LayerError(f"layer {name!r} is {what}, no activation; `onnxcam inspect` lists the layers that are")
    layout = layouts(graph, image, rules).get(value)
    if layout is None:
        raise LayerError(
            f"layer {name!r} ({value.shape}) has no spatial axes that can be followed from the picture; "
            "`onnxcam inspect` lists the layers that have"
        )
    return Layer(value, layout)


def find(graph: ir.Graph, name: str) -> ir.Value:
    """Return the tensor that *name* means; LayerError, offering the nearest, where there is none."""
    tensors = all_tensors(graph)
    if name in tensors:
        return tensors[name]
    node = next((node for node in graph if node.name == name), None)
    if node is not None:
        return node.outputs[0]
    modules, made = module_outputs(graph), [tensor for tensor in tensors if tensor not in graph.initializers]
    if name in modules:
        return modules[name]
    raise LayerError(f"the model has no layer {name!r}.{nearest(name, [*modules, *made])}")


def module_outputs(graph: ir.Graph) -> dict[str, ir.Value]:
    """Return the output of each module by the framework's name: the last tensor of it that is used outside."""
    members: dict[str, dict[ir.Node, None]] = {}
    for node in graph:
        for name in module_names(node):
            members.setdefault(name, {})[node] = None
    return {name: _leaving(nodes) for name, nodes in members.items()}


def _leaving(nodes: Mapping[ir.Node, None]) -> ir.Value:
    made = [y for node in nodes for y in node.outputs if y.dtype is None or y.dtype != ir.DataType.INT64]
    used = [y for y in made if y.is_graph_output() or any(user not in nodes for user in y.consumers())]
    return (used or made or list(nodes)[-1].outputs)[-1]


def module_names(node: ir.Node | None) -> list[str]:
    """Return the framework's names of the modules around *node*, the outermost first.

    The model's card has them (`passes.names` puts them here); PyTorch's exporter writes them into the node's metadata,
    its older one and tf2onnx into the node's name.
    """
    if node is None:
        return []
    if LAYER in node.metadata_props:
        return _enclosing(node.metadata_props[LAYER])
    scopes = literal(node.metadata_props.get("pkg.torch.onnx.name_scopes", ""))
    if isinstance(scopes, list) and all(isinstance(scope, str) for scope in scopes):
        return [scope for scope in scopes[:-1] if scope]
    path = (node.name or "").split(";")[0]  # TFLite joins the names of the layers it fused
    parts = [part for part in path.split("/") if part][:-1]
    if len(parts) > NESTED:
        return []
    return _dotted(parts) if path.startswith("/") else parts  # Keras layer names are unique by themselves


def _enclosing(layer: str) -> list[str]:
    """Return the names of the modules around *layer*: ``layer4, layer4.2``, or Keras's ``model/block`` by parts."""
    if "/" in layer:
        return [part for part in layer.split("/") if part]
    parts = layer.split(".") if layer else []
    if len(parts) > NESTED:
        return []
    return [".".join(parts[: count + 1]) for count in range(len(parts))]


def _dotted(parts: Sequence[str]) -> list[str]:
    """Return PyTorch's module paths for ``layer4, layer4.2, conv3``: the last is ``layer4.2.conv3``."""
    names: list[str] = []
    for part in parts:
        nested = names and part.startswith(f"{names[-1]}.")
        names.append(part if nested or not names else f"{names[-1]}.{part}")
    return names


def _is_activation(node: ir.Node, layout: Layout, active: set[ir.Value]) -> bool:
    if isinstance(layout, GridLayout):
        return node.op_type not in _PASSIVE
    residual = node.op_type == "Add" and all(x in active for x in node.inputs)
    return residual or node.op_type in _TOKEN_MAKERS


def _spatial(value: ir.Value, layout: Layout) -> bool:
    return any(not isinstance(length, int) or length > 1 for length in layout.size(value))


def tail(scores: ir.Value) -> set[ir.Value]:
    """Return *scores* and the tensors that only are moved, or bent point by point, to become them.

    A grid of scores, such as a segmentation before it is enlarged, is what is explained, not a layer that explains.
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
    """Return *value* and all that it is computed from."""
    seen, stack = {value}, [value]
    while stack:
        node = stack.pop().producer()
        for x in node.inputs if node is not None else ():
            if x is not None and x not in seen:
                seen.add(x)
                stack.append(x)
    return seen
