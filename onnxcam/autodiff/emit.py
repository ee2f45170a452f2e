"""Create nodes. The emitter never walks a graph and knows no gradient.

``op.Mul(dy, b)`` makes one node and returns its output. What is known when the graph is built is computed then:
``op.Shape`` of a static tensor is a constant, and small arithmetic on constants folds, so a rule is written once,
for run-time shapes, and comes out static wherever shapes are static. Nothing is emitted twice, and nodes that
nobody asked for are never placed (`Emitter.place`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir

from onnxcam.errors import ModelError

Operand: TypeAlias = "ir.Value | np.ndarray | Sequence[int] | float | int | None"
"""An emitted operator's input. A Python float takes the dtype of the first floating operand; an int or a sequence
of ints becomes int64; an array is taken as it is; None leaves an optional input out."""

FOLD_LIMIT = 4096  # elements; larger constants are left to the runtime's own folding

_BOOL = {
    "Greater",
    "GreaterOrEqual",
    "Less",
    "LessOrEqual",
    "Equal",
    "Not",
    "And",
    "Or",
    "Xor",
    "IsNaN",
    "IsInf",
}
_INT64 = {"Shape", "Size", "ArgMax", "ArgMin", "NonZero"}


def _take(data: np.ndarray, indices: np.ndarray, axis: int = 0) -> np.ndarray:
    return np.take(data, indices, axis=axis)


def _unsqueeze(data: np.ndarray, axes: np.ndarray) -> np.ndarray:
    return np.expand_dims(data, tuple(int(axis) for axis in np.atleast_1d(axes)))


def _squeeze(data: np.ndarray, axes: np.ndarray | None = None) -> np.ndarray:
    return np.squeeze(data, None if axes is None else tuple(int(axis) for axis in axes))


def _reshape(data: np.ndarray, shape: np.ndarray, allowzero: int = 0) -> np.ndarray:
    return data.reshape([data.shape[i] if n == 0 and not allowzero else n for i, n in enumerate(shape)])


def _reduce(function: Callable[..., Any]) -> Callable[..., np.ndarray]:
    def fold(data: np.ndarray, axes: np.ndarray | None = None, keepdims: int = 1) -> np.ndarray:
        over = None if axes is None else tuple(int(axis) for axis in axes)
        return np.asarray(function(data, axis=over, keepdims=bool(keepdims)), data.dtype)

    return fold


def _divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a / b if np.issubdtype(a.dtype, np.floating) else np.trunc(a / b).astype(a.dtype)


FOLDS: dict[str, Callable[..., Any]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": _divide,
    "Mod": lambda a, b, fmod=0: np.fmod(a, b) if fmod else np.mod(a, b),
    "Neg": np.negative,
    "Abs": np.abs,
    "Sign": np.sign,
    "Sqrt": np.sqrt,
    "Reciprocal": np.reciprocal,
    "Max": lambda *parts: reduce(np.maximum, parts),
    "Min": lambda *parts: reduce(np.minimum, parts),
    "Equal": np.equal,
    "Less": np.less,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "LessOrEqual": np.less_equal,
    "Not": np.logical_not,
    "And": np.logical_and,
    "Where": np.where,
    "Concat": lambda *parts, axis: np.concatenate(parts, axis),
    "Gather": _take,
    "Expand": lambda data, shape: np.broadcast_to(data, np.broadcast_shapes(data.shape, tuple(shape))),
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Reshape": _reshape,
    "Range": lambda start, limit, delta: np.arange(start, limit, delta, dtype=np.asarray(start).dtype),
    "ReduceProd": _reduce(np.prod),
    "ReduceSum": _reduce(np.sum),
    "Cast": lambda data, to: data.astype(ir.DataType(to).numpy()),
}
"""Operators that are computed at once when all their inputs are small constants."""


class Emitter:
    """Emits nodes into *graph*: every attribute is an operator of the default domain.

    ``op.OperatorName(*operands, **attributes)`` returns the output, or a tuple of them with ``outputs=n``. Attribute
    values are Python ints, floats, strings or sequences of these.
    """

    def __init__(self, graph: ir.Graph, prefix: str = "onnxcam") -> None:
        self.graph = graph
        self._prefix = prefix
        self._nodes: list[ir.Node] = []
        self._known: dict[Any, Any] = {}
        self._called: set[ir.Value] = set()
        self._taken = {value.name for value in _all_values(graph)} | {node.name for node in graph.all_nodes()}

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
        """Return the output values of one operator: folded, found among those emitted before, or new."""
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
        name = self.name(f"{self._prefix}.{op_type}")
        made = [ir.Value(name=name if i == 0 else self.name(f"{name}.{i}")) for i in range(outputs)]
        attrs = ir.convenience.convert_attributes(attributes)
        self._nodes.append(ir.Node(domain, op_type, inputs, attrs, outputs=made, name=name))
        for position, value in enumerate(made):
            dtype = _dtype(op_type, position, inputs, attributes)
            value.type = ir.TensorType(dtype) if dtype is not None else None
        if op_type == "Shape" and inputs[0] is not None and inputs[0].shape is not None:
            axes = range(rank(inputs[0]))[attributes.get("start", 0) : attributes.get("end")]
            made[0].shape = ir.Shape([len(axes)])
        return tuple(made)

    def _operand(self, x: Operand, like: ir.DataType | None) -> ir.Value | None:
        if x is None or isinstance(x, ir.Value):
            return x
        if isinstance(x, float):
            return self.const(np.asarray(x, (like or ir.DataType.FLOAT).numpy()))
        return self.const(x if isinstance(x, np.ndarray | np.generic) else np.asarray(x, np.int64))

    def _fold(self, op_type: str, inputs: list[ir.Value | None], attributes: dict[str, Any]) -> ir.Value | None:
        if op_type == "Shape" and inputs[0] is not None:
            return self._static_shape(inputs[0], **attributes)
        if op_type not in FOLDS or not inputs:
            return None
        arrays = [None if x is None else constant(x) for x in inputs]
        if any(array is None or array.size > FOLD_LIMIT for array in arrays):
            return None
        result = np.asarray(FOLDS[op_type](*arrays, **attributes))
        return self.const(result) if result.size <= FOLD_LIMIT else None

    def _static_shape(self, x: ir.Value, start: int = 0, end: int | None = None) -> ir.Value | None:
        if x.shape is None:
            return None
        dims = list(x.shape)[start:end]
        return self.const(np.asarray(dims, np.int64)) if all(isinstance(d, int) for d in dims) else None

    def const(self, array: Any, dtype: ir.DataType | None = None) -> ir.Value:
        """Return an initializer holding *array*; equal arrays share one."""
        array = np.ascontiguousarray(array, dtype.numpy() if dtype else None).reshape(np.shape(array))
        key = (array.dtype.str, array.dtype.name, array.shape, array.tobytes())
        if key not in self._known:
            name = self.name(f"{self._prefix}.const")
            tensor = ir.tensor(array, name=name)
            self._known[key] = ir.Value(
                name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor
            )
        return self._known[key]

    def full_like(self, x: ir.Value, value: float) -> ir.Value:
        """Return a tensor of *x*'s shape and dtype filled with *value*."""
        dtype = x.dtype or ir.DataType.FLOAT
        fill = ir.tensor(np.asarray([value], dtype.numpy()))
        filled = self.ConstantOfShape(self.Shape(x), value=fill)
        filled.shape = x.shape
        return filled

    def zeros_like(self, x: ir.Value) -> ir.Value:
        """Return zeros of *x*'s shape and dtype."""
        return self.full_like(x, 0.0)

    def flag(self, condition: ir.Value, like: ir.Value) -> ir.Value:
        """Return 1 where *condition* holds, else 0, in the dtype of *like*."""
        if like.dtype is None:
            return self.CastLike(condition, like)
        return self.Cast(condition, to=int(like.dtype))

    def step(self, y: ir.Value) -> ir.Value:
        """Return 1 where *y* > 0, else 0, in the dtype of *y*.

        In float32 it is a hard sigmoid so steep that every normal number saturates it: one node in place of two, and
        one that ONNX Runtime's CPU provider keeps in the blocked layout of its convolutions.
        """
        if y.dtype == ir.DataType.FLOAT:
            return self.HardSigmoid(y, alpha=3e38, beta=0.0)
        return self.flag(self.Greater(y, 0.0), y)

    def mask(self, dy: ir.Value, condition: ir.Value) -> ir.Value:
        """Return *dy* where *condition* holds, else 0: several times faster on ONNX Runtime's CPU than Where."""
        return self.Mul(dy, self.flag(condition, dy))

    def axes(self, x: ir.Value, start: int = 0, stop: int = 0) -> ir.Value:
        """Return the axes of *x* from *start* up to its rank plus *stop*, as int64 [n]."""
        return self.Range(start, self.Add(self.Squeeze(self.Shape(self.Shape(x)), [0]), stop), 1)

    def dim(self, x: ir.Value, axis: int) -> ir.Value:
        """Return the length of *x* along *axis* as int64 [1]."""
        if x.shape is not None:
            axis %= rank(x)
        return self.Shape(x, start=-1) if axis == -1 else self.Shape(x, start=axis, end=axis + 1)

    def reshape_like(self, dy: ir.Value, x: ir.Value) -> ir.Value:
        """Return *dy* in the shape of *x*, which has as many elements."""
        if x.shape is not None and dy.shape == x.shape and x.shape.is_static():
            return dy
        dims = [] if x.shape is None else [d if isinstance(d, int) else -1 for d in x.shape]
        if x.shape is not None and dims.count(-1) <= 1 and 0 not in dims:
            return self.Reshape(dy, dims)
        return self.Reshape(dy, self.Shape(x))

    def call(self, x: ir.Value, name: str) -> ir.Value:
        """Return *x* under *name*: itself if it was emitted here and is still unnamed, else a value that equals it."""
        node = x.producer()
        if node is None or node.graph is not None or x in self._called:
            (x,) = self._node("Identity", [x], 1, "", {})
        x.name = self.name(name)
        self._called.add(x)
        return x

    def name(self, wish: str) -> str:
        """Return *wish*, numbered where the graph has it already."""
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
        """Append to the graph the emitted nodes that *wanted* depends on, and the constants these use."""
        needed = set(wanted)
        kept = []
        for node in reversed(self._nodes):
            if node.graph is None and not needed.isdisjoint(node.outputs):
                kept.append(node)
                needed.update(x for x in node.inputs if x is not None)
        placed = set(map(id, kept))
        for node in self._nodes:
            if node.graph is None and id(node) not in placed:
                _detach(node)
        self._nodes.clear()
        self.graph.extend(reversed(kept))
        for value in needed:
            if value.const_value is not None and value.producer() is None and value.graph is None:
                self.graph.register_initializer(value)
        self._known = {key: made for key, made in self._known.items() if _in_graph(made)}


def constant(x: ir.Value) -> np.ndarray | None:
    """Return the value of *x* where it is known before the model runs, else None."""
    if x.const_value is not None and not x.is_graph_input():
        return x.const_value.numpy()
    node = x.producer()
    if node is not None and node.op_type == "Constant" and node.domain == "":
        tensor = ir.convenience.get_const_tensor(x)
        return None if tensor is None else tensor.numpy()
    return None


def rank(x: ir.Value) -> int:
    """Return the number of axes of *x*; ModelError where it is not known."""
    if x.shape is None:
        node = x.producer()
        raise ModelError(
            f"the shape of tensor {x.name!r} cannot be inferred"
            + (f" (node {node.name!r}, {node.op_type})" if node is not None else "")
            + "; its gradient needs the number of its axes: declare it in the model's value_info"
        )
    return len(x.shape)


def _dtype(
    op_type: str, position: int, inputs: list[ir.Value | None], attributes: dict[str, Any]
) -> ir.DataType | None:
    if op_type in _BOOL:
        return ir.DataType.BOOL
    if op_type in _INT64 or (op_type in {"MaxPool", "TopK"} and position == 1):
        return ir.DataType.INT64
    if op_type == "LayerNormalization" and position > 0:
        return ir.DataType.FLOAT  # the statistics, whatever the data
    if op_type == "Cast":
        return ir.DataType(attributes["to"])
    if op_type == "ConstantOfShape":
        return ir.DataType(attributes["value"].dtype) if "value" in attributes else ir.DataType.FLOAT
    source = {"Where": 1, "CastLike": 1, "OneHot": 2}.get(op_type, 0)
    first = inputs[source] if len(inputs) > source else None
    return None if first is None else first.dtype


def _key(attribute: Any) -> Any:
    if isinstance(attribute, ir.TensorProtocol):
        return (attribute.dtype, tuple(attribute.shape), attribute.tobytes())
    return tuple(attribute) if isinstance(attribute, list | tuple) else attribute


def _detach(node: ir.Node) -> None:
    """Take an unplaced node out of its inputs' lists of uses."""
    for i in range(len(node.inputs)):
        node.replace_input_with(i, None)


def _in_graph(made: Any) -> bool:
    values = made if isinstance(made, tuple) else (made,)
    return all(not isinstance(value, ir.Value) or value.graph is not None for value in values)


def _all_values(graph: ir.Graph) -> Iterable[ir.Value]:
    yield from graph.inputs
    yield from graph.initializers.values()
    for node in graph.all_nodes():
        yield from node.outputs
