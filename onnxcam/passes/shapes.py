"""Shapes and dtypes of every tensor are inferred, as far as they are known before the model runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx
import onnx_ir as ir
from onnx.defs import onnx_opset_version
from onnx.shape_inference import infer_shapes as infer_by_onnx

from onnxcam.autodiff.infer import same
from onnxcam.autodiff.subgraph import bodies, captured, values
from onnxcam.graph import call_onnx

SHAPELESS = frozenset(("GroupNormalization", "MeanVarianceNormalization"))
"""Operators whose output is like their input, which onnx cannot infer."""

LIKE = frozenset((("com.microsoft.nchwc", "ReorderInput"), ("onnxcam", "Clamp")))
"""The same of other domains."""

MADE_UP = "unk__"
"""What the names begin with that onnx gives to lengths."""

SMALL = 1024  # elements; constants of this size may be shapes, axes or pads


def infer_shapes(model: ir.Model, anew: bool = False) -> None:
    """Infer shapes and dtypes in place; tensors behind operators of unknown domains stay unknown.

    *anew*: also where all of them are known, as the graph has changed.
    """
    declared = _doubt_loops(model)
    known = all(_is_known(y) for graph in model.graphs() for node in graph for y in node.outputs if y.name)
    if known and not anew and not declared:
        return
    _infer(model)
    while _fill(model.graph) or _fill_composed(model.graph) or _fill_loops(model) or _declare(declared):
        _infer(model)


def _infer(model: ir.Model) -> None:
    """Have onnx infer what it can; it leaves *model* as it is where it fails."""
    try:
        proto = call_onnx(_inferred, model)
    except Exception:  # whatever onnx's C++ raises on what it does not know
        return
    pairs = zip(model.graphs(), ir.serde.deserialize_model(proto).graphs(), strict=True)
    mappings = [tuple(map(ir.convenience.create_value_mapping, graphs)) for graphs in pairs]
    lists = [x for _, found in mappings for x in found.values() if isinstance(x.type, ir.SequenceType)]
    shared = {dim for x in lists for dim in x.shape or () if str(dim).startswith(MADE_UP)}
    for own, found in mappings:
        for name, value in own.items():
            if name in found:
                value.type = found[name].type or value.type
                value.shape = value.shape if found[name].shape is None else _without(found[name].shape, shared)


def _without(shape: ir.Shape | None, shared: set[int | ir.SymbolicDim]) -> ir.Shape | None:
    """Return *shape* without lengths that onnx made up for the elements of a list: they are not all as long."""
    if not shared or shape is None or shared.isdisjoint(shape):
        return shape
    return ir.Shape([None if dim in shared else dim for dim in shape])


def _inferred(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Infer shapes by onnx, which takes the elements of a list that a Loop carries to be as those at its start."""
    inferred = infer_by_onnx(proto, strict_mode=False, data_prop=True)
    lists = _open_lists(proto.graph, inferred.graph, {})
    if not lists:
        return inferred
    proto.graph.input.extend(lists)
    return infer_by_onnx(proto, strict_mode=False, data_prop=True)


def _open_lists(graph: onnx.GraphProto, inferred: onnx.GraphProto, types: dict[str, Any]) -> list[onnx.ValueInfoProto]:
    """Have Loops in *graph* start with other lists, whose elements have no known shape; return these."""
    loops = [node for node in graph.node if node.op_type in {"Loop", "If", "Scan"}]
    if not loops:
        return []
    given = [*inferred.input, *inferred.value_info, *inferred.output]
    types = {**types, **{value.name: value.type for value in given}}
    lists: list[onnx.ValueInfoProto] = []
    for node, twin in zip(graph.node, inferred.node, strict=True):
        for k, name in enumerate(node.input if node.op_type == "Loop" else ()):
            if name in types and types[name].sequence_type.elem_type.tensor_type.HasField("shape"):
                lists.append(onnx.ValueInfoProto(name=f"{name}.{len(lists)}.{graph.name}", type=types[name]))
                lists[-1].type.sequence_type.elem_type.tensor_type.ClearField("shape")
                node.input[k] = lists[-1].name
        for mine, theirs in zip(node.attribute, twin.attribute, strict=True):
            if mine.HasField("g"):
                lists += _open_lists(mine.g, theirs.g, types)
    return lists


def _is_known(value: ir.Value) -> bool:
    return value.dtype is not None and value.shape is not None and not value.shape.has_unknown_dim()


def _fill(graph: ir.Graph) -> bool:
    """Give outputs that onnx could not infer the shape and dtype of their inputs; tell whether there were any."""
    filled = False
    for node in graph:
        if node.op_type in SHAPELESS and node.domain == "":
            x, y = node.inputs[0], node.outputs[0]
            if x is not None and x.shape is not None and y.shape is None:
                y.shape, y.type = x.shape, x.type
                filled = True
    return filled


def _doubt_loops(model: ir.Model) -> dict[ir.Value, ir.Shape | None]:
    """Forget shapes that are declared for what loops carry, where they are not the same before and after a step.

    PyTorch declares the shapes of the first step. Return what the shapes before and after a step have in common.
    """
    declared = {}
    for node in [node for graph in model.graphs() for node in graph if node.op_type == "Loop"]:
        body = node.attributes["body"].as_graph()
        for before, after in zip(body.inputs[2:], body.outputs[1:], strict=False):
            common = _common(before.shape, after.shape)
            if common is None or not all(isinstance(dim, int) or dim.value for dim in common):
                declared[before], before.shape, after.shape = common, None, None
    return declared


def _declare(shapes: dict[ir.Value, ir.Shape | None]) -> bool:
    """Give those values *shapes* which have none; tell whether there were any."""
    open_ = [value for value, shape in shapes.items() if shape is not None and value.shape is None]
    for value in open_:
        value.shape = shapes[value]
    return bool(open_)


def _fill_loops(model: ir.Model) -> bool:
    """Give what loops carry the shape that it keeps on the way; tell whether anything was found."""
    loops = [node for graph in model.graphs() for node in graph if node.op_type == "Loop"]
    settled = [_settle(node, model.opset_imports.get("")) for node in loops]
    return any(settled)


def _settle(node: ir.Node, opset: int | None) -> bool:
    """Find the shapes of what a Loop carries: onnx takes it that these may change, and tells nothing.

    A state has the shape that it starts with if a step leaves it so; an axis that a step changes is open. Of a state of
    which onnx cannot tell what a step makes, only the number of axes is taken to stay.
    """
    body = node.attributes["body"].as_graph()
    carried = zip(node.inputs[2:], body.inputs[2:], body.outputs[1:], strict=False)
    open_ = [(x.shape, before, after) for x, before, after in carried if x is not None and before.shape is None]
    states, guesses = [(before, after) for _, before, after in open_], [shape for shape, _, _ in open_]
    known = {value: value.shape for value in values(body)}
    while any(guess is not None for guess in guesses):
        for (before, _), guess in zip(states, guesses, strict=True):
            before.shape = guess
        infer_nodes(list(body), opset)
        found = [_common(guess, after.shape) for guess, (_, after) in zip(guesses, states, strict=True)]
        if found == guesses:
            return True
        guesses = found
        for value, shape in known.items():
            value.shape = shape
    return False


def _common(before: ir.Shape | None, after: ir.Shape | None) -> ir.Shape | None:
    """Return what two shapes have in common, None where their numbers of axes differ."""
    if before is None or (after is not None and len(after) != len(before)):
        return None
    dims = list(before)
    return ir.Shape([a if after is not None and same(a, b) else None for a, b in zip(dims, after or dims, strict=True)])


def _fill_composed(graph: ir.Graph) -> bool:
    """Infer what operators of other domains give, and what follows them; tell whether anything was found."""
    from onnxcam.autodiff.rules.compose import infer_composed  # rules stand behind passes

    return infer_composed(graph)


def infer_nodes(nodes: Sequence[ir.Node], opset: int | None = None) -> None:
    """Infer the outputs of *nodes*, which stand in order, from what is known of their inputs."""
    twins: dict[ir.Value | None, ir.Value | None] = {None: None}
    for value in (x for node in nodes for x in (*node.inputs, *captured(*bodies(node)), *node.outputs)):
        if value not in twins and value is not None:
            small = value.const_value if value.const_value is not None and value.const_value.size <= SMALL else None
            twins[value] = ir.Value(name=value.name, shape=value.shape, type=value.type, const_value=small)
    made = {y for node in nodes for y in node.outputs}
    given = [twin for value, twin in twins.items() if twin is not None and value not in made]
    copies = [_copy(node, twins) for node in nodes]
    graph = ir.Graph(
        [value for value in given if value.const_value is None],
        [],
        nodes=copies,
        initializers=[value for value in given if value.const_value is not None],
        opset_imports={"": opset or onnx_opset_version(), **{node.domain: 1 for node in nodes if node.domain}},
        name="emitted",
    )
    _infer(ir.Model(graph, ir_version=10))
    symbols = {str(dim) for twin in given for dim in twin.shape or () if not isinstance(dim, int)}
    for value in made:
        twin = twins[value]
        if twin is None:
            continue
        value.type = value.type or twin.type
        if value.shape is None and twin.shape is not None:  # symbols that onnx made up are not unique
            value.shape = ir.Shape([d if isinstance(d, int) or str(d) in symbols else None for d in twin.shape])


def _copy(node: ir.Node, twins: dict[ir.Value | None, ir.Value | None]) -> ir.Node:
    outputs = [twin for y in node.outputs if (twin := twins[y]) is not None]
    like = (node.domain, node.op_type) in LIKE
    return ir.Node(
        "" if like else node.domain,
        "Identity" if like else node.op_type,
        [twins[x] for x in node.inputs],
        [] if like else list(node.attributes.values()),
        outputs=outputs,
        name=node.name,
    )
