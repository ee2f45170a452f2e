"""Operators that hold graphs: If, Loop, Scan.

The gradient of a body is a twin of it, continued by its own gradient. Its outputs are the gradients of its inputs and
of what it takes from outside; the latter are no inputs of the node, so these rules return pairs (`Rule.inner`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from onnxcam.autodiff.emit import Emitter
from onnxcam.autodiff.rules import V, rule
from onnxcam.autodiff.subgraph import captured, prune, twin

if TYPE_CHECKING:
    from onnxcam.autodiff.core import Scope

Pairs = list[tuple[V, V]]
Cotangents = Sequence[V | None]
WAYS = ("input_axes", "input_directions", "output_axes", "output_directions")


@rule("If", many=True, inner=True)
def if_(op: Emitter, node: ir.Node, dys: Cotangents, condition: V, *, scope: Scope) -> Pairs:
    """An If of the gradients of the branches; zeros for what the branch taken does not use."""
    forward = [node.attributes[name].as_graph() for name in ("then_branch", "else_branch")]
    outside = [x for x in captured(*forward) if x in scope.active and _floating(x)]
    branches = [Twin(op, body) for body in forward]
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
    """A Scan from the last slices to the first, carrying the cotangents of the states.

    The states before each step are collected by a twin of the node; the step is computed again from them.
    """
    body, count = node.attributes["body"].as_graph(), node.attributes.get_int("num_scan_inputs")
    carried = len(xs) - count
    lengths = (count, count, len(body.outputs) - carried, len(body.outputs) - carried)
    axes, ways, out_axes, out_ways = (
        list(node.attributes.get_ints(f"scan_{name}", [0] * length)) for name, length in zip(WAYS, lengths, strict=True)
    )
    again = Twin(op, body)
    again.close([*again.outputs[:carried], *again.inputs[:carried]])
    settings = {"num_scan_inputs": count, "scan_input_axes": axes, "scan_input_directions": ways}
    stacks = _tuple(op.Scan(*xs, body=again.graph, outputs=2 * carried, **settings))[carried:] if carried else ()
    _annotate(stacks, body.inputs[:carried], stacked=True)

    states, outside = _active(body, xs, [(i, i) for i in range(carried)], scope)
    step = Reverse(op, body)
    collected = [k for k, dy in enumerate(dys[carried:]) if dy is not None and _floating(step.outputs[carried + k])]
    seeds = [(step.outputs[carried + k], step.input(step.outputs[carried + k])) for k in collected]
    slices = [i for i in range(carried, len(xs)) if xs[i] in scope.active and _floating(xs[i])]
    outside, slices = step.run(scope, states, seeds, slices, outside)
    step.graph.inputs[:] = [*step.carried, *step.inputs, *(dy for _, dy in seeds)]
    step.close(step.results)
    wanted = [*(xs[i] for i, _ in states), *outside, *(xs[i] for i in slices)]
    if not wanted:
        return []
    made = op.Scan(
        *(_or_zeros(op, dys[i], xs[i]) for i, _ in states),
        *map(op.zeros_like, outside),
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
    """A Loop from the last step to the first, carrying the cotangents of what the loop carries.

    A twin of the node collects what stands before each step, and counts the steps; each is computed again.
    """
    body, carried = node.attributes["body"].as_graph(), len(xs)
    again = Twin(op, body)
    again.close([*again.outputs[: 1 + carried], *again.inputs[2:], again.inputs[0]])
    made = _tuple(op.Loop(trips, condition, *xs, body=again.graph, outputs=2 * carried + 1))
    ends, stacks = made[:carried], made[carried:]
    _annotate(stacks, [*body.inputs[2:], body.inputs[0]], stacked=True)
    for end, y in zip(ends, body.outputs[1:], strict=False):
        end.type = y.type
    count = op.Size(stacks[-1])

    states, outside = _active(body, (None, None, *xs), [(i, i - 1) for i in range(2, carried + 2)], scope)
    step = Reverse(op, body)
    number, going = step.input(body.inputs[0]), step.input(body.inputs[1])
    at = step.op.Sub(step.op.Sub(count, 1), number)
    step.feed([at, step.op.const(np.asarray(True)), *(step.op.Gather(stack, at, axis=0) for stack in stacks[:-1])])
    scans = zip(step.outputs[1 + carried :], dys[carried:], strict=True)
    seeds = [(y, step.op.Gather(dy, at, axis=0)) for y, dy in scans if dy is not None and _floating(y)]
    outside, _ = step.run(scope, states, seeds, [], outside)
    step.graph.inputs[:] = [number, going, *step.carried]
    step.close([going, *step.results])
    wanted = [*(xs[i - 2] for i, _ in states), *outside]
    if not wanted:
        return []
    ds = [_or_zeros(op, dys[i - 2], ends[i - 2]) for i, _ in states]
    return _pairs(wanted, op.Loop(count, None, *ds, *map(op.zeros_like, outside), body=step.graph, outputs=len(wanted)))


class Twin:
    """A copy of a body, with an emitter that continues it."""

    def __init__(self, op: Emitter, body: ir.Graph) -> None:
        self.graph = twin(body, op.name("onnxcam.body"))
        self.op = op.inner(self.graph)
        self.inputs, self.outputs = list(self.graph.inputs), list(self.graph.outputs)
        self.graph.outputs.clear()

    def close(self, outputs: Iterable[V]) -> None:
        """Make these the graph's outputs, and leave out what they do not need."""
        self.graph.outputs[:] = [self.op.alias(y) for y in outputs]
        self.op.place(self.graph.outputs)
        self.graph.sort()
        prune(self.graph)


class Reverse(Twin):
    """One step back of a loop."""

    carried: list[V]  # inputs: the cotangents of the states, the sums for what lies outside
    results: list[V]  # what becomes of these, then the gradients of the slices

    def input(self, like: V) -> V:
        """Return a new input, not yet listed, of the type of *like*."""
        return ir.Value(name=self.op.name(f"{self.graph.name}.in"), shape=like.shape, type=like.type)

    def feed(self, given: Sequence[V]) -> None:
        """Put *given* in place of the inputs."""
        self.op.place(given)
        for old, new in zip(self.inputs, given, strict=True):
            new.type, new.shape = old.type, old.shape
            old.replace_all_uses_with(new)
        places = dict(zip(self.inputs, given, strict=True))
        self.outputs = [places.get(y, y) for y in self.outputs]
        self.inputs = list(given)

    def run(
        self,
        scope: Scope,
        states: Sequence[tuple[int, int]],
        seeds: Sequence[tuple[V, V]],
        slices: Sequence[int],
        outside: Sequence[V],
    ) -> tuple[list[V], list[int]]:
        """Emit the gradients, given where each state stands among inputs and outputs.

        Return those values outside, and those slices, that have one.
        """
        op = self.op
        before, after = [self.inputs[i] for i, _ in states], [self.outputs[o] for _, o in states]
        ds = [self.input(y) for y in after]
        wanted = [*before, *(self.inputs[i] for i in slices), *outside]
        gradients = scope.backward(op, self.graph, [*zip(after, ds, strict=True), *seeds], wanted)
        found = dict(zip(wanted, gradients, strict=True))
        kept = [x for x in outside if found[x] is not None]
        sums = [self.input(x) for x in kept]
        parts = [i for i in slices if found[self.inputs[i]] is not None]
        self.carried = [*ds, *sums]
        self.results = [
            *(_or_zeros(op, found[x], x) for x in before),
            *(op.Add(total, found[x]) for x, total in zip(kept, sums, strict=True)),
            *(_or_zeros(op, found[self.inputs[i]], self.inputs[i]) for i in parts),
        ]
        return kept, parts


def _active(
    body: ir.Graph, xs: Sequence[V | None], states: Sequence[tuple[int, int]], scope: Scope
) -> tuple[list[tuple[int, int]], list[V]]:
    """Return those of *states*, and of the values from outside, of which a gradient is asked.

    It is asked of a state that starts as a value of which it is, or comes to depend on one on the way.
    """
    outside = [x for x in captured(body) if x in scope.active and _floating(x)]
    places = {i for i, x in enumerate(xs) if x in scope.active and _floating(body.inputs[i])}
    while True:
        reached = scope.dependents(body, [*(body.inputs[i] for i in places), *outside])
        more = {i for i, o in states if body.outputs[o] in reached and _floating(body.inputs[i])} - places
        if not more:
            return [(i, o) for i, o in states if i in places], outside
        places |= more


def _floating(x: V) -> bool:
    return x.dtype is None or x.dtype.is_floating_point()


def _or_zeros(op: Emitter, dx: V | None, x: V) -> V:
    return op.zeros_like(x) if dx is None else dx


def _tuple(made: V | tuple[V, ...]) -> tuple[V, ...]:
    return made if isinstance(made, tuple) else (made,)


def _annotate(made: Sequence[V], likes: Sequence[V], stacked: bool = False) -> None:
    """Give what was *made* the types and shapes of *likes*, or of a stack of these."""
    for y, like in zip(made, likes, strict=True):
        y.type = like.type
        y.shape = ir.Shape([None, *like.shape]) if stacked and like.shape is not None else like.shape


def _pairs(wanted: Sequence[V], made: V | tuple[V, ...]) -> Pairs:
    _annotate(_tuple(made), wanted)
    return list(zip(wanted, _tuple(made), strict=True))
