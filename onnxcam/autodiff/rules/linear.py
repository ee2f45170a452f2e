"""Matrix products: MatMul, Gemm, and Einsum.

A classifier's cotangent is often one-hot (`OneHot`): its product with a matrix is a row or column, by Gather.
"""

from __future__ import annotations

import string
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir

from onnxcam.autodiff import core
from onnxcam.autodiff.slices import matrix_axes, row_axes
from onnxcam.autodiff.table import Gradients, V, rule
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.infer import rank

BYTES = (ir.DataType.INT8, ir.DataType.UINT8)


@rule("Gemm", sparse=True, along=row_axes)
def gemm(op: Emitter, node: ir.Node, dy: core.Cotangent, a: V, b: V, c: V | None = None) -> Gradients:
    """y = α A B + β c, A and B being a and b or their transposes: dA = α dy Bᵀ, dB = α Aᵀ dy, dc = β dy."""
    (y,), attributes = node.outputs, node.attributes
    alpha, beta = attributes.get_float("alpha", 1.0), attributes.get_float("beta", 1.0)
    across_a, across_b = attributes.get_int("transA", 0), attributes.get_int("transB", 0)
    g = core.dense(op, dy, y)
    if isinstance(dy, core.OneHot) and not across_a:
        da = _rows(op, dy, b, across_b, alpha)
    elif across_a:
        da = op.Gemm(b, g, alpha=alpha, transA=across_b, transB=1)
    else:
        da = op.Gemm(g, b, alpha=alpha, transB=1 - across_b)
    if across_b:
        db = op.Gemm(g, a, alpha=alpha, transA=1, transB=across_a)
    else:
        db = op.Gemm(a, g, alpha=alpha, transA=1 - across_a)
    dc = None if c is None else lambda: core.unbroadcast(op, g if beta == 1 else op.Mul(g, beta), c, y)
    return da, db, dc


@rule("MatMul", sparse=True, along=matrix_axes)
def matmul(op: Emitter, node: ir.Node, dy: core.Cotangent, a: V, b: V) -> Gradients:
    """y = a b: da = dy bᵀ, db = aᵀ dy."""
    (y,) = node.outputs
    g = core.dense(op, dy, y)
    if rank(a) == rank(b) == 2:
        da = _rows(op, dy, b) if isinstance(dy, core.OneHot) else op.Gemm(g, b, transB=1)
        return da, lambda: op.Gemm(a, g, transA=1)
    if rank(b) == 2 < rank(a):
        return op.MatMul(g, op.Transpose(b)), lambda: op.Gemm(_matrix(op, a), _matrix(op, g, y), transA=1)
    return _batched_matmul(op, g, y, a, b)


def _batched_matmul(op: Emitter, dy: V, y: V, a: V, b: V) -> Gradients:
    """A vector a is a row, a vector b a column; gradients are summed over batch axes along which a or b broadcasts."""
    row, column = rank(a) == 1, rank(b) == 1
    batch = [] if y.shape is None else y.shape[: rank(y) - 2 + row + column]
    left, right = op.Unsqueeze(a, [0]) if row else a, op.Unsqueeze(b, [1]) if column else b
    dy = op.Unsqueeze(dy, [-1]) if column else dy
    dy = op.Unsqueeze(dy, [-2]) if row else dy

    def reduced(dx: V, x: V) -> V:
        dx.shape = None if y.shape is None or x.shape is None else ir.Shape([*batch, *x.shape[-2:]])
        return core.unbroadcast(op, dx, x, dx)

    def to_a() -> V:
        da = op.MatMul(dy, _transposed(op, right, max(rank(b), 2)))
        return reduced(op.Squeeze(da, [-2]) if row else da, a)

    def to_b() -> V:
        db = op.MatMul(_transposed(op, left, max(rank(a), 2)), dy)
        return reduced(op.Squeeze(db, [-1]) if column else db, b)

    return to_a, to_b


def _rows(op: Emitter, dy: core.OneHot, w: V, across: int = 0, alpha: float = 1.0) -> V:
    """Return α dy wᵀ, or α dy w if w is *across* (transposed)."""
    rows = one_hot_rows(op, dy, w) if across else op.Transpose(_gathered(op, w, dy.index, 1))
    if dy.value is not None and not across:
        rows = op.Mul(rows, op.Unsqueeze(dy.value, [-1]))
    return rows if alpha == 1 else op.Mul(rows, alpha)


def one_hot_rows(op: Emitter, dy: core.OneHot, w: V) -> V:
    """Return dy w: of w [C, …] the entries [N, …] that *dy* names, times its values."""
    rows = _gathered(op, w, dy.index, 0)
    return rows if dy.value is None else op.Mul(rows, op.Unsqueeze(dy.value, list(range(1, rank(w)))))


def _gathered(op: Emitter, w: V, index: V, axis: int) -> V:
    """Return the entries *index* of *w* along *axis*; of a quantised *w* only these are dequantised."""
    node = w.producer()
    if node is None or node.op_type != "DequantizeLinear":
        return op.Gather(w, index, axis=axis)
    steps, *units = [x for x in node.inputs if x is not None]
    along = node.attributes.get_int("axis", 1) % rank(steps)
    if steps.dtype not in BYTES or any(u.shape is None or len(u.shape) > 1 for u in units):
        return op.Gather(w, index, axis=axis)
    if all(u.shape in (ir.Shape([]), ir.Shape([1])) for u in units):
        units = [op.Reshape(u, []) for u in units]
    elif along == axis:
        units = [op.Gather(u, index) for u in units]
    return op.DequantizeLinear(op.Gather(steps, index, axis=axis), *units, axis=along)


def _matrix(op: Emitter, x: V, like: V | None = None) -> V:
    return op.Reshape(x, op.Concat([-1], op.dim(like or x, -1), axis=0))


def _transposed(op: Emitter, x: V, axes: int) -> V:
    return op.Transpose(x, perm=[*range(axes - 2), axes - 1, axes - 2])


@rule("Einsum")
def einsum(op: Emitter, node: ir.Node, dy: V, *xs: V) -> Gradients:
    """y = Σ Π x: dx is the Einsum of dy with the other operands, to the axes of x."""
    terms, result, hidden = _equation(node.attributes.get_string("equation"), xs)
    operands = list(zip(terms, xs, strict=True))

    def to(i: int) -> V:
        return _to_operand(op, (result, dy), operands[i], operands[:i] + operands[i + 1 :], hidden)

    return tuple(lambda i=i: to(i) for i in range(len(xs)))


EinsumOperand: TypeAlias = tuple[str, V]  # the letters of its axes, and the tensor


def _equation(equation: str, xs: tuple[V, ...]) -> tuple[list[str], str, str]:
    """Return the letters of each operand's axes, those of the result's, and those among them that spell out '...'."""
    left, arrow, result = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    counts = [rank(x) - len(term) + len("...") if "..." in term else 0 for term, x in zip(terms, xs, strict=True)]
    hidden = "".join([letter for letter in string.ascii_letters if letter not in equation][: max(counts)])
    if not arrow:
        result = "..." + "".join(sorted(letter for letter in set(left) - set(".,") if left.count(letter) == 1))
    expanded = [term.replace("...", hidden[len(hidden) - n :]) for term, n in zip(terms, counts, strict=True)]
    return expanded, result.replace("...", hidden), hidden


def _to_operand(
    op: Emitter, product: EinsumOperand, operand: EinsumOperand, others: list[EinsumOperand], hidden: str
) -> V:
    """Return dx for one operand of an Einsum.

    Letters of this operand alone were summed: dy is repeated along them. If axes share a letter, only their diagonal
    was read: the rest of dx is zero.
    """
    term, x = operand
    shared = [product, *others]
    kept = "".join(dict.fromkeys(letter for letter in term if any(letter in letters for letters, _ in shared)))
    equation = ",".join(letters for letters, _ in shared) + "->" + kept
    if hidden and hidden in kept:
        equation = equation.replace(hidden, "...")  # whose axes broadcast, other than those with letters
    dx = product[1] if not others and product[0] == kept else op.Einsum(*[v for _, v in shared], equation=equation)
    alone = [axis for axis, letter in enumerate(term) if letter not in kept]
    again = [axis for axis, letter in enumerate(term) if letter in term[:axis]]
    if alone or again:
        dx = op.Unsqueeze(dx, sorted({*alone, *again}))
    if alone:
        dx = op.Expand(dx, op.Concat(*[op.dim(x, a) if a in alone else [1] for a in range(len(term))], axis=0))
    for axis in again:
        dx = op.Where(_diagonal(op, x, term.index(term[axis]), axis), dx, 0.0)
    if hidden and others and x.shape is not None:
        dx.shape = ir.Shape(
            [_length(letter, d, others) if letter in hidden else d for letter, d in zip(term, x.shape, strict=True)]
        )
        dx = core.unbroadcast(op, dx, x, dx)
    return dx


def _diagonal(op: Emitter, x: V, first: int, second: int) -> V:
    """Return a mask of the diagonal of two axes of *x*, which broadcasts to *x*."""
    index = op.Range(0, op.Squeeze(op.dim(x, first), [0]), 1)
    along = [op.Reshape(index, [-1] + [1] * (rank(x) - 1 - axis)) for axis in (first, second)]
    return op.Equal(*along)


def _length(letter: str, own: Any, others: list[EinsumOperand]) -> Any:
    """Return the length of the product's axis: that of another operand if *own*, this operand's, may be 1."""
    lengths = [d for term, x in others for each, d in zip(term, x.shape or (), strict=False) if each == letter]
    return next((d for d in lengths if d not in (1, own)), own)


@rule("Det")
def det(op: Emitter, node: ir.Node, dy: V, x: V) -> Gradients:
    """dx: the cofactors of x times dy, each a determinant of x without a row and a column."""
    dy = op.Unsqueeze(dy, [-1, -2])
    if x.shape is not None and x.shape[-1] == 1:
        return (dy,)
    rows = op.Range(0, op.Squeeze(op.dim(x, -1), [0]), 1)
    others = op.Unsqueeze(op.Slice(rows, [1], [np.iinfo(np.int64).max]), [0])
    picks = op.Sub(others, op.Cast(op.LessOrEqual(others, op.Unsqueeze(rows, [1])), to=int(ir.DataType.INT64)))
    minors = op.Gather(op.Gather(x, picks, axis=rank(x) - 2), picks, axis=rank(x))
    axes = list(range(rank(x) - 2))
    n = len(axes)
    minors = op.Det(op.Transpose(minors, perm=[*axes, n, n + 2, n + 1, n + 3]))
    odd = op.Mod(op.Add(op.Unsqueeze(rows, [1]), rows), 2)
    return (op.Mul(dy, op.Mul(minors, op.Sub(1.0, op.Mul(op.flag(odd, x), 2.0)))),)
