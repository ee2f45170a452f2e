"""Cases for onnxcam.autodiff.rules.sequences: whole models, in ONNX's text form."""

from __future__ import annotations

import numpy as np

from tests.autodiff.cases import ints, normal
from tests.autodiff.cases.control import text

X, Y, Z = normal(2, 3), normal(1, 3), normal(4, 3)
LIST = [X, Y, Z]

CONSTRUCT = """g (float[2, 3] x, float[N, 3] y) => (seq(float[?, 3]) s) {
    a = Sin(x) s = SequenceConstruct(a, y, a)
}"""
AT = """g (seq(float[?, 3]) s, int64 i) => (float[A, 3] a, float[B, 3] b) <int64 first = {0}, int64 last = {-1}> {
    p = SequenceAt(s, i) q = SequenceAt(s, first) m = ReduceSum<keepdims = 0>(q) a = Mul(p, m) r = SequenceAt(s, last)
    t = SequenceAt(s, first) u = Mul(r, r) v = Mul(t, t) w = ReduceSum<keepdims = 0>(v) b = Mul(u, w)
}"""
PASSED_ON = """g (seq(float[?, 3]) s) => (seq(float[?, 3]) t, float[A, 3] a) <int64 first = {0}> {
    t = Identity(s) p = SequenceAt(t, first) a = Exp(p)
}"""
INSERT = """g (seq(float[]) s, float[N, 3] x, int64 i) => (seq(float[]) y) {
    v = Mul(x, x) t = SequenceInsert(s, v, i) y = SequenceInsert(t, x)
}"""
ERASE = """g (seq(float[]) s, int64 i) => (seq(float[]) y) { t = SequenceErase(s, i) y = SequenceErase(t) }"""
GROWN = """g (float[2, 3] x) => (float[2, 6] y) {
    e = SequenceEmpty<dtype = 1>() a = SequenceInsert(e, x) v = Exp(x) b = SequenceInsert(a, v)
    y = ConcatFromSequence<axis = -1>(b)
}"""
DOUBLY = """g (seq(float[?, 3]) s) => (float[A, 3] y, float[B, 3] z) {
    y = ConcatFromSequence<axis = 0>(s) t = SequenceErase(s) z = ConcatFromSequence<axis = -2>(t)
}"""
JOINED = """g (float[2, 3] x, float[N, 3] y) => (float[A, 3] z) {
    s = SequenceConstruct(x, y, x) p = ConcatFromSequence<axis = 0>(s) z = Mul(p, p)
}"""
STACKED = """g (float[2, 3] x, float[2, 3] w) => (float[2, A, 3] z, float[2, 3, B] v) {
    s = SequenceConstruct(x, w, x)
    z = ConcatFromSequence<axis = 1, new_axis = 1>(s) p = ConcatFromSequence<axis = -1, new_axis = 1>(s) v = Exp(p)
}"""
PARTS = """g (float[4, 3] x, int64[N] n) => (seq(float[?, 3]) s, float[B, 3] y) <int64 second = {1}> {
    v = Mul(x, x) s = SplitToSequence<axis = 0>(v, n) y = SequenceAt(s, second)
}"""
HALVES = """g (float[4, 3] x) => (float[2, 3] y) <int64 two = {2}, int64 zero = {0}, int64 one = {1}> {
    s = SplitToSequence(x, two) a = SequenceAt(s, zero) b = SequenceAt(s, one) y = Mul(a, b)
}"""
ROWS = """g (float[4, 3] x) => (float[3] y, float[4, 1] z) <int64 second = {1}, int64 last = {-1}> {
    s = SplitToSequence<axis = 0, keepdims = 0>(x) a = SequenceAt(s, second) y = Exp(a)
    t = SplitToSequence<axis = 1>(x) b = SequenceAt(t, last) z = Sin(b)
}"""
MAPPED = """g (seq(float[?, 3]) s, seq(float[?, 3]) t, float[3] w) => (seq(float[?, 3]) y, seq(float[?, 3]) z) {
    y, z = SequenceMap<body = b (float[] a, float[] b, float[3] c) => (float[] d, float[] e) {
        p = Mul(a, b) d = Mul(p, c) e = Sin(b)
    }>(s, t, w)
}"""
OUTSIDE = """g (seq(float[?, 3]) s, float[3] w) => (seq(float[?, 3]) y) {
    v = Exp(w) y = SequenceMap<body = b (float[] a) => (float[] d) { p = Mul(a, v) d = Tanh(p) }>(s)
}"""
WRAPPED = """g (float[2, 3] x, seq(float[?, 3]) s) => (float[2, 3] y, optional(seq(float[?, 3])) p) {
    o = Optional(x) i = Identity(o) a = OptionalGetElement(i) b = OptionalGetElement(a) y = Mul(a, b) p = Optional(s)
}"""
PERHAPS = """g (optional(float[2, 3]) o, float[2, 3] w) => (float[2, 3] y) {
    h = OptionalHasElement(o)
    y = If<then_branch = t () => (float[2, 3] u) { a = OptionalGetElement(o) u = Mul(a, w) },
           else_branch = e () => (float[2, 3] v) { v = Sin(w) }>(h)
}"""
EITHER = """g (bool c, seq(float[?, 3]) s, float[2, 3] x) => (seq(float[?, 3]) y) {
    y = If<then_branch = t () => (seq(float[?, 3]) u) { a = SequenceInsert(s, x) u = Identity(a) },
           else_branch = e () => (seq(float[?, 3]) v) { b = Exp(x) v = SequenceConstruct(b, x) }>(c)
}"""
APPENDED = """g (int64 n, float[4, 3] x, float[3] w) => (seq(float[3]) y, float[A, 3] z) {
    e = SequenceEmpty<dtype = 1>()
    y = Loop<body = b (int64 i, bool go, seq(float[3]) s) => (bool on, seq(float[3]) t) {
        on = Identity(go) u = Gather(x, i) v = Mul(u, w) t = SequenceInsert(s, v)
    }>(n, , e)
    p = ConcatFromSequence<axis = 0, new_axis = 1>(y) z = Exp(p)
}"""
REMEMBERED = """g (int64 n, float[2, 3] x, float[3] w) => (seq(float[?, 3]) y, float[K, 3] z) {
    e = SequenceConstruct(x)
    y, z = Loop<body = b (int64 i, bool go, seq(float[?, 3]) s) => (bool on, seq(float[?, 3]) t, float[3] d) {
        on = Identity(go) last = Constant<value = int64 {-1}>() z = Constant<value = int64[1] {0}>()
        a = SequenceAt(s, last) b = SequenceAt(s, i) m = ReduceSum<keepdims = 0>(b, z) d = Mul(m, w)
        c = Concat<axis = 0>(a, b) v = Sin(c) t = SequenceInsert(s, v)
    }>(n, , e)
}"""
POPPED = """g (seq(float[?, 3]) s, float[3] w) => (float[3] f, seq(float[?, 3]) t) {
    n = Constant<value = int64 {2}>() z = Constant<value = float[3] {0, 0, 0}>()
    f, t = Loop<body = b (int64 i, bool go, float[3] a, seq(float[?, 3]) q)
           => (bool on, float[3] c, seq(float[?, 3]) r) {
        on = Identity(go) last = Constant<value = int64 {-1}>() zero = Constant<value = int64[1] {0}>()
        u = SequenceAt(q, last) r = SequenceErase(q) m = ReduceSum<keepdims = 0>(u, zero)
        h = Mul(a, w) k = Add(h, m) c = Sin(k)
    }>(n, , z, s)
}"""
READ = """g (seq(float[?, 3]) s, float[3] w) => (float[3] f) {
    n = SequenceLength(s) z = Constant<value = float[3] {0, 0, 0}>()
    f = Loop<body = b (int64 i, bool go, float[3] a) => (bool on, float[3] c) {
        on = Identity(go) zero = Constant<value = int64[1] {0}>()
        u = SequenceAt(s, i) m = ReduceSum<keepdims = 0>(u, zero) h = Mul(a, w) k = Add(h, m) c = Sin(k)
    }>(n, , z)
}"""
CHOSEN = """g (int64 n, float[2, 3] x) => (float[A, 3] z) {
    e = SequenceConstruct(x)
    y = Loop<body = b (int64 i, bool go, seq(float[2, 3]) s) => (bool on, seq(float[2, 3]) t) {
        on = Identity(go) one = Constant<value = int64 {1}>() z = Constant<value = int64 {0}>() first = Less(i, one)
        t = If<then_branch = a () => (seq(float[2, 3]) u) {
                   p = SequenceAt(s, z) q = Exp(p) u = SequenceInsert(s, q, z)
               },
               else_branch = d () => (seq(float[2, 3]) v) {
                   v = SequenceMap<body = m (float[2, 3] k) => (float[2, 3] l) { o = Mul(k, x) l = Sin(o) }>(s)
               }>(first)
    }>(n, , e)
    z = ConcatFromSequence<axis = 0>(y)
}"""

CASES = [
    text("SequenceConstruct", "twice the same", {"x": X, "y": Y}, CONSTRUCT),
    *(text("SequenceAt", f"position {i}", {"s": LIST, "i": np.asarray(i)}, AT) for i in (0, 1, -1)),
    text("SequenceAt", "of a sequence that is an output too", {"s": LIST}, PASSED_ON),
    *(text("SequenceInsert", f"at {i}", {"s": LIST, "x": Y, "i": np.asarray(i)}, INSERT) for i in (0, 3, -1)),
    text("SequenceInsert", "into an empty one", {"x": X}, GROWN),
    *(text("SequenceErase", f"at {i}", {"s": LIST, "i": np.asarray(i)}, ERASE) for i in (0, 2, -2)),
    text("ConcatFromSequence", "two contributions", {"s": LIST}, DOUBLY),
    text("ConcatFromSequence", "of a sequence just made", {"x": X, "y": Y}, JOINED),
    text("ConcatFromSequence", "a new axis", {"x": X, "w": normal(2, 3, seed=1)}, STACKED),
    text("SplitToSequence", "lengths", {"x": Z, "n": ints(1, 3)}, PARTS),
    text("SplitToSequence", "one length", {"x": Z}, HALVES),
    text("SplitToSequence", "rows", {"x": Z}, ROWS),
    text("SequenceMap", "two sequences and a tensor", {"s": LIST, "t": [Y, Y + 1, 2 * Y], "w": X[0]}, MAPPED),
    text("SequenceMap", "a value from outside", {"s": LIST, "w": X[0]}, OUTSIDE),
    text("Loop", "a list is made", {"n": np.asarray(3), "x": Z, "w": X[0]}, APPENDED),
    text("Loop", "a list is read and made", {"n": np.asarray(3), "x": X, "w": X[0]}, REMEMBERED),
    text("Loop", "a list is used up", {"s": LIST, "w": X[0]}, POPPED),
    text("Loop", "a list from outside", {"s": LIST, "w": X[0]}, READ),
    text("Loop", "a list is rewritten", {"n": np.asarray(3), "x": X}, CHOSEN),
    text("Optional", "wrapped and unwrapped", {"x": X, "s": LIST}, WRAPPED),
    text("OptionalGetElement", "where there is one", {"o": X, "w": normal(2, 3, seed=1)}, PERHAPS),
    *(text("If", f"sequences {c}", {"c": np.asarray(c), "s": LIST, "x": X}, EITHER) for c in (True, False)),
]  # fmt: skip
