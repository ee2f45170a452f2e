"""Gradient checks for authors of rules.

`check_grads` compares the gradients of a model with central differences in float64 on the ONNX reference evaluator
(noise near 1e-9), then compares ONNX Runtime's float32 gradients with them. `node_model` builds a model of one node.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from onnxcam.autodiff import RuleSet, vjp
from onnxcam.autodiff.rules import STANDARD
from onnxcam.graph.io import ModelLike, load, to_proto

Array: TypeAlias = Any  # an array, or a list of arrays: a sequence
Feeds = Mapping[str, Array]

STEP = 1e-5  # of the central differences; their error is near STEP² + 1e-16 / STEP


def check_grads(
    model: ModelLike,
    feeds: Feeds,
    *,
    outputs: Sequence[str] | None = None,
    inputs: Sequence[str] | None = None,
    rules: str | RuleSet = "standard",
    order: int = 2,
    seed: int = 0,
    rtol: float = 1e-6,
    runtime: bool = True,
    runtime_rtol: float = 1e-4,
) -> None:
    """Assert that the vector-Jacobian product of *model* is correct at *feeds*.

    For a random cotangent u and a random direction v, compare ⟨v, Jᵀu⟩ with the central difference of ⟨u, f⟩ along v,
    in float64. Repeat with the gradient of the gradient, up to *order*. A float32 model is converted to float64 first.
    The float32 gradients of ONNX Runtime must agree with the float64 ones.

    Args:
        model: The model; outputs and inputs as in `onnxcam.autodiff.vjp`.
        feeds: An array for each input, a list of arrays for a sequence, away from kinks and ties.
        outputs: Names of the differentiated tensors.
        inputs: Names of the tensors to differentiate with respect to; they must be inputs of the graph.
        rules: The rule set.
        order: Number of differentiations: 2 also checks the gradient of the gradient.
        seed: Seed of the random directions.
        rtol: Tolerance in float64, relative to |u| |f'|.
        runtime: Whether to compare with ONNX Runtime too.
        runtime_rtol: Tolerance of ONNX Runtime's float32, relative to the largest gradient.

    Raises:
        AssertionError: a gradient is wrong; the message says by how much and at which order.
    """
    wide, wide_feeds = widen(load(model)), {name: widen_array(x) for name, x in feeds.items()}
    rng = np.random.default_rng(seed)
    names = None if outputs is None else list(outputs)
    for depth in range(1, order + 1):
        gradient = vjp(wide, names, inputs, rules=rules)
        cotangents = _cotangents(gradient, wide, wide_feeds, rng)
        _check_directional(wide, gradient, wide_feeds, cotangents, rng, depth, rtol)
        if depth == 1 and runtime:
            narrow = vjp(model, outputs, inputs, rules=rules)
            _check_runtime(narrow, gradient, {**feeds, **cotangents}, {**wide_feeds, **cotangents}, runtime_rtol)
        names = [name.replace(".gradient", f".d{depth}") for name in _suffixed(gradient.graph.output, ".gradient")]
        wide, inputs = _renamed(gradient, depth), None
        wide_feeds |= {name.replace(".cotangent", f".u{depth}"): u for name, u in cotangents.items()}


def evaluate(model: onnx.ModelProto, feeds: Feeds) -> dict[str, Array]:
    """Return all outputs of *model* by name, computed by the ONNX reference evaluator."""
    return _evaluator(model)(feeds)


def _evaluator(model: onnx.ModelProto) -> Callable[[Feeds], dict[str, Array]]:
    """Return `evaluate` of *model*, which is prepared once."""
    evaluator, names = ReferenceEvaluator(model), [output.name for output in model.graph.output]

    def evaluated(feeds: Feeds) -> dict[str, Array]:
        results = evaluator.run(None, dict(feeds))
        return {name: y if y is None else each(np.asarray, y) for name, y in zip(names, results, strict=True)}

    return evaluated


def run(model: onnx.ModelProto, feeds: Feeds) -> dict[str, Array]:
    """Return all outputs of *model* by name, computed by ONNX Runtime on the CPU."""
    return _runner(model)(feeds)


def _runner(model: onnx.ModelProto) -> Callable[[Feeds], dict[str, Array]]:
    """Return `run` of *model*, which is opened once."""
    from onnxcam.engine import Session

    return Session(load(model), provider="cpu").run


def node_model(
    op_type: str,
    inputs: Mapping[str, np.ndarray | None],
    constants: Mapping[str, np.ndarray] | None = None,
    outputs: int | Sequence[str] = 1,
    opset: int = 21,
    shapes: Mapping[str, Sequence[int | str]] | None = None,
    domain: str = "",
    **attributes: Any,
) -> onnx.ModelProto:
    """Return a model of one node.

    Args:
        op_type: The operator.
        inputs: Its inputs in order, by name, as examples of dtype and shape; None omits an optional input.
        constants: The inputs that are initializers of the graph, by name, with their values.
        outputs: The number of outputs, named ``y``, ``y1``, …; or their names, an empty one for an omitted output.
        opset: The opset.
        shapes: Shapes to declare instead of the examples' own, for symbolic axes.
        domain: The operator's domain; version 1 unless it is the default domain.
        attributes: The node's attributes.
    """
    constants, shapes = constants or {}, shapes or {}
    values: list[ir.Value | None] = []
    for name, example in inputs.items():
        array = constants.get(name, example)
        if array is None:
            values.append(None)
            continue
        tensor = ir.tensor(np.asarray(array), name=name)
        value = ir.Value(name=name, shape=ir.Shape(shapes.get(name, np.shape(array))), type=ir.TensorType(tensor.dtype))
        value.const_value = tensor if name in constants else None
        values.append(value)
    names = [f"y{i or ''}" for i in range(outputs)] if isinstance(outputs, int) else outputs
    ys = [ir.Value(name=name) for name in names]
    node = ir.Node(domain, op_type, values, ir.convenience.convert_attributes(attributes), outputs=ys, name=op_type)
    given = [value for value in values if value is not None]
    graph = ir.Graph(
        [value for value in given if value.const_value is None],
        [y for y in ys if y.name],
        nodes=[node],
        initializers=[value for value in given if value.const_value is not None],
        opset_imports={"": opset} | ({domain: 1} if domain else {}),
        name="case",
    )
    from onnxcam.passes.shapes import infer_shapes

    model = ir.Model(graph, ir_version=10)
    infer_shapes(model, STANDARD.compositions)
    return to_proto(model)


def each(function: Callable[..., Any], x: Array, *others: Array) -> Any:
    """Return ``function(x, *others)`` for arrays; for sequences the list of results, one for each element."""
    if isinstance(x, list):
        return [function(*elements) for elements in zip(x, *others, strict=True)]
    return function(x, *others)


def product(u: Array, v: Array) -> float:
    """Return the inner product of two arrays, or of two sequences of arrays."""
    return float(np.sum(each(np.vdot, u, v)))


def widen_array(x: Array) -> Array:
    """Return a float32 *x* as float64; others unchanged."""
    return each(lambda x: x.astype(np.float64) if x.dtype == np.float32 else np.asarray(x), x)


def widen(model: ir.Model) -> onnx.ModelProto:
    """Return *model* with every float32 tensor, constant and cast changed to float64."""
    for graph in model.graphs():
        for value in [*graph.inputs, *graph.outputs, *graph.initializers.values()]:
            _widen_value(value)
        for node in graph:
            for value in node.outputs:
                _widen_value(value)
            _widen_attributes(node)
    return to_proto(model)


def _widen_value(value: ir.Value) -> None:
    if value.dtype == ir.DataType.FLOAT and value.type is not None:
        value.type = retyped(value.type, ir.DataType.DOUBLE)
    if value.const_value is not None and value.const_value.dtype == ir.DataType.FLOAT:
        value.const_value = ir.tensor(value.const_value.numpy().astype(np.float64), name=value.name)


def retyped(kind: ir.TypeProtocol, dtype: ir.DataType) -> ir.TypeProtocol:
    """Return *kind* with elements of *dtype*."""
    if isinstance(kind, ir.SequenceType | ir.OptionalType):
        return type(kind)(retyped(kind.elem_type, dtype))
    return ir.TensorType(dtype)


def _widen_attributes(node: ir.Node) -> None:
    for attribute in list(node.attributes.values()):
        if attribute.type is ir.AttributeType.TENSOR and attribute.as_tensor().dtype == ir.DataType.FLOAT:
            wide = ir.tensor(attribute.as_tensor().numpy().astype(np.float64))
            node.attributes[attribute.name] = ir.AttrTensor(attribute.name, wide)
        elif attribute.name in {"to", "dtype"} and attribute.value == ir.DataType.FLOAT:
            node.attributes[attribute.name] = ir.AttrInt64(attribute.name, ir.DataType.DOUBLE)


def _suffixed(values: Any, suffix: str) -> list[str]:
    return [value.name for value in values if value.name.endswith(suffix)]


def _renamed(gradient: onnx.ModelProto, depth: int) -> onnx.ModelProto:
    """Rename cotangents and gradients, so that the next order can use these names."""
    model = load(gradient)
    for value in [*model.graph.inputs, *model.graph.outputs]:
        name = value.name or ""
        value.name = name.replace(".gradient", f".d{depth}").replace(".cotangent", f".u{depth}")
    return to_proto(model)


def _cotangents(
    gradient: onnx.ModelProto, wide: onnx.ModelProto, feeds: Feeds, rng: np.random.Generator
) -> dict[str, Array]:
    """Return a random cotangent for each new input of *gradient*, of the shape of its tensor at *feeds*."""
    known = {value.name for value in wide.graph.input}
    names = [value.name for value in gradient.graph.input if value.name not in known]
    values = _evaluator(tapped(wide, [name.removesuffix(".cotangent") for name in names]))(feeds)
    return {name: normal(rng, values[name.removesuffix(".cotangent")]) for name in names}


def normal(rng: np.random.Generator, like: Array) -> Array:
    """Return normally distributed numbers of the shape of *like*."""
    return each(lambda x: np.asarray(rng.standard_normal(np.shape(x))), like)


def tapped(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """Return *model* with the tensors *names* as its outputs."""
    copy = load(model)
    tensors = {value.name: value for node in copy.graph for value in node.outputs}
    tensors.update({value.name: value for value in copy.graph.inputs})
    copy.graph.outputs[:] = [tensors[name] for name in names]
    return to_proto(copy)


def _check_directional(
    wide: onnx.ModelProto,
    gradient: onnx.ModelProto,
    feeds: Feeds,
    cotangents: Feeds,
    rng: np.random.Generator,
    depth: int,
    rtol: float,
) -> None:
    computed = _evaluator(gradient)({**feeds, **cotangents})
    wanted = [name.removesuffix(".gradient") for name in _suffixed(gradient.graph.output, ".gradient")]
    forward = _evaluator(tapped(wide, [name.removesuffix(".cotangent") for name in cotangents]))

    def along(step: float, name: str, v: np.ndarray) -> float:
        values = forward({**feeds, name: each(lambda x, v: np.asarray(x + step * v), feeds[name], v)})
        return sum(product(cotangents[f"{y}.cotangent"], value) for y, value in values.items())

    for name in wanted:
        actual = computed[f"{name}.gradient"]
        got, shape = each(np.shape, actual), each(np.shape, feeds[name])
        assert got == shape, f"{name}.gradient has shape {got}, not {shape}"
        v = normal(rng, feeds[name])
        expected = (along(STEP, name, v) - along(-STEP, name, v)) / (2 * STEP)
        scale = max(abs(expected), product(actual, actual) ** 0.5, 1e-3)
        error = abs(product(v, actual) - expected) / scale
        assert error <= rtol, f"order {depth}: the gradient of {name!r} is off by {error:.2e} (more than {rtol:.0e})"


def _check_runtime(
    narrow: onnx.ModelProto, wide: onnx.ModelProto, feeds: Feeds, wide_feeds: Feeds, rtol: float
) -> None:
    types = {value.name: value.dtype for value in load(narrow).graph.inputs}
    narrow_feeds = {
        name: each(lambda x: x.astype(np.float32), x) if types[name] == ir.DataType.FLOAT else x
        for name, x in feeds.items()
    }
    actual, expected = run(narrow, narrow_feeds), _evaluator(wide)(wide_feeds)
    for name in _suffixed(narrow.graph.output, ".gradient"):
        scale = max(_largest(expected[name]), 1e-6)
        error = _largest(each(np.subtract, actual[name], expected[name])) / scale
        assert error <= rtol, f"{name!r}: ONNX Runtime is off by {error:.2e} (more than {rtol:.0e})"


def _largest(x: Array) -> float:
    return float(np.max(each(lambda x: np.abs(x).max(initial=0), x), initial=0))
