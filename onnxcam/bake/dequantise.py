"""Quantised model → the same model in float, which differs only by the rounding of activations."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam.autodiff import STANDARD
from onnxcam.graph.fold import constant
from onnxcam.graph.io import ModelLike, load
from onnxcam.graph.operators import Trait, operators
from onnxcam.graph.qdq import fold_weights, has_integer_operators, lower_to_qdq
from onnxcam.graph.quantisers import Quantiser, add_constant, remove_quantisers
from onnxcam.passes import canonical
from onnxcam.passes.constants import fold_constants

__all__ = ["dequantise", "dequantised_weight", "in_qdq_form", "is_bounded"]

_BOUNDED = operators(Trait.NONNEGATIVE) | {"Clip"}
"""Operators that already limit their output, so that no Clip is needed."""


def dequantise(model: ModelLike) -> ir.Model:
    """Return *model* in float: x for each DequantizeLinear(QuantizeLinear(x)).

    Quantisers drop a ReLU or ReLU6 if the range of the integers starts at zero, which clips the same way. In that case
    x is clipped to this range. Weights are dequantised, inputs are kept, and a quantised output becomes float32.
    Operators on integers such as QLinearConv become float operators.
    Compare the quantised model with the result to see the effect of activation rounding, and the result with the float
    original to see the effect of everything else.

    Raises:
        ModelError: no activation is quantised; an operator on integers has no float form; or an activation has a scale
            per channel or a scale computed at run time.

    Example:
        >>> onnxcam.graph.io.save(dequantise("int8.onnx"), "twin.onnx")
    """
    model = load(model)
    if has_integer_operators(model):
        model = canonical(model, STANDARD)
    in_qdq_form(model)
    remove_quantisers(model, _cut, dequantised_weight)
    return model


def in_qdq_form(model: ir.Model) -> dict[str, NDArray[Any]]:
    """Bring *model*, canonical if it has operators on integers, into QDQ form, in place; see `fold_weights`."""
    lower_to_qdq(model, STANDARD.compositions)
    fold_constants(model.graph)
    return fold_weights(model)


def dequantised_weight(node: ir.Node, _: ir.Value | None, quantiser: Quantiser) -> ir.Value:
    """Return the dequantised constant of a DequantizeLinear *node*: (q − zero) · scale."""
    q = constant(node.inputs[0]) if node.inputs[0] is not None else None
    assert q is not None
    return add_constant(node, quantiser.dequantised(q).astype(np.float32), f"{node.outputs[0].name}.real")


def is_bounded(x: ir.Value) -> bool:
    """Return whether an operator limits the range of *x*."""
    maker = x.producer()
    return maker is not None and maker.op_type in _BOUNDED


def _cut(node: ir.Node, x: ir.Value | None, quantiser: Quantiser) -> ir.Value:
    """Return *x*, clipped if the integers of *node* start at zero and no operator before it limits the range."""
    assert x is not None
    low, high = (float(end) for end in quantiser.range)
    if low != 0 or is_bounded(x):
        return x
    name = node.outputs[0].name
    bounds = [add_constant(node, np.float32(end), f"{name}.{which}") for end, which in ((low, "low"), (high, "high"))]
    clip = ir.node("Clip", [x, *bounds])
    assert isinstance(node.graph, ir.Graph)
    node.graph.insert_before(node, clip)
    clip.outputs[0].shape, clip.outputs[0].dtype = x.shape, ir.DataType.FLOAT
    return clip.outputs[0]
