"""Operators with bodies: If, Loop, Scan.

The gradient of a body is a copy of the body that goes on with its own gradient. Its outputs are the gradients of the
body's inputs and of the values that the body captures. Captured values are not inputs of the node, so these rules
return pairs of a value and its gradient (`Rule.inner`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from onnxcam.autodiff.cotangents import gradient_type, zeros_like
from onnxcam.autodiff.table import V, rule
from onnxcam.errors import ModelError
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.infer import same
from onnxcam.graph.sequences import is_plain
from onnxcam.graph.subgraph import captured, copy_graph, prune

if TYPE_CHECKING:
    from onnxcam.autodiff.core import Scope

Pairs = list[tuple[V, V]]
Cotangents = Sequence[V | None]
WAYS = ("input_axes", "input_directions", "output_axes", "output_directions")


@rule("If", many=True, inner=True)
def if_(op: Emitter, node: ir.Node, dys: Cotangents, condition: V, *, scope: Scope) -> Pairs:
    """The gradient is an If of the gradients of both branches; a branch gives zeros for values that it does not use."""
    forward = [node.attributes[name].as_graph() for name in ("then_branch", "else_branch")]
    outside = [x for x in captured(*forward) if x in scope.active and _floating(x)]
    branches = [BodyCopy(op, body) for body in forward]
    each = [scope.backward(b.op, b.graph, zip(b.outputs, dys, strict=True), outside) for b in branches]
    found = [x for x, *dxs in zip(outside, *each, strict=True) if any(dx is not None for dx in dxs)]
    if not found:
        return []
    for branch, dxs in zip(branches, each, strict=True):
        branch.close([_or_zeros(branch.op, dx, x) for x, dx in zip(outside, dxs, strict=True) if x in found])
    graphs = {"then_branch": branches[0].graph, "else_branch": branches[1].graph}
    return _pairs(found, op.If(condition, outputs=len(found), **graphs))


@rule("Scan", many=True, inner=True)
def scan(op: Emitter, node: ir.Node, dys: Cotangents, *xs: V, scope: Scope) -> Pairs:
    """The gradient is a Scan from the last slice to the first, whose states are the cotangents of the states.

    A copy of the node collects the states before each step; the gradient computes the step again from them.
    """
    body, count = node.attributes["body"].as_graph(), node.attributes.get_int("num_scan_inputs")
    carried = len(xs) - count
    lengths = (count, count, len(body.outputs) - carried, len(body.outputs) - carried)
    axes, ways, out_axes, out_ways = (
        list(node.attributes.get_ints(f"scan_{name}", [0] * length)) for name, length in zip(WAYS, lengths, strict=True)
    )
    again = BodyCopy(op, body)
    again.close([*again.outputs[:carried], *again.inputs[:carried]])
    settings = {"num_scan_inputs": count, "scan_input_axes": axes, "scan_input_directions": ways}
    stacks = _tuple(op.Scan(*xs, body=again.graph, outputs=2 * carried, **settings))[carried:] if carried else ()
    _annotate(stacks, body.inputs[:carried], stacked=True)

    states, outside = _active(body, xs, [(i, i) for i in range(carried)], scope)
    step = ReverseStep(op, body)
    collected = [k for k, dy in enumerate(dys[carried:]) if dy is not None and _floating(step.outputs[carried + k])]
    seeds = [(step.outputs[carried + k], step.cotangent(step.outputs[carried + k])) for k in collected]
    slices = [i for i in range(carried, len(xs)) if xs[i] in scope.active and _floating(xs[i])]
    outside, slices = step.run(scope, states, seeds, slices, outside)
    step.graph.inputs[:] = [*step.carried, *step.inputs, *(dy for _, dy in seeds)]
    step.close(step.results)
    wanted = [*(xs[i] for i, _ in states), *outside, *(xs[i] for i in slices)]
    if not wanted:
        return []
    made = op.Scan(
        *(_or_zeros(op, dys[i], xs[i]) for i, _ in states),
        *map(partial(zeros_like, op), outside),
        *stacks,
        *xs[carried:],
        *(dys[carried + k] for k in collected),
        body=step.graph,
        num_scan_inputs=len(xs) + len(collected),
        scan_input_axes=[*[0] * carried, *axes, *(out_axes[k] for k in collected)],
        scan_input_directions=[*[1] * carried, *(1 - way for way in ways), *(1 - out_ways[k] for k in collected)],
        scan_output_axes=[axes[i - carried] for i in slices],
        scan_output_directions=[1 - ways[i - carried] for i in slices],
        outputs=len(wanted),
    )
    return _pairs(wanted, made)


@rule("Loop", many=True, inner=True)
def loop(
    op: Emitter, node: ir.Node, dys: Cotangents, trips: V | None, condition: V | None, *xs: V, scope: Scope
) -> Pairs:
    """The gradient is a Loop from the last iteration to the first, whose states are the cotangents of the states.

    Each iteration is computed again from the states before it (`History`).
    """
    body, carried = node.attributes["body"].as_graph(), len(xs)
    states, outside = _active(body, (None, None, *xs), [(i, i - 1) for i in range(2, carried + 2)], scope)
    step = ReverseStep(op, body)
    at = step.inputs[0]
    scans = zip(step.outputs[1 + carried :], dys[carried:], strict=True)
    seeds = [(y, step.op.Gather(dy, at, axis=0)) for y, dy in scans if dy is not None and _floating(y)]
    outside, _ = step.run(scope, states, seeds, [], outside)
    wanted = [*(xs[i - 2] for i, _ in states), *outside]
    if not wanted:
        return []
    number, going = (step.input(x.type, x.shape) for x in body.inputs[:2])
    step.graph.inputs[:] = [number, going, *step.carried]
    step.close([going, *step.results])

    history = History(op, node, [i - 2 for i in range(2, carried + 2) if step.reads(step.inputs[i])])
    back = step.op.Sub(step.op.Sub(history.count, 1), number)
    before = history.before(step.op, back)
    always = step.op.const(np.asarray(True))
    step.feed({at: back, step.inputs[1]: always, **{step.inputs[2 + k]: x for k, x in before.items()}})
    ds = [_or_zeros(op, dys[i - 2], history.ends[i - 2]) for i, _ in states]
    sums = map(partial(zeros_like, op), outside)
    return _pairs(wanted, op.Loop(history.count, None, *ds, *sums, body=step.graph, outputs=len(wanted)))


class BodyCopy:
    """A copy of a body, with an emitter that extends it."""

    def __init__(self, op: Emitter, body: ir.Graph) -> None:
        self.graph = copy_graph(body, op.name("onnxcam.body"))
        self.op = op.inner(self.graph)
        self.inputs, self.outputs = list(self.graph.inputs), list(self.graph.outputs)
        self.graph.outputs.clear()

    def close(self, outputs: Iterable[V]) -> None:
        """Make *outputs* the graph's outputs, and remove what they do not need."""
        self.graph.outputs[:] = [self.op.alias(y) for y in outputs]
        self.op.place(self.graph.outputs)
        self.graph.sort()
        prune(self.graph)

    def input(self, kind: ir.TypeProtocol | None, shape: ir.Shape | None = None) -> V:
        """Return a new input, not yet in the graph's list."""
        return ir.Value(name=self.op.name(f"{self.graph.name}.in"), shape=shape, type=kind)


class ReverseStep(BodyCopy):
    """One reverse step of a loop."""

    carried: list[V]  # inputs: the cotangents of the states, the running gradients of captured values
    results: list[V]  # their new values, then the gradients of the slices

    def cotangent(self, y: V) -> V:
        """Return a new input, not yet in the graph's list, for the cotangent of *y*."""
        return self.input(gradient_type(y), y.shape if is_plain(y) else None)

    def reads(self, x: V) -> bool:
        """Whether any node reads *x*, an input of the original body."""
        return bool(x.uses())

    def feed(self, places: Mapping[V, V]) -> None:
        """Replace inputs of the original body by other values."""
        for old, new in places.items():
            new.type, new.shape = new.type or old.type, old.shape if new.shape is None else new.shape
        self.op.place(places.values())
        for old, new in places.items():
            old.replace_all_uses_with(new)
        self.graph.sort()
        prune(self.graph)

    def run(
        self,
        scope: Scope,
        states: Sequence[tuple[int, int]],
        seeds: Sequence[tuple[V, V]],
        slices: Sequence[int],
        outside: Sequence[V],
    ) -> tuple[list[V], list[int]]:
        """Emit the gradients; *states* are pairs of the indices of a state among the inputs and the outputs.

        Return the captured values and the slices that have a gradient.
        """
        op = self.op
        before, after = [self.inputs[i] for i, _ in states], [self.outputs[o] for _, o in states]
        ds, sums = [self.cotangent(y) for y in after], [self.cotangent(x) for x in outside]
        wanted = [*before, *(self.inputs[i] for i in slices), *outside]
        seeds = [*zip(after, ds, strict=True), *seeds, *zip(outside, sums, strict=True)]
        found = dict(zip(wanted, scope.backward(op, self.graph, seeds, wanted), strict=True))
        grown = [(x, total) for x, total in zip(outside, sums, strict=True) if found[x] is not total]
        parts = [i for i in slices if found[self.inputs[i]] is not None]
        self.carried = [*ds, *(total for _, total in grown)]
        self.results = [
            *(_or_zeros(op, found[x], x) for x in before),
            *(_or_zeros(op, found[x], x) for x, _ in grown),
            *(_or_zeros(op, found[self.inputs[i]], self.inputs[i]) for i in parts),
        ]
        return [x for x, _ in grown], parts


class History:
    """The states of a Loop before each iteration, computed by copies of the Loop.

    A copy stacks the states of constant shape and collects other tensors in a sequence. A sequence cannot hold
    sequences or optionals: those states are computed again from the first iteration.
    """

    def __init__(self, op: Emitter, node: ir.Node, read: Sequence[int]) -> None:
        self.node, self.xs = node, node.inputs[2:]
        again, carried = BodyCopy(op, node.attributes["body"].as_graph()), len(self.xs)
        states, after = again.inputs[2:], again.outputs[1:]
        self.stacked = [k for k in read if is_plain(states[k]) and _stays(states[k], after[k])]
        self.listed = [k for k in read if is_plain(states[k]) and not _stays(states[k], after[k])]
        self.others = [k for k in read if not is_plain(states[k])]
        lists = [again.input(ir.SequenceType(ir.TensorType(_dtype(states[k])))) for k in self.listed]
        again.graph.inputs.extend(lists)
        longer = [again.op.SequenceInsert(s, states[k]) for s, k in zip(lists, self.listed, strict=True)]
        stacks = [*(states[k] for k in self.stacked), again.inputs[0]]
        again.close([*again.outputs[: 1 + carried], *longer, *stacks])
        empty = [op.SequenceEmpty(dtype=int(_dtype(states[k]))) for k in self.listed]
        made = _tuple(op.Loop(*node.inputs, *empty, body=again.graph, outputs=carried + len(empty) + len(stacks)))
        self.ends, self.lists, self.stacks = made[:carried], made[carried : -len(stacks)], made[-len(stacks) :]
        _annotate(self.ends, after[:carried])
        _annotate(self.lists, lists)
        _annotate(self.stacks, stacks, stacked=True)
        self.count = op.Size(self.stacks[-1])

    def before(self, op: Emitter, at: V) -> dict[int, V]:
        """Return the states before iteration *at*, by their index, as far as they are read."""
        states = {k: op.Gather(stack, at, axis=0) for k, stack in zip(self.stacked, self.stacks, strict=False)}
        states.update((k, op.SequenceAt(s, at)) for k, s in zip(self.listed, self.lists, strict=True))
        if self.others:
            again, carried = BodyCopy(op, self.node.attributes["body"].as_graph()), len(self.xs)
            again.close(again.outputs[: 1 + carried])
            made = _tuple(op.Loop(at, *self.node.inputs[1:], body=again.graph, outputs=carried))
            _annotate(made, again.graph.outputs[1:])
            states.update((k, made[k]) for k in self.others)
        return states


def _active(
    body: ir.Graph, xs: Sequence[V | None], states: Sequence[tuple[int, int]], scope: Scope
) -> tuple[list[tuple[int, int]], list[V]]:
    """Return the *states* and the captured values that need a gradient.

    A loop state needs a gradient if its initial value does, or if an iteration makes it depend on a value that does.
    """
    outside = [x for x in captured(body) if x in scope.active and _floating(x)]
    places = {i for i, x in enumerate(xs) if x in scope.active and _floating(body.inputs[i])}
    while True:
        reached = scope.dependents(body, [*(body.inputs[i] for i in places), *outside])
        more = {i for i, o in states if body.outputs[o] in reached and _floating(body.inputs[i])} - places
        if not more:
            return [(i, o) for i, o in states if i in places], outside
        places |= more


def _stays(before: V, after: V) -> bool:
    """Whether a state is known to keep its shape."""
    if before.shape is None or after.shape is None or len(before.shape) != len(after.shape):
        return False
    return all(same(a, b) for a, b in zip(before.shape, after.shape, strict=True))


def _dtype(x: V) -> ir.DataType:
    if x.dtype is None:
        raise ModelError(f"the type of {x.name!r}, which a loop carries, cannot be inferred; declare it in the model")
    return x.dtype


def _floating(x: V) -> bool:
    return x.dtype is None or x.dtype.is_floating_point()


def _or_zeros(op: Emitter, dx: V | None, x: V) -> V:
    return zeros_like(op, x) if dx is None else dx


def _tuple(made: V | tuple[V, ...]) -> tuple[V, ...]:
    return made if isinstance(made, tuple) else (made,)


def _annotate(made: Sequence[V], likes: Sequence[V], stacked: bool = False) -> None:
    """Set the types and shapes of *made* to those of *likes*, or of a stack of these."""
    for y, like in zip(made, likes, strict=True):
        y.type = like.type
        y.shape = ir.Shape([None, *like.shape]) if stacked and like.shape is not None else like.shape


def _pairs(wanted: Sequence[V], made: V | tuple[V, ...]) -> Pairs:
    for x, dx in zip(wanted, _tuple(made), strict=True):
        dx.type, dx.shape = gradient_type(x), x.shape if is_plain(x) else None
    return list(zip(wanted, _tuple(made), strict=True))
