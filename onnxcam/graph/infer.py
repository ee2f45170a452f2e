"""Infer dtypes and shapes of emitted nodes, as far as rules and methods need them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import onnx
import onnx_ir as ir
from onnx.defs import onnx_opset_version

from onnxcam.errors import ModelError
from onnxcam.graph.io import call_onnx
from onnxcam.graph.operators import Trait, operators
from onnxcam.graph.sequence_shapes import inferred_by_onnx, shared_lengths, without
from onnxcam.graph.subgraph import all_nodes, bodies, captured

__all__ = [
    "LIKE",
    "LONG",
    "SMALL",
    "content",
    "dtype_of",
    "gradient_dtype",
    "infer_model",
    "infer_nodes",
    "no_numbers",
    "rank",
    "same",
    "shape_of",
    "type_of",
]

_BOOL = operators(Trait.COMPARES | Trait.LOGIC) | {"IsNaN", "IsInf", "OptionalHasElement"}
_INT64 = operators(Trait.MEASURES) | {"ArgMax", "ArgMin", "NonZero", "NonMaxSuppression", "SequenceLength"}
_HOLDERS = frozenset("If Loop Scan SequenceMap".split())
_SEQUENCES = frozenset("SequenceEmpty SequenceConstruct SequenceInsert SequenceErase SplitToSequence".split())
_SAME = frozenset("Identity OptionalGetElement".split())
_SCALED = operators(Trait.QUANTISES)  # their other inputs are scales and zero points
# Those that rules emit; others are left to onnx.
_POINTWISE = operators(Trait.ARITHMETIC) | set("Neg Abs Relu Sigmoid Tanh Exp Sqrt Cast HardSigmoid Sign".split())

LIKE = frozenset((("com.microsoft.nchwc", "ReorderInput"), ("onnxcam", "Clamp")))
"""Operators of other domains whose output has the shape and dtype of their input."""

LONG = 2**21  # elements; onnx keeps 130 bytes for each element of a vector that could be a shape

SMALL = 1024  # elements; larger constants are not shapes, axes or pads


def type_of(
    op_type: str, position: int, inputs: Sequence[ir.Value | None], attributes: dict[str, Any]
) -> ir.TypeProtocol | None:
    """Return the type of an operator's output at *position*, None if its inputs do not determine it."""
    if op_type in _SAME and inputs[0] is not None:
        kind = inputs[0].type
        return content(kind) if op_type == "OptionalGetElement" else kind
    dtype = dtype_of(op_type, position, inputs, attributes)
    if dtype is None:
        return None
    return ir.SequenceType(ir.TensorType(dtype)) if op_type in _SEQUENCES else ir.TensorType(dtype)


def dtype_of(
    op_type: str, position: int, inputs: Sequence[ir.Value | None], attributes: dict[str, Any]
) -> ir.DataType | None:
    """Return the dtype of an operator's output at *position*, None if its inputs do not determine it."""
    if op_type in _HOLDERS:
        return None
    if op_type in _BOOL:
        return ir.DataType.BOOL
    if op_type in _INT64 or (op_type in {"MaxPool", "TopK"} and position == 1):
        return ir.DataType.INT64
    if op_type == "LayerNormalization" and position > 0:
        return ir.DataType.FLOAT  # the statistics
    if op_type == "SequenceEmpty":
        return ir.DataType(attributes.get("dtype", ir.DataType.FLOAT))
    if op_type == "Cast":
        return ir.DataType(attributes["to"])
    if op_type == "ConstantOfShape":
        return ir.DataType(attributes["value"].dtype) if "value" in attributes else ir.DataType.FLOAT
    source = {"Where": 1, "CastLike": 1, "OneHot": 2, "DequantizeLinear": 1, "QuantizeLinear": 2}.get(op_type, 0)
    first = inputs[source] if len(inputs) > source else None
    return None if first is None else first.dtype


def shape_of(op_type: str, inputs: Sequence[ir.Value | None], attributes: dict[str, Any]) -> ir.Shape | None:
    """Return the shape of an operator's output if it is the shape of one operand and all others are single numbers."""
    if op_type == "Shape" and inputs[0] is not None and inputs[0].shape is not None:
        axes = range(rank(inputs[0]))[attributes.get("start", 0) : attributes.get("end")]
        return ir.Shape([len(axes)])
    if op_type in _SCALED:
        return None if inputs[0] is None else inputs[0].shape
    shapes = [None if x is None else x.shape for x in inputs]
    if op_type not in _POINTWISE or None in shapes:
        return None
    widest = max(shapes, key=len)  # type: ignore[arg-type]
    others = [shape for shape in shapes if shape is not widest and shape is not None]
    return widest if all(dim == 1 for shape in others for dim in shape) else None


def gradient_dtype(x: ir.Value) -> ir.DataType:
    """Return the dtype of the cotangent of *x*: its own; float32 for integers and unknown dtypes."""
    return x.dtype if x.dtype is not None and x.dtype.is_floating_point() else ir.DataType.FLOAT


def content(kind: ir.TypeProtocol | None) -> ir.TypeProtocol | None:
    """Return the type of the content of an optional of type *kind*; *kind* itself if it is not an optional."""
    return kind.elem_type if isinstance(kind, ir.OptionalType) else kind


def no_numbers(x: ir.Value) -> str | None:
    """Describe *x* and its node if it is not a tensor of numbers; None if it is."""
    if isinstance(content(x.type), ir.SequenceType):
        what = "a sequence"
    elif x.dtype == ir.DataType.STRING:
        what = "a tensor of strings"
    else:
        return None
    node = x.producer()
    return what if node is None else f"{what} (node {node.name!r}, {node.op_type})"


def same(a: int | ir.SymbolicDim, b: int | ir.SymbolicDim) -> bool:
    """Whether two lengths are known to be equal; an unnamed symbolic length is unknown."""
    return a == b and (isinstance(a, int) or a.value is not None)


def rank(x: ir.Value) -> int:
    """Return the number of axes of *x*; ModelError if it is unknown."""
    if x.shape is None:
        node = x.producer()
        raise ModelError(
            f"the shape of tensor {x.name!r} cannot be inferred"
            + (f" (node {node.name!r}, {node.op_type})" if node is not None else "")
            + "; its gradient needs the number of its axes: declare it in the model's value_info"
        )
    return len(x.shape)


def infer_model(model: ir.Model, values: bool = True) -> None:
    """Infer shapes and dtypes by onnx, in place; nothing changes if it fails.

    *values*: also from the values of computed shapes.
    """
    try:
        proto = call_onnx(partial(inferred_by_onnx, values=values), model)
    except Exception:  # onnx's C++ raises errors of many types
        return
    pairs = list(_inferred(model.graph, proto.graph))
    shared = shared_lengths(found for _, found in pairs)
    for value, found in pairs:
        value.type = found.type or value.type
        value.shape = value.shape if found.shape is None else without(found.shape, shared)
    for node in all_nodes(model.graph):
        if node.op_type == "Attention" and node.domain == "":  # onnx infers 0 for unknown lengths
            for y in node.outputs:
                y.shape = y.shape and ir.Shape([dim if dim != 0 else None for dim in y.shape])


def _inferred(graph: ir.Graph, proto: onnx.GraphProto) -> Iterator[tuple[ir.Value, ir.Value]]:
    """Yield the values of *graph* and its subgraphs that *proto*, the same graph, declares, and its declarations."""
    found = {each.name: each for each in (*proto.input, *proto.value_info, *proto.output)}
    for value in (*graph.inputs, *(y for node in graph for y in node.outputs)):
        if value.name in found:
            yield value, ir.serde.deserialize_value_info_proto(found[value.name], None)
    for node, twin in zip(graph, proto.node, strict=True):
        inner = [attribute.g for attribute in twin.attribute if attribute.HasField("g")]
        for body, each in zip(bodies(node), inner, strict=True):
            yield from _inferred(body, each)


def infer_nodes(nodes: Sequence[ir.Node], opset: int | None = None) -> None:
    """Infer the outputs of *nodes*, in topological order, from their inputs."""
    stand_ins: dict[ir.Value | None, ir.Value | None] = {None: None}
    for value in (value for node in nodes for value in (*node.inputs, *captured(*bodies(node)), *node.outputs)):
        if value not in stand_ins and value is not None:
            small = value.const_value if value.const_value is not None and value.const_value.size <= SMALL else None
            stand_ins[value] = ir.Value(name=value.name, shape=value.shape, type=value.type, const_value=small)
    made = {y for node in nodes for y in node.outputs}
    given = [copy for value, copy in stand_ins.items() if copy is not None and value not in made]
    copies = [_copy(node, stand_ins) for node in nodes]
    graph = ir.Graph(
        [value for value in given if value.const_value is None],
        [],
        nodes=copies,
        initializers=[value for value in given if value.const_value is not None],
        opset_imports={"": opset or onnx_opset_version(), **{node.domain: 1 for node in nodes if node.domain}},
        name="emitted",
    )
    infer_model(ir.Model(graph, ir_version=10), all(_is_short(value) for value in stand_ins))
    symbols = {str(dim) for copy in given for dim in copy.shape or () if not isinstance(dim, int)}
    for value in made:
        copy = stand_ins[value]
        if copy is None:
            continue
        value.type = value.type or copy.type
        if value.shape is None and copy.shape is not None:  # symbols made up by onnx are not unique
            value.shape = ir.Shape([d if isinstance(d, int) or str(d) in symbols else None for d in copy.shape])


def _is_short(value: ir.Value | None) -> bool:
    shape = None if value is None else value.shape
    return shape is None or len(shape) != 1 or not isinstance(shape[0], int) or shape[0] <= LONG


def _copy(node: ir.Node, stand_ins: dict[ir.Value | None, ir.Value | None]) -> ir.Node:
    outputs = [copy for y in node.outputs if (copy := stand_ins[y]) is not None]
    like = (node.domain, node.op_type) in LIKE
    return ir.Node(
        "" if like else node.domain,
        "Identity" if like else node.op_type,
        [stand_ins[x] for x in node.inputs],
        [] if like else list(node.attributes.values()),
        outputs=outputs,
        name=node.name,
    )
