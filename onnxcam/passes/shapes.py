"""Shapes and dtypes of every tensor are inferred, as far as they are known before the model runs."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir
from onnx.defs import onnx_opset_version
from onnx.shape_inference import infer_shapes as infer_by_onnx

from onnxcam.graph import call_onnx

SHAPELESS = frozenset(("GroupNormalization", "MeanVarianceNormalization"))
"""Operators whose output is like their input, which onnx cannot infer."""

LIKE = frozenset((("com.microsoft.nchwc", "ReorderInput"), ("onnxcam", "Clamp")))
"""The same of other domains."""

SMALL = 1024  # elements; constants of this size may be shapes, axes or pads


def infer_shapes(model: ir.Model, anew: bool = False) -> None:
    """Infer shapes and dtypes in place; tensors behind operators of unknown domains stay unknown.

    *anew*: also where all of them are known, as the graph has changed.
    """
    if not anew and all(_is_known(y) for graph in model.graphs() for node in graph for y in node.outputs if y.name):
        return
    _infer(model)
    while _fill(model.graph) or _fill_composed(model.graph) or _fill_loops(model):
        _infer(model)


def _infer(model: ir.Model) -> None:
    """Have onnx infer what it can; it leaves *model* as it is where it fails."""
    try:
        proto = call_onnx(lambda twin: infer_by_onnx(twin, strict_mode=False, data_prop=True), model)
    except Exception:  # whatever onnx's C++ raises on what it does not know
        return
    for graph, inferred in zip(model.graphs(), ir.serde.deserialize_model(proto).graphs(), strict=True):
        found = ir.convenience.create_value_mapping(inferred)
        for name, value in ir.convenience.create_value_mapping(graph).items():
            if name in found:
                value.type = found[name].type or value.type
                value.shape = value.shape if found[name].shape is None else found[name].shape


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


def _fill_loops(model: ir.Model) -> bool:
    """Give what loops carry as many axes as it starts with: onnx takes it that these may change, and tells nothing."""
    filled = False
    for node in [node for graph in model.graphs() for node in graph if node.op_type == "Loop"]:
        body = node.attributes["body"].as_graph()
        for x, before, after in zip(node.inputs[2:], body.inputs[2:], body.outputs[1:], strict=False):
            if x is not None and x.shape is not None and before.shape is None and after.shape is None:
                before.shape = ir.Shape([None] * len(x.shape))
                filled = True
    return filled


def _fill_composed(graph: ir.Graph) -> bool:
    """Infer what operators of other domains give, and what follows them; tell whether anything was found."""
    from onnxcam.autodiff.rules.compose import infer_composed  # rules stand behind passes

    return infer_composed(graph)


def infer_nodes(nodes: Sequence[ir.Node], opset: int | None = None) -> None:
    """Infer the outputs of *nodes*, which stand in order, from what is known of their inputs."""
    twins: dict[ir.Value | None, ir.Value | None] = {None: None}
    for value in (value for node in nodes for value in (*node.inputs, *node.outputs)):
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
