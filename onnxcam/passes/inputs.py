"""Remove weights from the graph's inputs, mark open dimensions as the standard does, find the axes of images."""

from __future__ import annotations

import onnx_ir as ir

from onnxcam.graph.operators import Trait, operators

_POINTWISE = operators(Trait.ARITHMETIC | Trait.COPIES | Trait.QUANTISES)

__all__ = ["fix_inputs"]


def fix_inputs(model: ir.Model) -> None:
    """Remove initializers from the graph's inputs, make dimensions of -1 unknown, and raise the IR version, in place.

    Files before IR version 4 had to list their weights as inputs, so that a runtime treats them as variable. The new
    version is 8, the one of opset 18.
    """
    model.ir_version = max(model.ir_version, 8)
    inputs = model.graph.inputs
    inputs[:] = [value for value in inputs if not value.is_initializer()]
    for value in [*inputs, *(y for node in model.graph for y in node.outputs)]:
        if value.shape is not None and any(isinstance(dim, int) and dim < 0 for dim in value.shape):
            value.shape = ir.Shape([None if isinstance(dim, int) and dim < 0 else dim for dim in value.shape])
    for value in inputs:
        if value.shape is None:
            value.shape = _read_shape(value)


def _read_shape(x: ir.Value) -> ir.Shape | None:
    """Return the shape of *x*, of which nothing is declared, by the convolution that reads it; None for none."""
    for node, position in x.uses():
        if position == 0 and node.op_type in ("Conv", "ConvTranspose"):
            return _convolved(node)
        if node.op_type == "Transpose":
            perm, shape = node.attributes.get_ints("perm"), _read_shape(node.outputs[0])
            return None if shape is None or perm is None else ir.Shape([shape[perm.index(k)] for k in range(len(perm))])
        if position == 0 and node.op_type in _POINTWISE:
            return _read_shape(node.outputs[0])
    return None


def _convolved(node: ir.Node) -> ir.Shape | None:
    weight = node.inputs[1]
    if weight is None or weight.const_value is None:
        return None
    outer, inner, *window = weight.const_value.shape.numpy()
    channels = outer if node.op_type == "ConvTranspose" else inner * node.attributes.get_int("group", 1)
    return ir.Shape([None, channels, *(None for _ in window)])
