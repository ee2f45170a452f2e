"""ONNX's own tests of single nodes, differentiated.

Each gradient is held against central differences of the forward pass: of the reference evaluator in float64 where it
computes what the test expects, else of ONNX Runtime, in float64 or with the longer steps that float32 needs.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir

from onnxcam.autodiff import vjp
from onnxcam.engine import Session
from onnxcam.errors import EngineError, GradientError
from onnxcam.graph.io import load, to_proto
from onnxcam.testing import each, evaluate, normal, product, retyped

DIFFERENTIABLE = onnx.defs.OpSchema.DifferentiationCategory.Differentiable
BESIDES: dict[str, tuple[int, ...]] = {
    "LayerNormalization": (0, 1, 2),
    "RMSNormalization": (0, 1),
    "Attention": (0, 1, 2, 3, 4, 5),
    "RotaryEmbedding": (0, 1, 2),
    "RoiAlign": (0,),
    "DeformConv": (0, 1, 2, 3, 4),
    "ReverseSequence": (0,),
    "AffineGrid": (0,),
    "GridSample": (0, 1),
    "DFT": (0,),
    "Loop": (2, 3),
    "SequenceMap": (0, 1),
    "SequenceInsert": (0, 1),
    "SplitToSequence": (0,),
    "OptionalGetElement": (0,),
}
"""Operators with inputs that are differentiable though their schema does not say so."""
FLOATS = {
    ir.DataType.FLOAT: (np.dtype(np.float32), 1e-3),
    ir.DataType.DOUBLE: (np.dtype(np.float64), 1e-3),
    ir.DataType.FLOAT16: (np.dtype(np.float16), 1e-2),
    ir.DataType.BFLOAT16: (np.dtype(ml_dtypes.bfloat16), 5e-2),
}
"""The floating types, and how far off the mark gradients in them may be."""
LARGE = 500  # elements
INFINITE = 1e30  # the lowest number of float32 stands for -∞ in some kernels, in others the infinity itself
Feeds = Mapping[str, Any]


class NoReference(Exception):
    """No forward pass can be differentiated by differences."""


@dataclass(frozen=True)
class Forward:
    """A forward pass in another type, and how to take differences of it."""

    run: Callable[[Feeds], Feeds]
    dtype: np.dtype[Any]
    step: float
    rtol: float

    def slope(self, feeds: Feeds, name: str, v: np.ndarray, cotangents: Feeds) -> float:
        """Return the derivative of ⟨cotangents, outputs⟩ along *v*; NoReference where it is not smooth.

        Of a smooth function the differences to both sides part in proportion to the step.
        """

        def along(step: float) -> float:
            moved = {**feeds, name: each(lambda x, v: np.asarray(x.astype(np.float64) + step * v), feeds[name], v)}
            outputs = self.at(moved)
            return sum(_product(u, outputs[name]) for name, u in cotangents.items())

        middle, ends = along(0), {s: along(s * self.step) for s in (-1, -0.5, 0.5, 1)}
        wide, narrow = (ends[1] - ends[-1]) / (2 * self.step), (ends[0.5] - ends[-0.5]) / self.step
        slope = (4 * narrow - wide) / 3
        bends = [(ends[s] + ends[-s] - 2 * middle) / (s * self.step) for s in (1, 0.5)]
        room = 3 * self.rtol * max(abs(slope), 1e-2 * sum(_norm(u) for u in cotangents.values()))
        if not abs(bends[1] - bends[0] / 2) <= room or not abs(wide - narrow) <= room:
            raise NoReference("a kink")
        return slope

    def at(self, feeds: Feeds) -> Feeds:
        """Return the outputs."""
        return self.run({name: self.cast(x) for name, x in feeds.items()})

    def cast(self, x: Any) -> Any:
        return each(lambda x: np.asarray(x.astype(self.dtype)), x) if _is_floating(x) else x


@dataclass(frozen=True)
class NodeCase:
    """A test of one node: its model, what to feed it, what to differentiate."""

    name: str
    model: onnx.ModelProto
    feeds: Feeds
    expected: Feeds
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def op(self) -> str:
        return str(self.model.graph.node[0].op_type)

    def __str__(self) -> str:
        return self.name

    def is_computed(self) -> bool:
        """Return whether ONNX Runtime computes the outputs that ONNX records."""
        try:
            actual = Session(load(self.model), provider="cpu").run(self.feeds)
        except EngineError:
            return False
        return all(self._is_close(self.expected[y], actual[y]) for y in self.outputs)

    def check(self) -> None:
        """Assert that ONNX Runtime's gradients are the slopes of the forward pass."""
        try:
            model = vjp(self.model, self.outputs, self.inputs)
        except GradientError:  # as it says of a gradient that is zero everywhere
            model = None
        gradient = Session(load(self.model if model is None else model), provider="cpu")
        for forward in self.forwards():
            for point in self.points():
                with warnings.catch_warnings():  # of numbers outside a function's domain
                    warnings.simplefilter("ignore")
                    if self._holds(gradient, forward, point, model is None):
                        return
        raise NoReference("no evaluator computes what ONNX Runtime does, or there are kinks everywhere")

    def _holds(self, gradient: Session, forward: Forward, point: Feeds, zero: bool) -> bool:
        """Assert that gradients are right at *point*, or return False if differences tell nothing about it."""
        rng = np.random.default_rng(0)
        cotangents = {y: _normal(rng, self.expected[y]) for y in self.outputs}
        directions = {name: _double(_normal(rng, self.feeds[name])) for name in self.inputs}
        seeds = {} if zero else {f"{y}.cotangent": u for y, u in cotangents.items()}
        actual = gradient.run({**point, **seeds})
        for name, u in cotangents.items():  # where there is -∞, or what stands for it, nothing is asked for
            each(lambda u, y: np.copyto(u, 0, where=np.abs(y.astype(np.float64)) >= INFINITE), u, actual[name])
        actual = gradient.run({**point, **seeds})
        if not all(self._is_close(y, actual[name]) for name, y in forward.at(point).items() if name in self.outputs):
            return False
        try:
            slopes = {x: forward.slope(point, x, v, cotangents) for x, v in directions.items() if _size(v)}
        except NoReference:
            return False
        for name, v in directions.items():
            got = each(np.zeros_like, v) if zero else _double(actual[f"{name}.gradient"])
            shapes = each(np.shape, got), each(np.shape, v)
            assert shapes[0] == shapes[1], f"the gradient of {name!r} has shape {shapes[0]}, not {shapes[1]}"
            error = abs(product(v, got) - slopes.get(name, 0.0))
            error /= max(abs(slopes.get(name, 0.0)), _norm(got), 1e-3)
            allowed = max(forward.rtol, self.tolerance)
            assert error <= allowed, f"the gradient of {name!r} is off by {error:.2e}, more than {allowed:.0e}"
        return True

    @property
    def tolerance(self) -> float:
        used = {x.dtype for feed in self.feeds.values() for x in _arrays(feed)}
        return max(rtol for dtype, rtol in FLOATS.values() if dtype in used)

    def forwards(self) -> Iterator[Forward]:
        """Yield the forward passes there are, the most precise first; the reference is too slow for large tensors."""
        ways = [
            (ir.DataType.DOUBLE, _on_reference, 1e-5, 1e-5),
            (ir.DataType.DOUBLE, _on_runtime, 1e-5, 1e-5),
            (ir.DataType.FLOAT, _on_runtime, 2**-7, 5e-3),
        ]
        large = sum(_size(self.feeds[name]) for name in self.inputs) > LARGE
        for kind, make, step, rtol in [*ways[1:], ways[0]] if large else ways:
            try:
                forward = Forward(make(_as_type(self.model, kind)), FLOATS[kind][0], step, rtol)
                outputs = forward.at(self.feeds)
            except Exception:  # whatever an evaluator without this operator or type may raise
                continue
            if all(x.dtype == forward.dtype for y in self.outputs for x in _arrays(outputs[y])):
                yield forward

    def _is_close(self, y: Any, actual: Any) -> bool:
        if isinstance(y, list):
            return isinstance(actual, list) and len(y) == len(actual) and all(map(self._is_close, y, actual))
        if y.shape != actual.shape:
            return False
        y, actual = (np.clip(x.astype(np.float64), -INFINITE, INFINITE) for x in (y, actual))
        room = 3e-5 if self.tolerance <= 1e-3 else self.tolerance / 2
        largest = np.abs(actual[np.abs(actual) < INFINITE]).max(initial=1.0)
        return np.allclose(y, actual, rtol=0, equal_nan=True, atol=room * largest)

    def points(self) -> Iterator[Feeds]:
        """Yield the test's own point, then others nearby, off kinks and ties."""
        rng = np.random.default_rng(1)
        for size in (0.02, 1e-3, -0.05, 0.2, 0.0):
            nudged = dict(self.feeds)
            for name in self.inputs:
                low = 0.5 if size < 0 else -1
                nudged[name] = each(
                    lambda x, size=size, low=low: np.asarray(x + size * rng.uniform(low, 1, x.shape)).astype(x.dtype),
                    self.feeds[name],
                )
            yield nudged


def _product(u: Any, y: Any) -> float:
    return sum(
        product(u[u != 0].astype(np.float64), y[u != 0].astype(np.float64))
        for u, y in zip(_arrays(u), _arrays(y), strict=True)
    )


def _norm(u: Any) -> float:
    return product(_double(u), _double(u)) ** 0.5


def _double(x: Any) -> Any:
    return each(lambda x: x.astype(np.float64), x)


def _normal(rng: np.random.Generator, like: Any) -> Any:
    return each(lambda u, x: u.astype(x.dtype), normal(rng, like), like)


def _arrays(x: Any) -> list[np.ndarray]:
    """Return the arrays of a sequence, or the one that *x* is itself."""
    return [y for y in (x if isinstance(x, list) else [x]) if isinstance(y, np.ndarray)]


def _size(x: Any) -> int:
    return sum(y.size for y in _arrays(x))


def _on_reference(model: onnx.ModelProto) -> Callable[[Feeds], Feeds]:
    return lambda feeds: evaluate(model, feeds)


def _on_runtime(model: onnx.ModelProto) -> Callable[[Feeds], Feeds]:
    return Session(load(model), provider="cpu").run


def _as_type(model: onnx.ModelProto, kind: ir.DataType) -> onnx.ModelProto:
    """Return *model* with all floating tensors, and casts to such types, in that of *kind*."""
    twin = load(model)
    for value in [*twin.graph.inputs, *twin.graph.outputs]:
        if value.dtype in FLOATS and value.type is not None:
            value.type = retyped(value.type, kind)
    for node in twin.graph:
        for name in ("to", "dtype", "stash_type", "softmax_precision"):
            if name in node.attributes and node.attributes[name].value in FLOATS:
                node.attributes[name] = ir.AttrInt64(name, kind)
    return to_proto(twin)


def collect() -> list[NodeCase]:
    """Return the tests of one node of the default domain with a differentiable input and a floating output."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        cases = collect_testcases(None)
    found = (_node_case(case) for case in cases)
    return [case for case in found if case is not None]


def _node_case(case: Any) -> NodeCase | None:
    model = case.model
    if len(model.graph.node) != 1 or model.graph.node[0].domain not in ("", "ai.onnx"):
        return None
    (node,) = model.graph.node
    inputs, outputs = case.data_sets[0]
    feeds = dict(zip((value.name for value in model.graph.input), map(_array, inputs), strict=True))
    expected = dict(zip((value.name for value in model.graph.output), map(_array, outputs), strict=True))
    version = next(opset.version for opset in model.opset_import if opset.domain in ("", "ai.onnx"))
    schema = onnx.defs.get_schema(node.op_type, version)
    wanted = []
    for i, name in enumerate(node.input):
        slot = schema.inputs[min(i, len(schema.inputs) - 1)]
        counts = slot.differentiation_category == DIFFERENTIABLE or i in BESIDES.get(node.op_type, ())
        if name and name not in wanted and _is_floating(feeds[name]) and counts:
            wanted.append(name)
    seeded = [name for name, y in expected.items() if _is_floating(y)]
    if not wanted or not seeded:
        return None
    return NodeCase(case.name, model, feeds, expected, tuple(wanted), tuple(seeded))


def _array(x: Any) -> Any:
    return each(lambda x: np.asarray(x) if isinstance(x, np.generic) else x, x)


def _is_floating(x: Any) -> bool:
    return bool(_arrays(x)) and all(any(y.dtype == dtype for dtype, _ in FLOATS.values()) for y in _arrays(x))
