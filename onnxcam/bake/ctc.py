"""CTC in the graph: the probability that each frame shows each letter of a text, as `onnxcam.targets.ctc` computes it.

The recursions are two Scans over frames. They hold probabilities in place of logarithms, scaled to the sum 1 in each
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
    one = op.const(1, ir.DataType.FLOAT)
    states = _between_blanks(op, letters, op.const(np.array([[blank]])))
    reachable = _between_blanks(op, present, op.const(np.ones((1, 1), np.float32)))
    emitted = op.Mul(_gathered(op, p, states), op.Unsqueeze(reachable, [1]))
    skips = _between_blanks(op, _differ(op, letters), op.const(np.zeros((1, 1), np.float32)))
    frames = op.Transpose(emitted, perm=[1, 0, 2])
    length = op.ReduceSum(present, [1], keepdims=1)
    forward = _scan(op, frames, skips, _at(op, skips, [op.Mul(length, 0.0)]), backward=False)
    last = op.Mul(length, 2.0)
    behind = _scan(op, frames, skips, _at(op, skips, [last, op.Sub(last, one)]), backward=True)
    both = op.Transpose(op.Mul(forward, behind), perm=[1, 0, 2])
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


def _scan(op: Emitter, frames: ir.Value, skips: ir.Value, start: ir.Value, *, backward: bool) -> ir.Value:
    """Return the sums over alignments before and with each frame, or those after it, [T, N, S], scaled."""
    graph = ir.Graph([], [], nodes=[], opset_imports=op.graph.opset_imports, name=op.name("onnxcam.ctc"))
    inner = op.inner(graph)
    state, emitted = (
        ir.Value(name=inner.name(f"{graph.name}.{name}"), shape=ir.Shape([None, None]), type=_FLOAT)
        for name in ("state", "emitted")
    )
    graph.inputs.extend([state, emitted])
    if backward:  # what follows a frame, without the frame itself
        after = _scaled(inner, _step_back(inner, inner.Mul(state, emitted), skips))
        outputs = [after, state]
    else:
        after = _scaled(inner, inner.Mul(emitted, _step(inner, state, skips)))
        outputs = [after, after]
    graph.outputs.extend(inner.alias(y) for y in outputs)
    inner.place(graph.outputs)
    way = int(backward)
    _, found = op.Scan(
        start,
        frames,
        body=graph,
        num_scan_inputs=1,
        scan_input_directions=[way],
        scan_output_directions=[way],
        outputs=2,
    )
    found.type = _FLOAT
    return found


_FLOAT = ir.TensorType(ir.DataType.FLOAT)


def _step(op: Emitter, x: ir.Value, skips: ir.Value) -> ir.Value:
    """Return x(s) + x(s − 1) + x(s − 2) where *skips* allow it."""
    return op.Sum(x, _shifted(op, x, 1), op.Mul(_shifted(op, x, 2), skips))


def _step_back(op: Emitter, x: ir.Value, skips: ir.Value) -> ir.Value:
    """Return x(s) + x(s + 1) + x(s + 2) where *skips* allow it."""
    return op.Sum(x, _shifted(op, x, -1), _shifted(op, op.Mul(x, skips), -2))


def _shifted(op: Emitter, x: ir.Value, by: int) -> ir.Value:
    """Return *x* [N, S] moved along the states, with zeros in the places that become free."""
    if by > 0:
        return op.Pad(op.Slice(x, [0], [-by], [1]), [0, by, 0, 0])
    return op.Pad(op.Slice(x, [-by], [np.iinfo(np.int64).max], [1]), [0, 0, 0, -by])


def _scaled(op: Emitter, x: ir.Value) -> ir.Value:
    return op.Div(x, op.Max(op.ReduceSum(x, [1], keepdims=1), op.const(_TINY, ir.DataType.FLOAT)))
