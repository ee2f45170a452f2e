"""Undo the Flatten and Reshape around a softmax that onnx's version converter adds."""

from __future__ import annotations

import onnx_ir as ir

from onnxcam.graph.subgraph import all_nodes

__all__ = ["restore_softmax"]

_KINDS = ("Softmax", "LogSoftmax", "Hardmax")


def restore_softmax(model: ir.Model) -> None:
    """Replace Flatten, Softmax and Reshape to the first shape by one Softmax, where it runs along the last axis.

    Before opset 13, Softmax flattens its input. onnx's converter writes this out where it does not know the rank.
    """
    for node in list(all_nodes(model.graph)):
        if node.op_type in _KINDS:
            _restore(node)


def _restore(node: ir.Node) -> None:
    flat, back = node.inputs[0], _only_use(node.outputs[0])
    flatten = None if flat is None else flat.producer()
    if flatten is None or flatten.op_type != "Flatten" or back is None or back.op_type != "Reshape":
        return
    x, shape = flatten.inputs[0], back.inputs[1]
    measure = None if shape is None else shape.producer()
    if x is None or measure is None or measure.op_type != "Shape" or measure.inputs[0] is not x:
        return
    x.shape = back.outputs[0].shape if x.shape is None else x.shape
    last = -1 if x.shape is None else len(x.shape) - 1
    if flatten.attributes.get_int("axis", 1) in (-1, last) and node.graph is not None:
        y = back.outputs[0]
        node.replace_input_with(0, x)
        node.attributes["axis"] = ir.AttrInt64("axis", -1)
        name, kind, known = y.name, y.type, y.shape
        y.replace_all_uses_with(node.outputs[0], replace_graph_outputs=True)
        node.graph.remove([n for n in (back, flatten, measure) if not any(z.uses() for z in n.outputs)], safe=True)
        node.outputs[0].name, node.outputs[0].type, node.outputs[0].shape = name, kind, known


def _only_use(x: ir.Value) -> ir.Node | None:
    uses = list(x.uses())
    return uses[0].node if len(uses) == 1 and not x.is_graph_output() else None
