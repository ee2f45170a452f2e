"""RNN, GRU and LSTM: their gradient is that of a Scan that computes the same.

The product of inputs and weights is one matrix product for all steps; one Scan for each direction does the rest. The
node itself stays: only the parts of the Scan that the gradient needs are placed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from onnxcam.autodiff.table import V, rule
from onnxcam.graph.emitter import Emitter

if TYPE_CHECKING:
    from onnxcam.autodiff.core import Scope

Dims = list[Any]

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
ACTIVATIONS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}
# What an activation takes from activation_alpha and activation_beta, and what they are if not given.
PARAMETERS = {
    "affine": (1.0, 0.0),
    "leakyrelu": (0.01, None),
    "thresholdedrelu": (1.0, None),
    "scaledtanh": (1.0, 1.0),
    "hardsigmoid": (0.2, 0.5),
    "elu": (1.0, None),
}


@rule("RNN", "GRU", "LSTM", many=True, inner=True)
def recurrent(
    op: Emitter, node: ir.Node, dys: Sequence[V | None], *inputs: V | None, scope: Scope
) -> list[tuple[V, V | None]]:
    """The gradient of the Scans of `as_scans`."""
    x, w, r, *rest = inputs
    assert x is not None
    assert w is not None
    assert r is not None
    ys = as_scans(op, node, x, w, r, *rest)
    seeds = [(y, dy) for y, dy in zip(ys, dys, strict=False) if dy is not None]
    wanted = [x for x in dict.fromkeys(inputs) if x is not None and x in scope.active]
    nodes = op.pending([x for x in inputs if x is not None], [y for y, _ in seeds])
    return list(zip(wanted, scope.backward(op, nodes, seeds, wanted), strict=True))


def as_scans(
    op: Emitter,
    node: ir.Node,
    x: V,
    w: V,
    r: V,
    b: V | None = None,
    lengths: V | None = None,
    h: V | None = None,
    c: V | None = None,
    p: V | None = None,
) -> list[V]:
    """Emit *node* as Scans: y, the last h and, for an LSTM, the last c."""
    batched = node.attributes.get_int("layout", 0)
    t, n, size = (None, None, None) if x.shape is None else x.shape
    t, n = (n, t) if batched else (t, n)
    hidden = node.attributes.get_int("hidden_size", 0) or _length(r, 2)
    if batched:
        x = _shaped(op.Transpose(x, perm=[1, 0, 2]), [t, n, size])
        h, c = (None if s is None else op.Transpose(s, perm=[1, 0, 2]) for s in (h, c))
    ways = {"forward": [0], "reverse": [1], "bidirectional": [0, 1]}[node.attributes.get_string("direction", "forward")]
    alive = None if lengths is None else _alive(op, lengths, op.Shape(x, end=1), [t, n, 1])
    each = []
    for d, way in enumerate(ways):
        cell = RecurrentCell(op, node, d, len(ways), [t, n, hidden], w, r, b, p)
        states = [cell.initial(s, x) for s in ((h, c) if node.op_type == "LSTM" else (h,))]
        each.append(cell.scan(x, states, alive, way))
    ys, *lasts = (
        [_shaped(op.Unsqueeze(y, [-3]), [*y.shape[:-2], 1, *y.shape[-2:]]) for y in part]
        for part in zip(*each, strict=True)
    )
    y = _joined(op, ys, 1)
    ends = [_joined(op, last, 0) for last in lasts]
    if batched:
        y, ends = op.Transpose(y, perm=[2, 0, 1, 3]), [op.Transpose(end, perm=[1, 0, 2]) for end in ends]
    return [y, *ends]


def _joined(op: Emitter, parts: list[V], axis: int) -> V:
    shape = list(parts[0].shape or ())
    shape[axis] = len(parts)
    return parts[0] if len(parts) == 1 else _shaped(op.Concat(*parts, axis=axis), shape)


def _alive(op: Emitter, lengths: V, steps: V, shape: Dims) -> V:
    """Return a mask of the steps within the length of each row."""
    number = op.Unsqueeze(op.Range(0, op.Squeeze(steps, [0]), 1), [1, 2])
    return _shaped(op.Less(number, op.Unsqueeze(op.Cast(lengths, to=int(ir.DataType.INT64)), [1])), shape)


def _length(x: V, axis: int) -> Any:
    return None if x.shape is None else x.shape[axis]


def _like(y: V, x: V) -> V:
    y.shape = x.shape
    return y


def _shaped(x: V, shape: Dims) -> V:
    x.shape = ir.Shape(shape) if x.const_value is None else x.shape
    return x


class RecurrentCell:
    """One direction of a recurrent node: its weights and its step."""

    def __init__(
        self, op: Emitter, node: ir.Node, d: int, count: int, dims: Dims, w: V, r: V, b: V | None, p: V | None
    ) -> None:
        self.op, self.kind, self.d, self.count, self.dims = op, node.op_type, d, count, dims
        self.hidden, self.gates = dims[2], GATES[node.op_type]
        self.clip = node.attributes.get_float("clip", 0.0)
        self.coupled = bool(node.attributes.get_int("input_forget", 0))
        self.reset_after = bool(node.attributes.get_int("linear_before_reset", 0))
        self.activations = activations(node)[d * len(ACTIVATIONS[self.kind]) :]
        wide = self.gates * self.hidden
        self.w = self._own(w, [wide, _length(w, 2)])
        self.r = self._own(r, [wide, self.hidden])
        self.b = None if b is None else self._parts(self._own(b, [2 * wide]), [wide, wide], 0)
        peep = None if p is None else self._own(p, [3 * self.hidden])
        self.peepholes = None if peep is None else self._parts(peep, [self.hidden] * 3, 0)

    def _own(self, x: V, shape: Dims) -> V:
        """Return the part of this direction."""
        own = x if self.count == 1 else self.op.Slice(x, [self.d], [self.d + 1], [0])
        return _shaped(self.op.Squeeze(own, [0]), shape)

    def _parts(self, x: V, sizes: list[int], axis: int) -> list[V]:
        return parts(self.op, x, sizes, axis)

    def initial(self, state: V | None, x: V) -> V:
        """Return the state before the first step."""
        if state is not None:
            return self._own(state, self.dims[1:])
        shape = self.op.Concat(self.op.dim(x, 1), [self.hidden], axis=0)
        zero = ir.tensor(np.zeros(1, (x.dtype or ir.DataType.FLOAT).numpy()))
        return _shaped(self.op.ConstantOfShape(shape, value=zero), self.dims[1:])

    def scan(self, x: V, states: list[V], alive: V | None, way: int) -> list[V]:
        """Emit the Scan; return y and the last states."""
        op = self.op
        wide = self.gates * self.hidden
        turned = _shaped(op.Transpose(self.w, perm=[1, 0]), [_length(self.w, 1), wide])
        given = _shaped(op.MatMul(x, turned), [*self.dims[:2], wide])
        if self.b is not None:
            given = _shaped(op.Add(given, self.b[0]), [*self.dims[:2], wide])
        turn = _shaped(op.Transpose(self.r, perm=[1, 0]), [self.hidden, wide])
        graph = ir.Graph([], [], nodes=[], opset_imports=op.graph.opset_imports, name=op.name("onnxcam.cell"))
        inner = op.inner(graph)

        def entry(like: V, shape: Dims) -> V:
            value = ir.Value(name=inner.name(f"{graph.name}.in"), shape=ir.Shape(shape), type=like.type)
            value.type = ir.TensorType(like.dtype or x.dtype or ir.DataType.FLOAT)
            return value

        before = [entry(x, self.dims[1:]) for _ in states]
        slices = [entry(x, [self.dims[1], wide])]
        scanned = [given]
        if alive is not None:
            slices.append(entry(alive, [self.dims[1], 1]))
            scanned.append(alive)
        after = getattr(self, f"_{self.kind.lower()}")(inner, slices[0], turn, *before)
        shown = after[0]
        if alive is not None:
            shown = inner.mask(after[0], slices[1])
            after = [inner.Where(slices[1], new, old) for new, old in zip(after, before, strict=True)]
        graph.inputs.extend([*before, *slices])
        graph.outputs.extend(inner.alias(_shaped(y, self.dims[1:])) for y in [*after, shown])
        inner.place(graph.outputs)
        made = op.Scan(
            *states,
            *scanned,
            body=graph,
            num_scan_inputs=len(scanned),
            scan_input_directions=[way] * len(scanned),
            scan_output_directions=[way],
            outputs=len(states) + 1,
        )
        for value in made:
            value.type, value.shape = ir.TensorType(x.dtype or ir.DataType.FLOAT), ir.Shape(self.dims[1:])
        return [_shaped(made[-1], self.dims), *made[:-1]]

    def _rnn(self, op: Emitter, x: V, r: V, h: V) -> list[V]:
        """h' = f(x + h r)."""
        return [self._act(op, 0, self._add(op, x, self._again(op, h, r)))]

    def _gru(self, op: Emitter, x: V, r: V, h: V) -> list[V]:
        """z, r = f(..); g = g(x + (r h) R), or g(x + r (h R)); h' = (1 - z) g + z h."""
        size = self.hidden
        first, rest = parts(op, x, [2 * size, size], 1)
        r_first, r_rest = parts(self.op, r, [2 * size, size], 1)
        b_first, b_rest = (None, None) if self.b is None else parts(self.op, self.b[1], [2 * size, size], 0)
        both = self._act(op, 0, self._add(op, first, self._again(op, h, r_first, b_first)))
        update, reset = parts(op, both, [size, size], 1)
        if self.reset_after:
            past = _shaped(op.Mul(reset, self._again(op, h, r_rest, b_rest)), self.dims[1:])
        else:
            past = self._again(op, _shaped(op.Mul(reset, h), self.dims[1:]), r_rest, b_rest)
        new = self._act(op, 1, self._add(op, rest, past))
        rest = _shaped(op.Mul(update, _shaped(op.Sub(h, new), self.dims[1:])), self.dims[1:])
        return [op.Add(new, rest)]

    def _lstm(self, op: Emitter, x: V, r: V, h: V, c: V) -> list[V]:
        """i, o, f = f(..), g = g(..); c' = f c + i g; h' = o h(c'). Peepholes let the gates see c, and o c'."""
        i, o, f, g = parts(op, self._add(op, x, self._again(op, h, r)), [self.hidden] * 4, 1)
        p_i, p_o, p_f = self.peepholes or (None, None, None)
        take = self._act(op, 0, self._peep(op, i, p_i, c))
        keep = op.Sub(1.0, take) if self.coupled else self._act(op, 0, self._peep(op, f, p_f, c))
        kept, new = op.Mul(_shaped(keep, self.dims[1:]), c), op.Mul(take, self._act(op, 1, g))
        cell = self._add(op, _shaped(kept, self.dims[1:]), _shaped(new, self.dims[1:]))
        show = self._act(op, 0, self._peep(op, o, p_o, cell))
        return [op.Mul(show, self._act(op, 2, cell, clip=False)), cell]

    def _again(self, op: Emitter, h: V, r: V, b: V | None = None) -> V:
        """Return h r plus the recurrent bias."""
        past = _shaped(op.MatMul(h, r), [self.dims[1], _length(r, 1)])
        b = self.b[1] if self.b is not None and b is None else b
        return past if b is None else self._add(op, past, b)

    def _add(self, op: Emitter, a: V, b: V) -> V:
        return _like(op.Add(a, b), a)

    def _peep(self, op: Emitter, x: V, p: V | None, c: V) -> V:
        return x if p is None else self._add(op, x, _shaped(op.Mul(c, p), self.dims[1:]))

    def _act(self, op: Emitter, which: int, x: V, clip: bool = True) -> V:
        if clip and self.clip > 0:
            x = _like(op.Clip(x, -self.clip, self.clip), x)
        return _like(self.activations[which](op, x), x)


def parts(op: Emitter, x: V, sizes: list[int], axis: int) -> list[V]:
    """Split *x* along *axis*."""
    made = op.Split(x, sizes, axis=axis, outputs=len(sizes))
    for part, size in zip(made, sizes, strict=True):
        shape = list(x.shape or ())
        shape[axis] = size
        part.type = x.type
        _shaped(part, shape)
    return list(made)


def activations(node: ir.Node) -> list[Callable[[Emitter, V], V]]:
    """Return the activation functions of *node*, direction after direction."""
    names = node.attributes.get_strings("activations", None) or ACTIVATIONS[node.op_type] * 2
    alphas = list(node.attributes.get_floats("activation_alpha", ()))
    betas = list(node.attributes.get_floats("activation_beta", ()))
    made: list[Callable[[Emitter, V], V]] = []
    for name in names:
        alpha, beta = PARAMETERS.get(name.lower(), (None, None))
        alpha = alphas.pop(0) if alpha is not None and alphas else alpha
        beta = betas.pop(0) if beta is not None and betas else beta
        made.append(GateFunction(name.lower(), alpha, beta))
    return made


@dataclass(frozen=True)
class GateFunction:
    """An activation function of gates; *name* is in lower case."""

    name: str
    alpha: float | None
    beta: float | None

    def __call__(self, op: Emitter, x: V) -> V:
        """Return its value at *x*."""
        match self.name:
            case "affine":
                return op.Add(op.Mul(x, self.alpha), self.beta)
            case "scaledtanh":
                return op.Mul(op.Tanh(op.Mul(x, self.beta)), self.alpha)
            case "hardsigmoid":
                return op.HardSigmoid(x, alpha=self.alpha, beta=self.beta)
        names = {"leakyrelu": "LeakyRelu", "thresholdedrelu": "ThresholdedRelu"}
        settings = {} if self.alpha is None else {"alpha": self.alpha}
        return getattr(op, names.get(self.name, self.name.capitalize()))(x, **settings)
