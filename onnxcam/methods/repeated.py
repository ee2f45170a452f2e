"""A part of the graph repeated for several targets of each image, so that one reverse pass does for all of them.

The nodes between layers and targets are copied with inputs that are repeated along the batch, once for each target.
The copies are not run: the reverse pass reads them, and where it needs a value of theirs, it takes the repeated one of
the original.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir

from onnxcam.autodiff import STANDARD
from onnxcam.autodiff.core import Cotangent, connected, dense, dependents
from onnxcam.autodiff.core import backward as reverse
from onnxcam.autodiff.rulesets import past_rounding
from onnxcam.autodiff.window_pass import carried, dense_seeds
from onnxcam.autodiff.windows import Window, crop
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.infer import gradient_dtype, same
from onnxcam.graph.subgraph import bodies, detach, used_values
from onnxcam.methods.base import NONE, SMOOTH, GraphMethod
from onnxcam.methods.context import MapContext
from onnxcam.structure.layer import Layer, ancestors
from onnxcam.structure.layout import GridLayout
from onnxcam.targets.aim import Aimed

__all__ = ["RepeatedContext", "RepeatedPart", "can_repeat", "emit_maps", "gradients_of"]


_FLOAT = int(ir.DataType.FLOAT)
_INDICES = (ir.DataType.INT64, ir.DataType.INT32, ir.DataType.BOOL)


def emit_maps(
    op: Emitter,
    image: ir.Value,
    method: GraphMethod,
    layer: Layer,
    seeds: Mapping[ir.Value, Cotangent],
    images: ir.Value,
    settings: Mapping[str, Any],
    windows: Sequence[tuple[ir.Value, Window]] = (),
    signed: bool = False,
) -> ir.Value | None:
    """Return the maps of *method* at *layer* for M targets, float32 [M, h, w]; None where rows of images are mixed.

    *seeds* are the tensors to differentiate and their cotangents [M, …], *images* the image of each target, int64 [M];
    *windows* are further tensors and cotangents, of few elements.
    """
    if windows:
        table = past_rounding(STANDARD, [value for value, _ in windows])
        ends = carried(op, windows, [layer.value], table)
        local = None if seeds else _in_window(op, image, method, layer, ends, settings, signed)
        if local is not None:
            return local
        seeds = dense_seeds(op, ends, {value: dense(op, seed, value) for value, seed in seeds.items()})
    if not can_repeat(op.graph, [layer.value], list(seeds), image):
        return None
    part = RepeatedPart(op, image, [layer.value], list(seeds), images)
    gradients = gradients_of(part, seeds)
    first, own = next(iter(seeds)), dict(settings)
    eigen = "eigen" in own.pop(SMOOTH, NONE)
    copy, aimed = Layer(part.of(layer.value), layer.layout), Aimed(first, seeds[first], first)
    context = RepeatedContext(op, image, copy, aimed, eigen, signed, gradients)
    flat: ir.Value = op.Cast(method.emit(context, **own), to=_FLOAT)
    part.finish()
    return flat


def _in_window(
    op: Emitter,
    image: ir.Value,
    method: GraphMethod,
    layer: Layer,
    ends: Sequence[tuple[ir.Value, Window]],
    settings: Mapping[str, Any],
    signed: bool,
) -> ir.Value | None:
    """Return the maps computed in the window of the layer's gradient; None unless there is one, and maps are local."""
    own, layout = dict(settings), layer.layout
    if len(ends) != 1 or method.pooled or not method.summed or "eigen" in own.pop(SMOOTH, NONE):
        return None
    ((value, window),) = ends
    if value is not layer.value or not isinstance(layout, GridLayout) or layout.batch != 0:
        return None
    part = crop(op, value, window.spans)
    if part is None or part.dtype is None or not part.dtype.is_floating_point():
        return None
    local = Layer(part, layout)
    aimed = Aimed(part, window.value, window.value)
    context = RepeatedContext(op, image, local, aimed, signed=signed, gradients={part: window.value})
    flat = op.Cast(method.emit(context, **own), to=_FLOAT)
    whole = ir.Value(shape=ir.Shape([None, *layout.size(value)]), type=ir.TensorType(ir.DataType.FLOAT))
    spans = [window.spans[0], *(window.spans[axis] for axis in layout.space)]
    return Window.of(flat, spans, whole).dense(op, whole)


def can_repeat(graph: ir.Graph, layers: Sequence[ir.Value], targets: Sequence[ir.Value], image: ir.Value) -> bool:
    """Return whether each tensor between *layers* and *targets* has the batch of *image* as its first axis."""
    batch = image.shape[0] if image.shape else None
    nodes = _between(graph, layers, targets)
    return batch is not None and all(_keeps_batch(node, batch, graph, image) for node in nodes)


def _keeps_batch(node: ir.Node, batch: int | ir.SymbolicDim, graph: ir.Graph, image: ir.Value) -> bool:
    perm = node.attributes.get_ints("perm", [0])
    axis = node.attributes.get_int("axis", 1)
    return (
        not bodies(node)
        and all(_has_batch(y, batch) for y in node.outputs)
        and (node.op_type != "Transpose" or (bool(perm) and perm is not None and perm[0] == 0))
        and not (axis == 0 and node.op_type in ("Gather", "Concat", "Split", "Softmax", "ArgMax"))
    )


def _has_batch(y: ir.Value, batch: int | ir.SymbolicDim | None) -> bool:
    """Return whether the first axis of *y* is that of images; a length that inference made up may be open as theirs."""
    first = y.shape[0] if y.shape else None
    if first is None or batch is None:
        return False
    made_up = isinstance(first, ir.SymbolicDim) and (first.value is None or first.value.startswith("unk__"))
    return same(first, batch) or (made_up and not isinstance(batch, int))


def _between(graph: ir.Graph, layers: Sequence[ir.Value], targets: Sequence[ir.Value]) -> list[ir.Node]:
    """Return the nodes that a gradient at *targets* passes on its way to *layers*; indices have none."""
    active = {y for y in dependents(graph, layers, STANDARD) if y.dtype not in _INDICES}
    needed = set().union(*(ancestors(target) for target in targets))
    return [
        node
        for node in graph
        if any(y in active and y in needed for y in node.outputs) and not active.isdisjoint(used_values(node))
    ]


@dataclass
class RepeatedPart:
    """The nodes between *layers* and *targets*, for M targets.

    Attributes:
        op: Adds nodes to the graph.
        image: The image input.
        images: The image of each target, int64 [M].
    """

    op: Emitter
    image: ir.Value
    layers: Sequence[ir.Value]
    targets: Sequence[ir.Value]
    images: ir.Value
    nodes: list[ir.Node] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._made: dict[ir.Value, ir.Value] = {}
        self._repeated: dict[ir.Value, ir.Value] = {}
        self._varying = _behind(self.op.graph, self.image)
        for node in _between(self.op.graph, self.layers, self.targets):
            self._copy(node)

    def of(self, value: ir.Value) -> ir.Value:
        """Return the copy of *value*, or *value* repeated."""
        return self._made.get(value) or self.repeated(value)

    def repeated(self, value: ir.Value) -> ir.Value:
        """Return *value* [N, …] repeated for the targets, [M, …]; a value without images as it is."""
        if value not in self._repeated:
            self._repeated[value] = self._repeat(value) if self._has_images(value) else value
        return self._repeated[value]

    def finish(self) -> None:
        """Replace the values of copies by the originals, repeated; call it when all is emitted."""
        copies = set(self.nodes)
        for value, copy in self._made.items():
            for node, place in list(copy.uses()):
                if node not in copies:
                    node.replace_input_with(place, self.repeated(value))
        for node in self.nodes:
            detach(node)

    def _has_images(self, value: ir.Value) -> bool:
        """Return whether *value* is computed from the image and has its batch; a vector of numbers may be a shape."""
        batch = self.image.shape[0] if self.image.shape else None
        real = value.dtype is not None and value.dtype.is_floating_point()
        return value in self._varying and _has_batch(value, batch) and (real or len(value.shape or ()) > 1)

    def _shape(self, value: ir.Value) -> ir.Shape:
        return ir.Shape([None, *(value.shape or [])[1:]])

    def _repeat(self, value: ir.Value) -> ir.Value:
        made: ir.Value = self.op.Gather(value, self.images, axis=0)
        made.shape, made.type = self._shape(value), value.type
        return made

    def _copy(self, node: ir.Node) -> None:
        outputs = []
        for y in node.outputs:
            copy = ir.Value(name=self.op.name(f"onnxcam.copy.{y.name}"), shape=self._shape(y), type=y.type)
            self._made[y] = copy
            self.repeated(y)  # in the order of nodes
            outputs.append(copy)
        inputs = [None if x is None else self.of(x) for x in node.inputs]
        name = self.op.name(f"onnxcam.copy.{node.name}")
        self.nodes.append(
            ir.Node(node.domain, node.op_type, inputs, list(node.attributes.values()), outputs=outputs, name=name)
        )


def _behind(graph: ir.Graph, image: ir.Value) -> set[ir.Value | None]:
    """Return *image* and all that is computed from it."""
    found: set[ir.Value | None] = {image}
    for node in graph:
        if not found.isdisjoint(used_values(node)):
            found.update(node.outputs)
    return found


@dataclass(frozen=True)
class RepeatedContext(MapContext):
    """What a method emits the maps of all targets from, [M, h, w]: the gradients are known."""

    gradients: Mapping[ir.Value, ir.Value] = field(default_factory=dict)

    def gradient(self, value: ir.Value, rules: object = "standard") -> ir.Value:
        """Return the gradient of the copy *value* of a layer."""
        return self.gradients[value]


def gradients_of(part: RepeatedPart, seeds: Mapping[ir.Value, Cotangent]) -> dict[ir.Value, ir.Value]:
    """Return the gradients at the layers of *part*, by the copies of these; *seeds* are cotangents of the targets."""
    wanted = [part.of(layer) for layer in part.layers]
    own = {part.of(value): seed for value, seed in seeds.items()}
    found = reverse(part.op, own, wanted, past_rounding(STANDARD, own), part.nodes)
    made = {}
    for value, dx in zip(wanted, found, strict=True):
        gradient = connected(value, dx, own, STANDARD)
        gradient.shape, gradient.type = value.shape, ir.TensorType(gradient_dtype(value))
        made[value] = gradient
    return made
