"""The reverse pass. It knows no operator.

`backward` visits the nodes between the seeded and the wanted values once, last to first, and calls each node's rule for
the gradients of its inputs. It does the common work: it prunes, checks arity, undoes broadcasting, adds up the
contributions, and makes sparse cotangents dense for rules that do not accept them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import onnx_ir as ir

from onnxcam.autodiff.cotangents import ElementCotangent, gradient_type, total, zeros_like
from onnxcam.autodiff.slices import SlicedCotangent, joined, node_slice, same_place
from onnxcam.autodiff.table import Rule, RuleSet
from onnxcam.errors import GradientError, ModelError, OnnxcamError, call_registered
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.infer import gradient_dtype, rank, same
from onnxcam.graph.subgraph import between, used_values

__all__ = [
    "Cotangent",
    "OneHot",
    "Repeated",
    "Scope",
    "apply_rule",
    "backward",
    "connected",
    "dense",
    "dependents",
    "evaluated",
    "is_column",
    "unbroadcast",
]


@dataclass(frozen=True)
class OneHot:
    """A cotangent [N, C] or [N, C, 1, …] with one nonzero entry a row: *value* at ``[n, index[n]]``.

    Its gradient through a linear layer is a row of the weights: a Gather in place of a matrix product.
    """

    index: ir.Value  # int64 [N]
    value: ir.Value | None = None  # [N]; None: ones

    def dense(self, op: Emitter, y: ir.Value) -> ir.Value:
        """Return the cotangent of *y* as a tensor."""
        classes = op.Range(0, op.Squeeze(op.dim(y, 1), [0]), 1)
        hot = op.Cast(op.Equal(op.Unsqueeze(self.index, [-1]), classes), to=int(gradient_dtype(y)))
        hot = hot if self.value is None else op.Mul(hot, op.Unsqueeze(self.value, [-1]))
        return op.reshape_like(hot, y) if is_column(y) and rank(y) > 2 else hot


def is_column(y: ir.Value, channels: int | None = None) -> bool:
    """Whether *y* is [N, C] or [N, C, 1, …] with C = *channels*, if given, so that a `OneHot` fits."""
    if y.shape is None or len(y.shape) < 2 or any(dim != 1 for dim in y.shape[2:]):
        return False
    return channels is None or y.shape[1] == channels


@dataclass(frozen=True)
class Repeated:
    """A cotangent that broadcasts *value* to the shape of its tensor; additions to others broadcast it anyway."""

    value: ir.Value

    def dense(self, op: Emitter, y: ir.Value) -> ir.Value:
        """Return the cotangent of *y* as a tensor."""
        return op.Expand(self.value, op.Shape(y))


Cotangent: TypeAlias = "ir.Value | OneHot | Repeated | SlicedCotangent | ElementCotangent"


def backward(
    op: Emitter,
    seeds: Mapping[ir.Value, Cotangent],
    wanted: Sequence[ir.Value],
    rules: RuleSet,
    nodes: ir.Graph | Sequence[ir.Node] | None = None,
    outside: Set[ir.Value] = frozenset(),
) -> list[ir.Value | None]:
    """Emit the gradients of *wanted*, given the cotangents *seeds*; None where nothing connects.

    Any values of one graph may be seeded or wanted, inner ones included. *nodes* are in topological order; by default
    those of the emitter's graph. *outside*: the active values of the graph of which *nodes* are a part, for rules that
    look back. MissingRuleError for an operator on the path that has no rule.
    """
    nodes = op.graph if nodes is None else nodes
    active = dependents(nodes, wanted, rules)
    scope = Scope(active | outside, rules)
    cotangents: dict[ir.Value, list[Cotangent]] = defaultdict(list)
    for value, seed in seeds.items():
        cotangents[value].append(seed)
    for node in reversed(nodes):
        if not any(y in cotangents for y in node.outputs) or rules.blocks(node):
            continue
        if active.isdisjoint(used_values(node)):
            continue
        row = rules.find(node)
        dys = [_total(op, y, cotangents, row) for y in node.outputs]
        for x, gradient in _contributions(op, node, row, dys, scope):
            dx = gradient() if x in active else None
            if dx is not None:
                cotangents[x].append(dx)
    gradients = [_total(op, value, cotangents) for value in wanted]
    return [g for g in gradients if g is None or isinstance(g, ir.Value)]


def dependents(nodes: Iterable[ir.Node], sources: Iterable[ir.Value], rules: RuleSet) -> set[ir.Value]:
    """Return *sources* and every output of *nodes* that depends on them differentiably."""
    active = set(sources)
    for node in nodes:
        if not rules.blocks(node) and not active.isdisjoint(used_values(node)):
            active.update(rules.differentiable(node))
    return active


@dataclass(frozen=True)
class Scope:
    """The driver, as seen by rules for nodes with bodies and for composed operators."""

    active: set[ir.Value]  # the values that depend on the wanted ones
    rules: RuleSet

    def backward(
        self,
        op: Emitter,
        nodes: ir.Graph | Sequence[ir.Node],
        seeds: Iterable[tuple[ir.Value, ir.Value | None]],
        wanted: Sequence[ir.Value],
    ) -> list[ir.Value | None]:
        """Emit the gradients of *wanted* through *nodes*, given pairs of a value and its cotangent."""
        sums: dict[ir.Value, ir.Value] = {}
        for y, dy in seeds:
            if dy is not None:
                sums[y] = total(op, sums[y], dy) if y in sums else dy
        return backward(op, sums, wanted, self.rules, nodes, self.active)

    def dependents(self, graph: ir.Graph, sources: Iterable[ir.Value]) -> set[ir.Value]:
        """Return *sources* and every value of *graph*, nodes in order, that depends on them differentiably."""
        return dependents(graph, sources, self.rules)


def _contributions(
    op: Emitter, node: ir.Node, row: Rule, dys: list[Cotangent | None], scope: Scope
) -> Iterable[tuple[ir.Value, Callable[[], Cotangent | None]]]:
    """Yield each input with a function that returns its gradient."""
    first = dys[0]
    if row.selects is not None and isinstance(first, ir.Value):
        part = row.selects(op, node, first)
        if part is not None:
            yield node.inputs[0], lambda: part  # type: ignore[misc]
            return
    view = None
    if row.along is not None and isinstance(first, SlicedCotangent) and not any(dys[1:]):
        view = node_slice(op, node, row.along(node, first.axis), first)
    if view is not None and isinstance(first, SlicedCotangent):
        whole: list[Cotangent | None] = [first.value, *dys[1:]]
        found = apply_rule(op, view, row, whole, scope)  # type: ignore[arg-type]
        for x, axis, (inner, dx) in zip(node.inputs, view.axes, found, strict=False):
            if x is not None and inner is not None:
                yield x, partial(_sliced, op, row, dx, inner, view.outputs[0], first, axis)
        return
    dys = [dense(op, dy, y) if isinstance(dy, SlicedCotangent) else dy for dy, y in zip(dys, node.outputs, strict=True)]
    for x, dx in apply_rule(op, node, row, dys, scope):
        if x is not None:
            yield x, partial(evaluated, op, row, dx, x, node.outputs[0])


def evaluated(op: Emitter, row: Rule, dx: Any, x: ir.Value, y: ir.Value) -> Cotangent | None:
    """Return the gradient *dx*, which may be a function, of *x*, without the axes along which *x* was broadcast."""
    dx = dx() if callable(dx) else dx
    return dx if dx is None or not row.broadcast else _undo_broadcast(op, dx, x, y)


def _sliced(
    op: Emitter, row: Rule, dx: Any, x: ir.Value, y: ir.Value, part: SlicedCotangent, axis: int | None
) -> Cotangent | None:
    """Return the gradient *dx* of the slice *x* as one of the whole input."""
    dx = evaluated(op, row, dx, x, y)
    return dx if dx is None or axis is None else part.moved(axis, dense(op, dx, x))


def apply_rule(
    op: Emitter, node: ir.Node, row: Rule, dys: list[Cotangent | None], scope: Scope
) -> Iterable[tuple[ir.Value | None, Any]]:
    """Yield each input with its gradient; a rule may return more gradients, for omitted optional inputs."""
    cotangents = dys if row.many else dys[0]
    if row.inner:
        yield from row.function(op, node, cotangents, *node.inputs, scope=scope)
        return
    gradients = call_registered(f"the rule for {node.op_type}", row.function, op, node, cotangents, *node.inputs)
    if not isinstance(gradients, tuple) or len(gradients) < len(node.inputs):
        raise OnnxcamError(
            f"the rule for {node.op_type} must return a tuple of {len(node.inputs)} gradients for node "
            f"{node.name!r}, one for each input; it returned {_described(gradients)}"
        )
    yield from zip(node.inputs, gradients, strict=False)


def _described(gradients: Any) -> str:
    return f"a tuple of {len(gradients)}" if isinstance(gradients, tuple) else f"a {type(gradients).__name__}"


def _total(
    op: Emitter, y: ir.Value, cotangents: dict[ir.Value, list[Cotangent]], row: Rule | None = None
) -> Cotangent | None:
    """Return the sum of the contributions to the cotangent of *y*, and store it in *cotangents*.

    It is sparse if all parts are and *row*, the rule that takes it, accepts that.
    """
    parts = cotangents.get(y)
    if not parts:
        return None
    if len(parts) == 1 and isinstance(parts[0], OneHot) and row is not None and row.sparse:
        return parts[0]
    if row is not None and row.along is not None and same_place(parts):
        values = [part.value for part in parts if isinstance(part, SlicedCotangent)]
        found = parts[0].moved(parts[0].axis, total(op, *values))  # type: ignore[union-attr]
        cotangents[y] = [found]
        return found
    parts = joined(op, parts, y)
    for part in parts:
        _declare(part, y)
    whole = any(isinstance(part, ir.Value) for part in parts)
    elements = [part for part in parts if isinstance(part, ElementCotangent)]
    tensors = [
        part.value if whole and isinstance(part, Repeated) else dense(op, part, y)
        for part in parts
        if not isinstance(part, ElementCotangent)
    ]
    found = total(op, *tensors) if tensors else zeros_like(op, y)
    for element in elements:
        found = element.onto(op, found)
    _declare(found, y)
    cotangents[y] = [found]
    return found


def _declare(dy: Cotangent, y: ir.Value) -> None:
    """Give the computed cotangent *dy* of *y* the shape of *y*, if it has none."""
    if isinstance(dy, ir.Value) and dy.producer() is not None and dy.shape is None:
        dy.shape, dy.type = y.shape, dy.type or gradient_type(y)


def _undo_broadcast(op: Emitter, dx: Cotangent, x: ir.Value, y: ir.Value) -> Cotangent:
    if isinstance(dx, OneHot) and x.shape is not None and x.shape == y.shape:
        return dx
    return unbroadcast(op, dense(op, dx, y), x, y)


def dense(op: Emitter, dy: Cotangent, y: ir.Value) -> ir.Value:
    """Return the cotangent *dy* of *y* as a tensor."""
    return dy if isinstance(dy, ir.Value) else dy.dense(op, y)


def unbroadcast(op: Emitter, dx: ir.Value, x: ir.Value, y: ir.Value) -> ir.Value:
    """Sum *dx*, of the shape of *y*, over the axes along which *x* was broadcast."""
    if x.shape is None or y.shape is None:
        return _unbroadcast_at_run_time(op, dx, x, y)
    missing = rank(y) - rank(x)
    if missing < 0:
        raise ModelError(
            f"tensor {y.name!r} is declared with the shape {y.shape}, fewer axes than its operand {x.name!r} has, "
            f"{x.shape}; correct the declared shape"
        )
    pairs = list(zip(y.shape[missing:], x.shape, strict=True))
    if any(short != 1 and not same(long, short) for long, short in pairs):
        return _unbroadcast_at_run_time(op, dx, x, y)
    repeated = [missing + i for i, (long, short) in enumerate(pairs) if short == 1 and long != 1]
    leading = list(range(missing))
    if repeated:
        dx = op.ReduceSum(dx, repeated, keepdims=1)
    if leading:
        dx = op.ReduceSum(dx, leading, keepdims=0)
    return dx


def _unbroadcast_at_run_time(op: Emitter, dx: ir.Value, x: ir.Value, y: ir.Value) -> ir.Value:
    ones = op.Expand(1, op.Sub(op.Shape(op.Shape(y)), op.Shape(op.Shape(x))))
    padded = op.Concat(ones, op.Shape(x), axis=0)
    repeated = op.Squeeze(op.NonZero(op.Not(op.Equal(padded, op.Shape(y)))), [0])
    return op.Reshape(op.ReduceSum(dx, repeated, keepdims=1, noop_with_empty_axes=1), op.Shape(x))


def connected(value: ir.Value, gradient: ir.Value | None, seeds: Iterable[ir.Value], rules: RuleSet) -> ir.Value:
    """Return *gradient*; if it is None, raise GradientError with the node at which the path ends."""
    if gradient is not None:
        return gradient
    seeds = list(seeds)
    targets = ", ".join(repr(seed.name) for seed in seeds)
    node = None if value.graph is None else _break(value.graph, value, seeds, rules)
    why = (
        "the target does not depend on it; choose a tensor on the way to the target"
        if node is None
        else f"node {node.name!r} ({node.op_type}) passes no gradient; choose a tensor behind it"
    )
    raise GradientError(f"the gradient of {targets} with respect to {value.name!r} is zero everywhere: {why}")


def _break(graph: ir.Graph, value: ir.Value, seeds: Sequence[ir.Value], rules: RuleSet) -> ir.Node | None:
    """Return the node on a path from *value* to *seeds* that passes no gradient; None if there is no path.

    Prefer a path of floating tensors to one of shapes and indices.
    """
    active = dependents(graph, [value], rules)
    way = between(list(graph), (), seeds)
    stops = [node for node in way if not active.isdisjoint(used_values(node)) and rules.blocks(node)]
    if not active.isdisjoint(seeds):  # some rule returned None
        op = Emitter(graph)
        cotangents = {y: ir.Value(name="", shape=y.shape, type=ir.TensorType(gradient_dtype(y))) for y in seeds}
        values = [x for x in active if x is not value]
        found = zip(values, backward(op, cotangents, values, rules), strict=True)
        reached = {x for x, gradient in found if gradient is not None}
        op.place(())
        stops += [
            node
            for node in way
            if not reached.isdisjoint(node.outputs)
            and not active.isdisjoint(used_values(node))
            and reached.isdisjoint(used_values(node))
        ]
    floating = [node for node in stops if any(y.dtype is None or y.dtype.is_floating_point() for y in node.outputs)]
    return next(reversed(floating or stops), None)
