"""CTC in the graph: the probability that each frame shows each letter of a text, as `onnxcam.targets.ctc` computes it.

Both recursions are one Scan over frames. It holds probabilities in place of logarithms, scaled to the sum 1 in each
frame: the text is what the model reads, so its alignments are among the likeliest, and none of them underflows.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxcam.bake.dense import to_float
from onnxcam.graph.emitter import Emitter

__all__ = ["occupancy"]

_TINY = float(np.finfo(np.float32).tiny)


def occupancy(op: Emitter, p: ir.Value, letters: ir.Value, present: ir.Value, blank: int) -> ir.Value:
    """Return γ [N, T, L], the probability of each letter in each frame.

    *p* are probabilities [N, T, A], *letters* [N, L] int64, *present* [N, L] is 1 for the letters of the text, else 0.
    The states are the letters with blanks around them: S = 2 L + 1.
    """
    states = _between_blanks(op, letters, op.const(np.array([[blank]])))
    reachable = _between_blanks(op, present, op.const(np.ones((1, 1), np.float32)))
    skips = _between_blanks(op, _differ(op, letters), op.const(np.zeros((1, 1), np.float32)))
    emitted = op.Mul(_gathered(op, p, states), op.Unsqueeze(reachable, [1]))
    emitted = op.Div(emitted, op.ReduceMax(p, [2], keepdims=1))  # the likeliest alignment has the product 1
    last = op.Mul(op.ReduceSum(present, [1], keepdims=1), 2.0)
    first = op.Mul(last, 0.0)
    starts = [_at(op, skips, [first, op.Add(first, 1.0)]), _at(op, skips, [last, op.Sub(last, 1.0)])]
    before, after = _both_ways(op, emitted, _steps(op, skips), starts)
    both = op.Mul(op.Mul(before, emitted), after)
    share = op.Div(both, op.Max(op.ReduceSum(both, [2], keepdims=1), op.const(_TINY, ir.DataType.FLOAT)))
    return op.Slice(share, [1], [np.iinfo(np.int64).max], [2], [2])


def _between_blanks(op: Emitter, x: ir.Value, blank: ir.Value) -> ir.Value:
    """Return *x* [N, L] with *blank* before, between and after its elements, [N, 2 L + 1]."""
    blanks = op.Expand(blank, op.Shape(x))
    pairs = op.Concat(op.Unsqueeze(blanks, [2]), op.Unsqueeze(x, [2]), axis=2)
    return op.Concat(op.Reshape(pairs, [0, -1]), op.Slice(blanks, [0], [1], [1]), axis=1)


def _gathered(op: Emitter, p: ir.Value, states: ir.Value) -> ir.Value:
    """Return the probability of each state in each frame, [N, T, S]."""
    count = op.Shape(states, start=1, end=2)
    places = op.Expand(op.Unsqueeze(states, [1]), op.Concat(op.Shape(p, start=0, end=2), count, axis=0))
    return op.GatherElements(p, places, axis=2)


def _differ(op: Emitter, letters: ir.Value) -> ir.Value:
    """Return 1 for letters that differ from the one before, else 0; between equal ones a blank is needed."""
    before = op.Concat(op.Slice(letters, [0], [1], [1]), op.Slice(letters, [0], [-1], [1]), axis=1)
    return to_float(op, op.Not(op.Equal(letters, before)))


def _at(op: Emitter, like: ir.Value, places: list[ir.Value]) -> ir.Value:
    """Return 1 at *places* [N, 1], numbers of states, and 0 at other states, [N, S]."""
    count = op.Squeeze(op.Shape(like, start=1, end=2), [0])
    states = to_float(op, op.Range(op.const(0), count, op.const(1)))
    return op.total(*(to_float(op, op.Equal(states, place)) for place in places))


def _steps(op: Emitter, skips: ir.Value) -> ir.Value:
    """Return 1 where a state (row) may be followed by another (column), else 0, [N, S, S].

    A state is followed by itself, by the next one, and by the one after that where *skips* allow it.
    """
    count = op.Squeeze(op.Shape(skips, start=1, end=2), [0])
    states = op.Range(op.const(0), count, op.const(1))
    ahead = op.Sub(op.Unsqueeze(states, [0]), op.Unsqueeze(states, [1]))
    same, following, second = (to_float(op, op.Equal(ahead, op.const(by))) for by in range(3))
    return op.Add(op.Add(same, following), op.Mul(second, op.Unsqueeze(skips, [1])))


def _both_ways(op: Emitter, emitted: ir.Value, steps: ir.Value, starts: list[ir.Value]) -> tuple[ir.Value, ir.Value]:
    """Return the sums over alignments before each frame, and after it, [N, T, S], scaled: one Scan for both."""
    frames = op.Transpose(emitted, perm=[1, 0, 2])
    turned = op.Transpose(steps, perm=[0, 2, 1])
    graph = ir.Graph([], [], nodes=[], opset_imports=op.graph.opset_imports, name=op.name("onnxcam.ctc"))
    inner = op.inner(graph)
    names = ("state", "onwards", "backwards")
    state, onwards, backwards = (
        ir.Value(name=inner.name(f"{graph.name}.{name}"), shape=ir.Shape([None, None]), type=_FLOAT) for name in names
    )
    graph.inputs.extend([state, onwards, backwards])
    here = inner.Mul(state, inner.Concat(onwards, backwards, axis=0))
    moved = inner.Squeeze(inner.MatMul(inner.Unsqueeze(here, [1]), op.Concat(steps, turned, axis=0)), [1])
    total = inner.ReduceSum(moved, [1], keepdims=1)
    after = inner.Div(moved, inner.Max(total, inner.const(_TINY, ir.DataType.FLOAT)))
    graph.outputs.extend(inner.alias(y) for y in (after, state))
    inner.place(graph.outputs)
    _, found = op.Scan(
        op.Concat(*starts, axis=0),
        frames,
        frames,
        body=graph,
        num_scan_inputs=2,
        scan_input_directions=[0, 1],
        outputs=2,
    )
    found.type = _FLOAT
    both, count = op.Transpose(found, perm=[1, 0, 2]), op.Shape(emitted, start=0, end=1)
    return op.Slice(both, [0], count, [0]), _reversed(op, op.Slice(both, count, [np.iinfo(np.int64).max], [0]))


_FLOAT = ir.TensorType(ir.DataType.FLOAT)


def _reversed(op: Emitter, x: ir.Value) -> ir.Value:
    """Return *x* [N, T, S] with its frames in the opposite order."""
    return op.Slice(x, [-1], [np.iinfo(np.int64).min], [1], [-1])
