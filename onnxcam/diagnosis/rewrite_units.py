"""Edit a quantised file: other units for single tensors, and corrected biases. All else is kept.

Tensors have the names that they have in the mixture of the same file. Every function changes the model that it is
given.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import RemoveUnusedNodesPass

from onnxcam.diagnosis.mixture import Mixture
from onnxcam.diagnosis.quantised_file import (
    dequantiser,
    maker,
    movers,
    new_constant,
    readers,
    tensor_of,
)
from onnxcam.graph.fold import constant
from onnxcam.graph.io import all_tensors
from onnxcam.graph.quantisers import Quantiser

__all__ = ["add_to_bias", "channel_axis", "requantise"]

_Array = NDArray[Any]
_INT32 = np.iinfo(np.int32)
_PER_CHANNEL = 13
"""The first opset in which DequantizeLinear has a scale for each channel."""


def requantise(model: ir.Model, quantiser: Quantiser, mixture: Mixture) -> None:
    """Give the tensor of *quantiser* in *model* its scale and zero point; weights are quantised again from float.

    The 32-bit bias of a layer has the scale of its input times that of its weights, so it is quantised again too.
    """
    known = all_tensors(model.graph)
    q = tensor_of(known, quantiser.tensor)
    if quantiser.kind == "activation":
        repeats = [name for name, first in mixture.repeats.items() if first == quantiser.tensor]
        nodes = [node for name in (quantiser.tensor, *repeats) for node in _quantiser_nodes(tensor_of(known, name))]
    else:
        nodes = list(readers(q))
        integers = quantiser.integers(mixture.originals[quantiser.tensor]).astype(quantiser.dtype)
        _set(q, integers)
    for node in nodes:
        _set_units(node, quantiser)
    for layer in dict.fromkeys(layer for node in nodes for layer in node.outputs[0].consumers()):
        _requantise_bias(layer, mixture)
    RemoveUnusedNodesPass()(model)


def add_to_bias(model: ir.Model, tensor: str, error: _Array) -> None:
    """Add *error*, one number for each output channel, to the quantised bias *tensor* of a layer of *model*."""
    q = tensor_of(all_tensors(model.graph), tensor)
    for reader in readers(q):
        scale, integers = constant(reader.inputs[1]), constant(q)
        assert scale is not None
        assert integers is not None
        steps = np.rint(error.reshape(integers.shape) / scale.reshape(-1 if scale.size > 1 else ()))
        _set(q, np.clip(integers + steps, _INT32.min, _INT32.max).astype(integers.dtype))


def channel_axis(model: ir.Model, tensor: str) -> int | None:
    """Return the axis of the output channels of the weights *tensor*; None if its layer or opset allows one scale only.

    A transposed convolution in groups has its output channels on two axes.
    """
    if model.opset_imports.get("", 0) < _PER_CHANNEL:
        return None
    q = tensor_of(all_tensors(model.graph), tensor)
    axes = {_channel_axis(layer, node.outputs[0]) for node in readers(q) for layer in node.outputs[0].consumers()}
    return axes.pop() if len(axes) == 1 else None


def _channel_axis(layer: ir.Node, w: ir.Value) -> int | None:
    if len(layer.inputs) < 2 or layer.inputs[1] is not w:
        return None
    if layer.op_type == "ConvTranspose":
        return 1 if layer.attributes.get_int("group", 1) == 1 else None
    if layer.op_type == "Gemm":
        return 0 if layer.attributes.get_int("transB", 0) else 1
    q = dequantiser(w)
    rank = 0 if q is None or q.inputs[0] is None or (held := constant(q.inputs[0])) is None else held.ndim
    return {"Conv": 0, "MatMul": rank - 1 if rank == 2 else None}.get(layer.op_type)


def _quantiser_nodes(q: ir.Value) -> list[ir.Node]:
    """Return the node that quantises an activation and those that dequantise it."""
    moved = [q, *(y for node in movers(q) for y in node.outputs)]
    return [maker(q), *(node for y in moved for node in readers(y))]


def _set_units(node: ir.Node, quantiser: Quantiser) -> None:
    """Give *node*, which quantises or dequantises, the units of *quantiser* as constants of its own."""
    old = constant(node.inputs[1])
    dtype = np.float32 if old is None else old.dtype
    shape = old.shape if old is not None and old.size == quantiser.scale.size else quantiser.scale.shape
    name = f"{quantiser.tensor}.{{}}"
    scale = new_constant(node, quantiser.scale.astype(dtype).reshape(shape), name.format("scale"))
    zero = new_constant(node, quantiser.zero.astype(quantiser.dtype).reshape(shape), name.format("zero_point"))
    node.resize_inputs(3)
    node.replace_input_with(1, scale)
    node.replace_input_with(2, zero)
    if quantiser.scale.size > 1:
        node.attributes["axis"] = ir.AttrInt64("axis", quantiser.axis)


def _requantise_bias(layer: ir.Node, mixture: Mixture) -> None:
    """Give the 32-bit bias of *layer* the scale of its input times that of its weights."""
    x, w, b = (dequantiser(value) for value in (*layer.inputs, None, None)[:3])
    if x is None or w is None or b is None or b.inputs[0] is None:
        return
    integers, old, zero = constant(b.inputs[0]), constant(b.inputs[1]), constant((*b.inputs, None)[2])
    sx, sw = constant(x.inputs[1]), constant(w.inputs[1])
    if integers is None or integers.dtype != np.int32 or old is None or sx is None or sw is None:
        return
    scale = (sx.astype(np.float64) * sw.astype(np.float64)).reshape(-1)
    known = mixture.originals.get(b.inputs[0].name or "")
    real = integers * old.astype(np.float64) if known is None else known.astype(np.float64)
    zeros = np.zeros(scale.shape, np.int64)
    one = scale.size == 1
    units = Quantiser(
        b.inputs[0].name or "",
        b.outputs[0].name or "",
        "bias",
        scale.reshape(()) if one else scale,
        zeros.reshape(()) if one else zeros,
        np.dtype(np.int32),
        0,
    )
    assert zero is None or not zero.any()
    _set(b.inputs[0], units.integers(real).astype(np.int32))
    _set_units(b, units)


def _set(q: ir.Value, integers: _Array) -> None:
    """Change the constant *q*."""
    node = q.producer()
    if node is None:
        q.const_value = ir.tensor(integers, name=q.name)
    elif node.op_type == "Constant":
        node.attributes["value"] = ir.AttrTensor("value", ir.tensor(integers, name=q.name))
    else:  # QuantizeLinear of a constant
        name, q.name = q.name or "", f"{q.name}.unused"
        q.replace_all_uses_with(new_constant(node, integers, name))
