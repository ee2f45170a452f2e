"""Lower the default domain of a model to an older opset, for an older runtime.

onnx's converter lowers few operators. Here, a node is kept if the older definition accepts it, the few operators that
changed are rewritten, and newer operators are expanded to their ONNX function bodies. A node that an older opset cannot
express is an error; its meaning never changes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir
from onnx.defs import OpSchema, SchemaError, get_schema

from onnxcam.autodiff.rules import STANDARD
from onnxcam.autodiff.rules.bodies import by_body
from onnxcam.errors import MissingRuleError, ModelError
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.fold import constant
from onnxcam.graph.subgraph import graphs, prune
from onnxcam.passes.constants import fold_shapes
from onnxcam.passes.shapes import infer_shapes

__all__ = ["OLDEST", "lower_opset"]

OLDEST = 13  # before it, Softmax has another meaning, and all axes are attributes


def lower_opset(model: ir.Model, version: int) -> None:
    """Lower *model* to opset *version*, in place; names, weights and metadata are kept.

    Raises:
        ModelError: a node cannot be expressed in this opset, or it is older than 13.
    """
    if version < OLDEST:
        raise ModelError(f"{OLDEST} is the oldest")
    infer_shapes(model, STANDARD.compositions, anew=True)
    while fold_shapes(model):
        infer_shapes(model, STANDARD.compositions, anew=True)
    now = model.opset_imports[""]
    for graph in list(graphs(model.graph)):
        while newer := [node for node in graph if node.domain == "" and _is_new(node, now, version)]:
            for node in newer:
                _expand(graph, node, now, version)
            graph.sort()
        for node in [node for node in graph if node.domain == ""]:
            _lower(graph, node, now, version)
    model.opset_imports[""] = version
    prune(model.graph)


def _is_new(node: ir.Node, now: int, version: int) -> bool:
    return _schema(node, now) is not None and _schema(node, version) is None


def _expand(graph: ir.Graph, node: ir.Node, now: int, version: int) -> None:
    """Replace an operator that the older opset lacks by its function body."""
    op = Emitter(graph, "onnxcam.older", opset=now)
    try:
        made = by_body(op, node, *node.inputs)
    except MissingRuleError:
        raise _inexpressible(node, f"it came with opset {_came(node, version, now)}") from None
    pairs = [(own, op.alias(y)) for own, y in zip(node.outputs, made, strict=False) if y is not None and own.name]
    op.place(y for _, y in pairs)
    for own, y in pairs:
        y.type, y.shape = own.type or y.type, own.shape or y.shape
        own.name, y.name = None, own.name
        own.replace_all_uses_with(y, replace_graph_outputs=True)
    graph.remove(node, safe=True)


def _lower(graph: ir.Graph, node: ir.Node, now: int, version: int) -> None:
    newer, older = _schema(node, now), _schema(node, version)
    if newer is None or older is None or newer.since_version == older.since_version:
        return
    rule = next((rule for names, since, rule in _CHANGED if node.op_type in names and version < since <= now), None)
    if rule is not None:
        rule(graph, node)
    _drop_defaults(node, newer, older)
    _check_inputs(node, older)


def _drop_defaults(node: ir.Node, newer: OpSchema, older: OpSchema) -> None:
    """Remove attributes that the older definition lacks; they must have their default values."""
    for name in [name for name in node.attributes if name not in older.attributes]:
        given = ir.serde.serialize_attribute(node.attributes[name])
        usual = newer.attributes[name].default_value if name in newer.attributes else None
        if usual is None or (given.i, given.f, given.s) != (usual.i, usual.f, usual.s):
            raise _inexpressible(node, f"its attribute {name!r} is newer")
        node.attributes.pop(name)


def _check_inputs(node: ir.Node, older: OpSchema) -> None:
    given = [value for value in node.inputs if value is not None]
    if len(given) > older.max_input:
        raise _inexpressible(node, f"it has {len(given)} inputs, but the older definition takes {older.max_input}")
    allowed = {each.type_param_str: each.allowed_type_strs for each in older.type_constraints}
    for value, formal in zip(node.inputs, older.inputs, strict=False):
        kind = f"tensor({str(value.dtype).lower()})" if value is not None and value.dtype is not None else ""
        if (
            kind
            and isinstance(value and value.type, ir.TensorType)
            and kind not in allowed.get(formal.type_str, [kind])
        ):
            raise _inexpressible(node, f"the older definition does not take {kind}")


def _reduce(graph: ir.Graph, node: ir.Node) -> None:
    """Reduce operators: the axes were an attribute."""
    axes = constant(_input(node, 1))
    if axes is not None:
        node.attributes["axes"] = ir.AttrInt64s("axes", axes.reshape(-1).tolist())
    elif len(node.inputs) > 1 and node.inputs[1] is not None:
        raise _inexpressible(node, "its axes are known at run time only")
    _keep_inputs(node, 1)


def _reshape(graph: ir.Graph, node: ir.Node) -> None:
    """Reshape: a zero always kept the length of the axis."""
    shape = constant(_input(node, 1))
    if "allowzero" in node.attributes and (shape is None or (shape != 0).all()):
        if shape is None and node.attributes["allowzero"].as_int():
            raise _inexpressible(
                node, "a zero in its shape, which is known at run time only, keeps the length of the axis in this opset"
            )
        node.attributes.pop("allowzero")


def _pad(graph: ir.Graph, node: ir.Node) -> None:
    """Pad: pads were given for all axes."""
    axes, pads, x = constant(_input(node, 3)), constant(_input(node, 1)), node.inputs[0]
    if len(node.inputs) < 4 or node.inputs[3] is None:
        _keep_inputs(node, 3)
        return
    if axes is None or pads is None or x is None or x.shape is None:
        raise _inexpressible(node, "which axes it pads, and how far, is known at run time only")
    whole = np.zeros((2, len(x.shape)), np.int64)
    whole[:, axes.reshape(-1)] = pads.reshape(2, -1)
    node.replace_input_with(1, _initializer(graph, node, "pads", whole.reshape(-1)))
    _keep_inputs(node, 3)


def _shape(graph: ir.Graph, node: ir.Node) -> None:
    """Shape: it gave all lengths; a Slice takes some of them."""
    cuts = {name: node.attributes.pop(name).as_int() for name in ("start", "end") if name in node.attributes}
    if not cuts:
        return
    wanted = node.outputs[0]
    whole = ir.Node("", "Shape", node.inputs, name=f"{node.name}.all")
    whole.outputs[0].name, whole.outputs[0].type = f"{wanted.name}.all", wanted.type
    ends = {"start": 0, "end": np.iinfo(np.int64).max, **cuts}
    some = ir.Node("", "Slice", [whole.outputs[0], *(_initializer(graph, node, *end) for end in ends.items())])
    taken = some.outputs[0]
    taken.name, taken.type, taken.shape, some.name = wanted.name, wanted.type, wanted.shape, node.name
    graph.insert_before(node, [whole, some])
    wanted.replace_all_uses_with(taken, replace_graph_outputs=True)
    graph.remove(node, safe=True)


def _split(graph: ir.Graph, node: ir.Node) -> None:
    """Split: the number of parts was the number of outputs, all of equal length."""
    parts = node.attributes.pop("num_outputs", None)
    x, axis = node.inputs[0], node.attributes.get_int("axis", 0)
    length = x.shape[axis] if x is not None and x.shape is not None else None
    if parts is None or (len(node.inputs) > 1 and node.inputs[1] is not None):
        return
    if not isinstance(length, int) or length % parts.as_int():
        raise _inexpressible(node, "its parts may be unequal")


def _grid_sample(graph: ir.Graph, node: ir.Node) -> None:
    """GridSample: the modes had other names."""
    names = {"linear": "bilinear", "cubic": "bicubic", "nearest": "nearest"}
    mode = node.attributes.get_string("mode", "linear")
    node.attributes["mode"] = ir.AttrString("mode", names.get(mode, mode))


def _roi_align(graph: ir.Graph, node: ir.Node) -> None:
    """RoiAlign: regions were never shifted by half a pixel."""
    mode = node.attributes.pop("coordinate_transformation_mode", None)
    if mode is None or mode.as_string() != "output_half_pixel":
        raise _inexpressible(node, "regions cannot be shifted by half a pixel in this opset")


def _meaning(graph: ir.Graph, node: ir.Node) -> None:
    raise _inexpressible(node, "it has another meaning in this opset")


_CHANGED: Sequence[tuple[frozenset[str], int, Callable[[ir.Graph, ir.Node], None]]] = (
    (frozenset(f"Reduce{kind}" for kind in "L1 L2 LogSum LogSumExp Max Mean Min Prod SumSquare".split()), 18, _reduce),
    (frozenset(("Reshape",)), 14, _reshape),
    (frozenset(("Pad",)), 18, _pad),
    (frozenset(("Split",)), 18, _split),
    (frozenset(("Shape",)), 15, _shape),
    (frozenset(("GridSample",)), 20, _grid_sample),
    (frozenset(("RoiAlign",)), 16, _roi_align),
    (frozenset(("GroupNormalization",)), 21, _meaning),
    (frozenset(("DFT",)), 20, _meaning),
)


def _input(node: ir.Node, position: int) -> ir.Value | None:
    return node.inputs[position] if position < len(node.inputs) else None


def _initializer(graph: ir.Graph, node: ir.Node, name: str, numbers: np.ndarray | int) -> ir.Value:
    array = np.atleast_1d(np.asarray(numbers, np.int64))
    tensor = ir.tensor(array, name=f"{node.outputs[0].name}.{name}")
    kind = ir.TensorType(tensor.dtype)
    value = ir.Value(name=tensor.name, type=kind, shape=ir.Shape(array.shape), const_value=tensor)
    graph.register_initializer(value)
    return value


def _keep_inputs(node: ir.Node, count: int) -> None:
    node.resize_inputs(min(count, len(node.inputs)))


def _schema(node: ir.Node, version: int) -> OpSchema | None:
    try:
        return get_schema(node.op_type, version, "")
    except SchemaError:
        return None


def _came(node: ir.Node, version: int, now: int) -> int:
    return next(at for at in range(version, now + 1) if _schema(node, at) is not None)


def _inexpressible(node: ir.Node, why: str) -> ModelError:
    return ModelError(f"node {node.name!r} ({node.op_type}): {why}")
