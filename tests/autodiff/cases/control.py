"""Cases for onnxcam.autodiff.rules.control: whole models, in ONNX's text form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np
import onnx

from onnxcam import testing
from tests.autodiff.cases import Case, normal


@dataclass(frozen=True)
class Model(Case):
    """A model in text form that has to do with the operator *op*.

    The reference evaluator's loops know no directions and axes, take a condition that is left out for false, and join
    what they should stack: ONNX Runtime stands in for it, in float64.
    """

    text: str = ""

    def model(self, shapes: Mapping[str, Any] | None = None) -> onnx.ModelProto:
        opset = self.opset if shapes is None else 21
        return onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}]> {self.text}')

    def run(self, symbolic: bool = False) -> None:
        with mock.patch("onnxcam.testing._evaluator", testing._runner):
            super().run(symbolic)


def text(op: str, name: str, inputs: Mapping[str, Any], text: str, **more: Any) -> Model:
    return Model(op, name, inputs, text=text, symbolic=False, **more)


X = normal(2, 3)
TRUE, FALSE = np.asarray(True), np.asarray(False)

IF = """g (bool c, float[2, 3] x, float[3] w) => (float[2, 3] y) {
    a = Mul(x, w)
    y = If<then_branch = t () => (float[2, 3] u) { s = Sigmoid(a) u = Mul(s, x) },
           else_branch = e () => (float[2, 3] v) { v = Tanh(a) }>(c)
}"""
NESTED = """g (bool c, bool d, float[2, 3] x, float[3] w) => (float[2, 3] y) {
    a = Mul(x, w)
    y = If<then_branch = t () => (float[2, 3] u) {
               s = Sigmoid(a)
               p, q = If<then_branch = tt () => (float[2, 3] m, float[2, 3] n) { m = Mul(s, x) n = Exp(x) },
                         else_branch = te () => (float[2, 3] o, float[2, 3] r) { o = Identity(a) r = Mul(s, s) }>(d)
               u = Sub(p, q)
           },
           else_branch = e () => (float[2, 3] v) { v = Identity(x) }>(c)
}"""
SCAN = """g (float[2] s, float[T, 2] x, float[2, 2] w) => (float[2] f, float[T, 2] y) {
    f, y = Scan<num_scan_inputs = 1, body = b (float[2] a, float[2] u) => (float[2] c, float[2] d) {
        h = MatMul(w, a) k = Add(h, u) c = Tanh(k) d = Mul(c, a)
    }>(s, x)
}"""
WAYS = """g (float[2] s, float[2, T] x, float[T, 2] z) => (float[2] f, float[T, 2] y, float[2, T] v) {
    f, n, y, v = Scan<num_scan_inputs = 2, scan_input_axes = [1, 0], scan_input_directions = [0, 1],
                   scan_output_axes = [0, 1], scan_output_directions = [1, 0],
                   body = b (float[2] a, int64 i, float[2] u, float[2] p)
                   => (float[2] c, int64 j, float[2] d, float[2] e) {
        one = Constant<value = int64 {1}>()
        j = Add(i, one)
        t = Cast<to = 1>(j)
        k = Mul(a, u) l = Mul(k, t) c = Add(l, p) d = Sin(k) e = Mul(p, u)
    }>(s, zero, x, z)
}"""
WAYS = WAYS.replace("v) {\n    f", "v) <int64 zero = {0}> {\n    f", 1)
PAIRWISE = """g (float[T, 2] x, float[2] w) => (float[T, 2] y) {
    y = Scan<num_scan_inputs = 1, body = b (float[2] u) => (float[2] c) { k = Mul(u, w) c = Exp(k) }>(x)
}"""
SCANS = """g (float[N, T, 2] x, float[2] s) => (float[2] f) {
    f = Scan<num_scan_inputs = 1, body = b (float[2] a, float[T, 2] r) => (float[2] c) {
        c = Scan<num_scan_inputs = 1, body = bb (float[2] aa, float[2] u) => (float[2] cc) {
            k = Mul(aa, u) l = Mul(k, s) cc = Sin(l)
        }>(a, r)
    }>(s, x)
}"""
LOOP = """g (int64 n, float[2] s, float[2] w) => (float[2] f, float[K, 2] y) {
    f, y = Loop<body = b (int64 i, bool go, float[2] a) => (bool on, float[2] c, float[2] d) {
        on = Identity(go)
        t = Cast<to = 1>(i)
        h = Mul(a, w) k = Add(h, t) c = Sin(k) d = Mul(c, a)
    }>(n, , s)
}"""
WHILE = """g (float[2] s, float[2] w, float[8, 2] x) => (float[2] f, int64 m)
    <bool yes = {1}, int64 limit = {3}, int64 z = {0}> {
    f, m = Loop<body = b (int64 i, bool go, float[2] a, int64 j) => (bool on, float[2] c, int64 k) {
        one = Constant<value = int64 {1}>()
        k = Add(j, one)
        on = Less(k, limit)
        u = Gather(x, i)
        even = Equal(i, one)
        h = If<then_branch = t () => (float[2] p) { p = Mul(a, w) },
               else_branch = e () => (float[2] q) { q = Add(a, u) }>(even)
        c = Tanh(h)
    }>(, yes, s, z)
}"""
LOOPS = """g (int64 n, float[2] s) => (float[2] f) {
    f = Loop<body = b (int64 i, bool go, float[2] a) => (bool on, float[2] c) {
        on = Identity(go)
        c = Loop<body = bb (int64 ii, bool go2, float[2] aa) => (bool on2, float[2] cc) {
            on2 = Identity(go2) k = Mul(aa, s) l = Add(k, a) cc = Sin(l)
        }>(n, , a)
    }>(n, , s)
}"""

MATRIX = """g (int64 n, float[2, 2] s, float[2, 2] w) => (float[2, 2] f) {
    f = Loop<body = b (int64 i, bool go, float[P, Q] a) => (bool on, float[R, S] c) {
        on = Identity(go) k = MatMul(a, w) l = Transpose(k) c = Tanh(l)
    }>(n, , s)
}"""
GROWING = """g (int64 n, float[1, 2] s, float[2] w) => (float[F, 2] f, float[K, 2] y) {
    f, y = Loop<body = b (int64 i, bool go, float[P, 2] a) => (bool on, float[Q, 2] c, float[2] d) {
        on = Identity(go)
        h = Mul(a, w) k = Sin(h) c = Concat<axis = 0>(k, s)
        zero = Constant<value = int64[1] {0}>() m = Mul(a, a) d = ReduceSum<keepdims = 0>(m, zero)
    }>(n, , s)
}"""
SHRINKING = """g (int64 n, float[4, 2] s) => (float[F, 2] f) {
    f = Loop<body = b (int64 i, bool go, float[P, 2] a) => (bool on, float[Q, 2] c) {
        on = Identity(go)
        one = Constant<value = int64[1] {1}>() end = Constant<value = int64[1] {9}>()
        zero = Constant<value = int64[1] {0}>() minus = Constant<value = int64[1] {-1}>()
        u = Slice(a, one, end, zero) v = Slice(a, zero, minus, zero) c = Mul(u, v)
    }>(n, , s)
}"""
DEEPER = """g (int64 n, float[2] s, float[2] w) => (float f) {
    y = Loop<body = b (int64 i, bool go, float[] a) => (bool on, float[] c) {
        on = Identity(go) zero = Constant<value = int64[1] {0}>()
        h = Mul(a, w) k = Sin(h) l = Unsqueeze(k, zero) c = Concat<axis = 0>(l, l)
    }>(n, , s)
    e = Exp(y) f = ReduceSum<keepdims = 0>(e)
}"""
GROWING_INSIDE = """g (float[T, 2] x, float[1, 2] s, int64 n, float[2] w) => (float[2] f, float[T, 2] y) {
    zero = Constant<value = float[2] {0, 0}>()
    f, y = Scan<num_scan_inputs = 1, body = b (float[2] a, float[2] u) => (float[2] c, float[2] d) {
        z = Constant<value = int64[1] {0}>()
        r = Loop<body = bb (int64 i, bool go, float[P, 2] g) => (bool on, float[Q, 2] h) {
            on = Identity(go) one = Constant<value = int64 {1}>() first = Less(i, one)
            h = If<then_branch = t () => (float[A, 2] p) { k = Mul(g, w) p = Concat<axis = 0>(k, s) },
                   else_branch = e () => (float[B, 2] q) { m = Mul(g, u) l = Sin(m) q = Concat<axis = 0>(l, g) }>(first)
        }>(n, , s)
        v = ReduceSum<keepdims = 0>(r, z) o = Mul(v, a) c = Add(o, u) d = Sin(v)
    }>(zero, x)
}"""

SLOPE = normal(3, seed=1)
SMALL = {"x": normal(3, 2), "s": normal(1, 2)}
CASES = [
    text("If", "then", {"c": TRUE, "x": X, "w": SLOPE}, IF),
    text("If", "else", {"c": FALSE, "x": X, "w": SLOPE}, IF),
    *(
        text("If", f"nested {c} {d}", {"c": np.asarray(c), "d": np.asarray(d), "x": X, "w": SLOPE}, NESTED)
        for c, d in ((True, True), (True, False), (False, True))
    ),
    text("Scan", "recurrent", {"s": normal(2), "x": normal(4, 2), "w": normal(2, 2)}, SCAN),
    text("Scan", "one step", {"s": normal(2), "x": normal(1, 2), "w": normal(2, 2)}, SCAN),
    text("Scan", "axes and directions", {"s": normal(2), "x": normal(2, 3), "z": normal(3, 2)}, WAYS),
    text("Scan", "no state", {"x": normal(3, 2), "w": normal(2)}, PAIRWISE),
    text("Scan", "nested", {"x": normal(2, 3, 2), "s": normal(2)}, SCANS),
    text("Loop", "trips", {"n": np.asarray(3), "s": normal(2), "w": normal(2, seed=1)}, LOOP),
    text("Loop", "no trip", {"n": np.asarray(0), "s": normal(2), "w": normal(2, seed=1)}, LOOP),
    text("Loop", "while", {"s": normal(2), "w": normal(2, seed=1), "x": normal(8, 2)}, WHILE),
    text("Loop", "matrices", {"n": np.asarray(3), "s": normal(2, 2), "w": normal(2, 2, seed=1)}, MATRIX),
    text("Loop", "nested", {"n": np.asarray(2), "s": normal(2)}, LOOPS),
    *(text("Loop", f"growing {n}", {"n": np.asarray(n), "s": normal(1, 2), "w": normal(2)}, GROWING) for n in (3, 0)),
    text("Loop", "shrinking", {"n": np.asarray(2), "s": normal(4, 2)}, SHRINKING),
    text("Loop", "deeper", {"n": np.asarray(2), "s": normal(2), "w": normal(2, seed=1)}, DEEPER),
    text("Loop", "growing in a scan", {**SMALL, "n": np.asarray(2), "w": normal(2)}, GROWING_INSIDE),
]
