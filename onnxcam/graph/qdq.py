"""Bring a quantised model into one form: QuantizeLinear and DequantizeLinear around float operators; integer weights.

Operators on integers, such as QLinearConv, become DequantizeLinear, the float operator and QuantizeLinear. ONNX Runtime
writes such operators in the format QOperator, and in the models that it has optimised. Weights that a file stores as
floats in front of QuantizeLinear, as exporters of quantisation-aware training do, become integers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import RemoveUnusedNodesPass

from onnxcam.errors import ModelError
from onnxcam.graph.compositions import Compositions
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.fold import FOLDS, constant
from onnxcam.graph.packed_weights import unpacked_product
from onnxcam.graph.quantisers import MOVES, Quantiser, integer_type

__all__ = ["fold_weights", "has_integer_operators", "is_quantised", "lower_to_qdq"]

_PREFIX = "QLinear"
_OTHERS = {"MatMulIntegerToFloat", "MatMulNBits", "NhwcMaxPool", "QAttention", "QGemm"}
_DYNAMIC = {"ConvInteger", "DynamicQuantizeLinear", "DynamicQuantizeLSTM", "DynamicQuantizeMatMul", "MatMulInteger"}
"""Operators of dynamic quantisation, and those on integers without units."""

_BETWEEN = {
    **dict.fromkeys(("ArgMax", "ArgMin", "GlobalMaxPool", "ReduceMax", "ReduceMin", "Resize", "Upsample"), (0,)),
    "Pad": (0, 2),
}
"""Operators that may read integers and keep their units, and their inputs that are such integers."""


def has_integer_operators(model: ir.Model) -> bool:
    """Return whether an operator of *model* computes with integers."""
    return any(_computes_with_integers(node) or node.op_type in _DYNAMIC for node in model.graph)


def is_quantised(model: ir.Model) -> bool:
    """Return whether *model* quantises an activation, or holds integer weights."""
    return has_integer_operators(model) or any(
        node.op_type == "QuantizeLinear"
        or (node.op_type == "DequantizeLinear" and constant(_source(node.inputs[0])[0]) is not None)
        for node in model.graph
    )


def lower_to_qdq(model: ir.Model, compositions: Compositions) -> None:
    """Replace the operators on integers of a canonical *model*, in place; their integer tensors keep their names.

    Raises:
        ModelError: an operator computes its scale at run time, or has no composition.
    """
    graph = model.graph
    op = Emitter(graph)
    made: list[ir.Value] = []
    for node in list(graph):
        if node.op_type in _DYNAMIC:
            raise ModelError(
                f"operator {node.op_type} (node '{node.name}') quantises with a scale that it computes at run time; "
                "quantise the model statically (quantize_static in onnxruntime.quantization)"
            )
        if _computes_with_integers(node):
            made += _replaced(op, node, _composed(op, node, compositions))
        elif node.op_type in _BETWEEN and (units := _units(node.inputs[0])) is not None:
            made += _replaced(op, node, [_between(op, node, *units)])
    if made:
        op.place(made)
        graph.sort()


def _computes_with_integers(node: ir.Node) -> bool:
    return node.op_type.startswith(_PREFIX) or (node.op_type in _OTHERS and node.domain == "com.microsoft")


def _composed(op: Emitter, node: ir.Node, compositions: Compositions) -> list[ir.Value | None]:
    """Emit *node* in float operators; return its outputs."""
    if node.op_type == "MatMulNBits":
        return [unpacked_product(op, node)]
    if (node.domain, node.op_type) not in compositions:
        raise ModelError(
            f"operator {node.domain}::{node.op_type} (node '{node.name}') computes with integers and has no float "
            "form; give a model in QDQ form (quant_format=QuantFormat.QDQ in onnxruntime.quantization)"
        )
    nodes, ys = compositions.compose(op, node)
    _name(op, node, nodes)
    return ys


def _units(x: ir.Value | None) -> tuple[ir.Value, ir.Value | None] | None:
    """Return scale and zero point of the integers *x*, if an operator wrote them; None if not."""
    x = _source(x)[0]
    node = None if x is None else x.producer()
    if node is None or node.op_type != "QuantizeLinear" or node.inputs[1] is None:
        return None
    return node.inputs[1], (*node.inputs, None)[2]


def _source(x: ir.Value | None) -> tuple[ir.Value | None, list[ir.Node]]:
    """Return the integers that *x* holds moved, and the operators from there to *x*."""
    moves: list[ir.Node] = []
    while x is not None and (mover := x.producer()) is not None and mover.op_type in MOVES:
        moves.insert(0, mover)
        x = mover.inputs[0]
    return x, moves


def _between(op: Emitter, node: ir.Node, scale: ir.Value, zero: ir.Value | None) -> ir.Value:
    """Emit *node*, which computes with integers in units that it keeps, between DequantizeLinear and QuantizeLinear."""
    inputs = list(node.inputs)
    for place in _BETWEEN[node.op_type]:
        x = inputs[place] if place < len(inputs) else None
        if x is not None:
            inputs[place] = _real(op, x, scale, zero)
    attributes = {
        name: list(one.value) if isinstance(one.value, tuple) else one.value for name, one in node.attributes.items()
    }
    y = op.emit(node.op_type, inputs, attributes=attributes)
    y.shape = node.outputs[0].shape
    return y if node.op_type.startswith("Arg") else op.QuantizeLinear(y, scale, zero)


def _real(op: Emitter, x: ir.Value, scale: ir.Value, zero: ir.Value | None) -> ir.Value:
    """Emit the real numbers of the integers *x*: a constant, if they are known."""
    codes, step, shift = constant(x), constant(scale), constant(zero)
    if codes is None or step is None or (shift is None and zero is not None):
        return op.DequantizeLinear(x, scale, zero)
    return op.const(
        ((codes.astype(np.int64) - (0 if shift is None else shift.astype(np.int64))) * step).astype(step.dtype)
    )


def _replaced(op: Emitter, node: ir.Node, ys: Sequence[ir.Value | None]) -> list[ir.Value]:
    """Put *ys* in place of the outputs of *node*, under their names; return them."""
    made = []
    for own, y in zip(node.outputs, ys, strict=True):
        if y is None:
            continue
        name, y = own.name or "", op.call(y, own.name or "")
        own.replace_all_uses_with(y, replace_graph_outputs=True)
        own.name, y.name = f"{name}.lowered", name
        y.shape, y.type = y.shape or own.shape, y.type or own.type
        made.append(y)
    assert isinstance(node.graph, ir.Graph)
    node.graph.remove(node, safe=True)
    return made


def _name(op: Emitter, node: ir.Node, nodes: list[ir.Node]) -> None:
    """Give the name of *node* to the float operator among *nodes*, and a name from it to its real output."""
    for one in nodes:
        if one.op_type == "QuantizeLinear" and one.inputs[0] is not None:
            real = one.inputs[0]
            if real.producer() in nodes and real.name and real.name.startswith("onnxcam."):
                real.name = op.name(f"{node.outputs[0].name}.real")
        elif one.op_type == node.op_type.removeprefix(_PREFIX):
            one.name = node.name


def fold_weights(model: ir.Model) -> dict[str, NDArray[Any]]:
    """Make constants, in place, of integers that DequantizeLinear reads and that depend on no input.

    Return the floats that some of them were made of, by the name of DequantizeLinear's output.
    """
    floats: dict[str, NDArray[Any]] = {}
    known: dict[ir.Value, _Weight] = {}
    count = len(model.graph)
    for node in list(model.graph):
        x = node.inputs[0] if node.op_type == "DequantizeLinear" else None
        if x is None:
            continue
        found = _weight(x) if x not in known else known[x]
        if found is None:
            _dequantise_first(model.graph, node)
            continue
        integers, real = found
        if constant(x) is None:
            known[_as_constant(model.graph, x, integers)] = found
        if real is not None:
            floats[node.outputs[0].name or ""] = real
    if len(model.graph) != count or known:
        RemoveUnusedNodesPass()(model)
    return floats


def _dequantise_first(graph: ir.Graph, node: ir.Node) -> None:
    """Let DequantizeLinear *node* read the integer constant behind the operators in front of it, such as Gather."""
    (x, moves), scale = _source(node.inputs[0]), constant(node.inputs[1])
    if x is None or constant(x) is None or scale is None or scale.size != 1:
        return
    value = _added(graph, node, ir.node("DequantizeLinear", [x, *node.inputs[1:]]), 0, x.shape)
    for mover, reader in zip(moves, [*moves[1:], node], strict=True):
        old = reader.inputs[0]
        place = next(i for i, y in enumerate(mover.outputs) if y is old)
        copy = ir.node(mover.op_type, [value, *mover.inputs[1:]], mover.attributes, num_outputs=len(mover.outputs))
        value = _added(graph, node, copy, place, mover.outputs[place].shape)
    y = node.outputs[0]
    name, y.name = y.name, f"{y.name}.integers"
    y.replace_all_uses_with(value, replace_graph_outputs=True)
    value.name = name
    graph.remove(node, safe=True)


def _added(graph: ir.Graph, before: ir.Node, node: ir.Node, place: int, shape: ir.Shape | None) -> ir.Value:
    """Insert *node*, which computes floats, in front of *before*; return its output number *place*."""
    graph.insert_before(before, node)
    y = node.outputs[place]
    y.name, y.shape, y.type = f"{before.outputs[0].name}.{len(graph)}", shape, before.outputs[0].type
    return y


_Weight = tuple[NDArray[Any], NDArray[Any] | None]  # the integers, and the floats that they were made of


def _weight(x: ir.Value | None) -> _Weight | None:
    """Return the constant *x* and the floats that it was made of; None if it depends on an input."""
    array, node = constant(x), None if x is None else x.producer()
    if array is not None:
        return array, None
    made = None if node is None or not node.inputs else _weight(node.inputs[0])
    if made is None or node is None:
        return None
    values, real = made
    if node.op_type == "QuantizeLinear" and node.inputs[0] is not None:
        quantiser = Quantiser.of(node, "weight", node.outputs[0], node.inputs[0], integer_type(node))
        return quantiser.integers(values).astype(quantiser.dtype), values
    rest, move = [constant(x) for x in node.inputs[1:]], _MOVES.get(node.op_type)
    if move is None or any(array is None for array in rest):
        return None
    moved = move(values, *rest, **{name: attr.value for name, attr in node.attributes.items()})
    if real is not None and node.op_type != "Clip":
        real = move(real, *rest, **{name: attr.value for name, attr in node.attributes.items()})
    return moved, real


_MOVES: dict[str, Callable[..., NDArray[Any]]] = {
    **{name: FOLDS[name] for name in ("Reshape", "Squeeze", "Unsqueeze")},
    "Clip": lambda data, low, high: np.clip(data, low, high),
    "Identity": lambda data: data,
    "Transpose": lambda data, perm=None: np.transpose(data, perm),
}
"""Operators that may stand between a weight's constant and its DequantizeLinear."""


def _as_constant(graph: ir.Graph, x: ir.Value, array: NDArray[Any]) -> ir.Value:
    """Put a constant in place of *x*, under its name."""
    name, x.name = x.name, None
    made = ir.val(name, const_value=ir.tensor(array, name=name))
    graph.register_initializer(made)
    x.replace_all_uses_with(made)
    return made
