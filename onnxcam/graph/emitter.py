"""The emitter: create nodes. It never walks a graph and does not differentiate.

``op.Mul(dy, b)`` makes one node and returns its output. Known values are computed at once: ``op.Shape`` of a static
tensor is a constant, and small arithmetic on constants is folded. So a rule is written once, for run-time shapes, and
its nodes become static where shapes are static. Equal nodes are emitted once, and unused ones are never placed
(`Emitter.place`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir
from onnx import defs

from onnxcam.errors import OnnxcamError
from onnxcam.graph.fold import cancel, constant, fold
from onnxcam.graph.infer import gradient_dtype, rank, shape_of, type_of
from onnxcam.graph.subgraph import all_nodes, between, detach, used_values, values

__all__ = ["STEEP", "Emitter", "Operand"]

Operand: TypeAlias = "ir.Value | np.ndarray | Sequence[int] | float | int | None"
"""An emitted operator's input. A Python float takes the dtype of the first floating operand; an int or a sequence
of ints becomes int64; an array keeps its dtype; None omits an optional input."""


STEEP = 2.0**120  # the slope of `Emitter.step`


class Emitter:
    """Emits nodes into *graph*: every attribute is an operator of the default domain.

    ``op.OperatorName(*operands, **attributes)`` returns the output, or a tuple of them with ``outputs=n``. Attribute
    values are Python ints, floats, strings, lists of ints, tensors, or graphs.
    """

    def __init__(
        self,
        graph: ir.Graph,
        prefix: str = "onnxcam",
        taken: set[str | None] | None = None,
        opset: int | None = None,
    ) -> None:
        self.graph = graph
        self.opset = opset or graph.opset_imports.get("") or defs.onnx_opset_version()
        self._prefix = prefix
        self._nodes: list[ir.Node] = []
        self._known: dict[Any, Any] = {}
        self._called: set[ir.Value] = set()
        if taken is None:
            taken = {value.name for value in values(graph)} | {node.name for node in all_nodes(graph)}
        self._taken = taken

    def __getattr__(self, op_type: str) -> Callable[..., Any]:
        if not op_type[0].isupper():
            raise AttributeError(op_type)

        def emit(*operands: Operand, outputs: int = 1, domain: str = "", **attributes: Any) -> Any:
            return self.emit(op_type, operands, outputs, domain, attributes)

        return emit

    def emit(
        self,
        op_type: str,
        operands: Iterable[Operand],
        outputs: int = 1,
        domain: str = "",
        attributes: dict[str, Any] | None = None,
    ) -> Any:
        """Return the outputs of one operator: folded, reused from an equal node, or new."""
        attributes = attributes or {}
        operands = list(operands)
        dtypes = [x.dtype for x in operands if isinstance(x, ir.Value) and x.dtype is not None]
        like = next((dtype for dtype in dtypes if dtype.is_floating_point()), None)
        inputs = [self._operand(x, like) for x in operands]
        folded = self._fold(op_type, inputs, attributes)
        if folded is not None:
            return folded
        settings = tuple(sorted((name, _key(value)) for name, value in attributes.items()))
        key = (domain, op_type, outputs, tuple(map(id, inputs)), settings)
        if key not in self._known:
            self._known[key] = self._node(op_type, inputs, outputs, domain, attributes)
        made = self._known[key]
        return made[0] if outputs == 1 else made

    def _node(
        self,
        op_type: str,
        inputs: list[ir.Value | None],
        outputs: int,
        domain: str,
        attributes: dict[str, Any],
    ) -> tuple[ir.Value, ...]:
        if not domain and not defs.has(op_type):
            raise OnnxcamError(f"ONNX has no operator {op_type!r}; correct op.{op_type} in the rule or method")
        name = self.name(f"{self._prefix}.{op_type}")
        made = [ir.Value(name=name if i == 0 else self.name(f"{name}.{i}")) for i in range(outputs)]
        attrs = [_attribute(key, value) for key, value in attributes.items()]
        self._nodes.append(ir.Node(domain, op_type, inputs, attrs, outputs=made, name=name))
        for position, value in enumerate(made):
            value.type = type_of(op_type, position, inputs, attributes)
        made[0].shape = shape_of(op_type, inputs, attributes)
        return tuple(made)

    def _operand(self, x: Operand, like: ir.DataType | None) -> ir.Value | None:
        if x is None or isinstance(x, ir.Value):
            return x
        if isinstance(x, float):
            return self.const(np.asarray(x, (like or ir.DataType.FLOAT).numpy()))
        if isinstance(x, np.ndarray | np.generic):
            return self.const(x)
        key = "int64", x if isinstance(x, int) else tuple(x)
        return self.once(key, lambda: self.const(np.asarray(x, np.int64)))

    def _fold(self, op_type: str, inputs: list[ir.Value | None], attributes: dict[str, Any]) -> ir.Value | None:
        if op_type == "Shape" and inputs[0] is not None:
            return self._static_shape(inputs[0], **attributes)
        result = fold(op_type, inputs, attributes)
        return cancel(op_type, inputs, attributes) if result is None else self.const(result)

    def _static_shape(self, x: ir.Value, start: int = 0, end: int | None = None) -> ir.Value | None:
        if x.shape is None:
            return None
        dims = list(x.shape)[start:end]
        return self.const(np.asarray(dims, np.int64)) if all(isinstance(d, int) for d in dims) else None

    def inner(self, graph: ir.Graph) -> Emitter:
        """Return an emitter into *graph*, an attribute of a node emitted here; names are unique across both."""
        return Emitter(graph, graph.name or self._prefix, self._taken, self.opset)

    def pending(self, sources: Iterable[ir.Value], targets: Iterable[ir.Value]) -> list[ir.Node]:
        """Return the emitted, unplaced nodes between *sources* and *targets*."""
        return between(self._nodes, sources, targets)

    def const(self, array: Any, dtype: ir.DataType | None = None) -> ir.Value:
        """Return an initializer holding *array*; equal arrays share one."""
        array = np.array(array, dtype.numpy() if dtype else None, order="C")  # a copy, as the file may be mapped
        key = (array.dtype, array.shape, array.tobytes())
        if key not in self._known:
            name = self.name(f"{self._prefix}.const")
            tensor = ir.Tensor(array, name=name)
            self._known[key] = ir.Value(
                name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor
            )
        return self._known[key]

    def total(self, *parts: ir.Value) -> ir.Value:
        """Return the sum of *parts*, tensors of one shape."""
        if len(parts) == 1:
            return parts[0]
        return self.Add(*parts) if len(parts) == 2 else self.Sum(*parts)

    def once(self, key: tuple[Any, ...], emit: Callable[[], ir.Value]) -> ir.Value:
        """Return the result of *emit*; later calls with the same *key* return it again."""
        if key not in self._known:
            self._known[key] = emit()
        return self._known[key]

    def flag(self, condition: ir.Value, like: ir.Value) -> ir.Value:
        """Return 1 where *condition* holds, else 0, in the dtype of *like*; float32 if that is an integer type."""
        if like.dtype is None:
            return self.CastLike(condition, like)
        return self.Cast(condition, to=int(gradient_dtype(like)))

    def step(self, y: ir.Value, slope: float = 1.0, offset: float = 0.0) -> ir.Value:
        """Return 1 where slope y + offset > 0, else 0, in the dtype of *y*.

        In float32 it is one hard sigmoid in place of two nodes, so steep that all numbers above 1e-36 saturate it. ONNX
        Runtime's CPU provider keeps it in the blocked layout of its convolutions.
        """
        if y.dtype == ir.DataType.FLOAT:
            return self.HardSigmoid(y, alpha=slope * STEEP, beta=offset * STEEP)
        return self.flag(self.Greater(y if slope == 1 else self.Mul(y, slope), -offset), y)

    def mask(self, dy: ir.Value, condition: ir.Value) -> ir.Value:
        """Return *dy* where *condition* holds, else 0: several times faster on ONNX Runtime's CPU than Where."""
        return self.Mul(dy, self.flag(condition, dy))

    def scatter_add(self, base: ir.Value, places: ir.Value, parts: ir.Value, axis: int = 0) -> ir.Value:
        """Return *base* with *parts* added at *places* along *axis*.

        16-bit floats are summed in float32: more exact, and ONNX Runtime's CPU provider has no other kernel.
        """
        if base.dtype not in (ir.DataType.FLOAT16, ir.DataType.BFLOAT16):
            return self.ScatterElements(base, places, parts, axis=axis, reduction="add")
        wide = [self.Cast(x, to=int(ir.DataType.FLOAT)) for x in (base, parts)]
        total = self.ScatterElements(wide[0], places, wide[1], axis=axis, reduction="add")
        return self.Cast(total, to=int(base.dtype))

    def axes(self, x: ir.Value, start: int = 0, stop: int = 0) -> ir.Value:
        """Return the axes of *x* from *start* up to its rank plus *stop*, as int64 [n]."""
        return self.Range(start, self.Add(self.Squeeze(self.Shape(self.Shape(x)), [0]), stop), 1)

    def dim(self, x: ir.Value, axis: int) -> ir.Value:
        """Return the length of *x* along *axis*, int64 [1]."""
        if x.shape is not None:
            axis %= rank(x)
        return self.Shape(x, start=-1) if axis == -1 else self.Shape(x, start=axis, end=axis + 1)

    def pad(self, x: ir.Value, pads: Operand, axes: ir.Value | Sequence[int], dims: int | None) -> ir.Value:
        """Return *x*, of rank *dims*, zero-padded along *axes* by *pads*, begins then ends.

        Pad's input for axes is avoided if these are known: ONNX Runtime 1.32 fails when it moves a Transpose through a
        Pad with that input.
        """
        known = constant(axes) if isinstance(axes, ir.Value) else np.asarray(axes)
        if known is None or dims is None:
            return self.Pad(x, pads, None, axes)
        lengths: list[Operand] = [[0]] * (2 * dims)
        for i, axis in enumerate(int(axis) % dims for axis in known):
            lengths[axis], lengths[dims + axis] = self.Gather(pads, [i]), self.Gather(pads, [len(known) + i])
        return self.Pad(x, self.Concat(*lengths, axis=0))

    def reshape_like(self, dy: ir.Value, x: ir.Value) -> ir.Value:
        """Return *dy* in the shape of *x*, which has the same number of elements."""
        if x.shape is not None and dy.shape == x.shape and x.shape.is_static():
            return dy
        dims = [] if x.shape is None else [d if isinstance(d, int) else -1 for d in x.shape]
        if x.shape is not None and dims.count(-1) <= 1 and 0 not in dims:
            return self.Reshape(dy, dims)
        return self.Reshape(dy, self.Shape(x), allowzero=1)

    def call(self, x: ir.Value, name: str) -> ir.Value:
        """Return *x* under *name*: itself if it was emitted here and has no given name yet, else an alias."""
        node = x.producer()
        if node is None or node.graph is not None or x in self._called:
            x = self.alias(x)
        x.name = self.name(name)
        self._called.add(x)
        return x

    def alias(self, x: ir.Value) -> ir.Value:
        """Return a new value equal to *x*."""
        (y,) = self._node("Identity", [x], 1, "", {})
        y.shape = x.shape
        return y

    def name(self, wish: str) -> str:
        """Return *wish*, with a number appended if the graph already has that name."""
        count, name = 0, wish
        if wish in self._taken:
            count = self._known.get(("name", wish), 0)
            while name in self._taken:
                count += 1
                name = f"{wish}_{count}"
            self._known["name", wish] = count
        self._taken.add(name)
        return name

    def place(self, wanted: Iterable[ir.Value]) -> None:
        """Append to the graph the emitted nodes that *wanted* depends on and their constants; discard the others."""
        wanted = list(wanted)
        kept = between(self._nodes, (), wanted)
        placed = set(map(id, kept))
        for node in self._nodes:
            if id(node) not in placed:
                detach(node)
        self._nodes.clear()
        self.graph.extend(kept)
        for value in [*wanted, *(x for node in kept for x in used_values(node) if x is not None)]:
            if value.const_value is not None and value.producer() is None and value.graph is None:
                self.graph.register_initializer(value)
        self._known = {key: made for key, made in self._known.items() if _in_graph(made)}


def _attribute(name: str, value: Any) -> ir.Attr:
    """Return an attribute by the type of *value*: onnx_ir's own conversion is slow."""
    if isinstance(value, int):
        return ir.AttrInt64(name, value)
    if isinstance(value, float):
        return ir.AttrFloat32(name, value)
    if isinstance(value, str):
        return ir.AttrString(name, value)
    if isinstance(value, list | tuple):
        kind = type(value[0]) if value else int
        return ir.Attr(name, _LISTS[kind], value)
    return ir.AttrGraph(name, value) if isinstance(value, ir.Graph) else ir.AttrTensor(name, value)


_LISTS = {int: ir.AttributeType.INTS, float: ir.AttributeType.FLOATS, str: ir.AttributeType.STRINGS}


def _key(attribute: Any) -> Any:
    if isinstance(attribute, int | float | str):
        return attribute
    if isinstance(attribute, list | tuple):
        return tuple(attribute)
    if isinstance(attribute, ir.Graph):
        return id(attribute)
    return attribute.dtype, tuple(attribute.shape), attribute.tobytes()


def _in_graph(made: Any) -> bool:
    values = made if isinstance(made, tuple) else (made,)
    return all(not isinstance(value, ir.Value) or value.graph is not None for value in values)
