"""Where the tensors of a diagnosis lie in the file of the quantised model."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import onnx_ir as ir

from onnxcam.diagnosis.diagnosis import TensorDiagnosis
from onnxcam.graph.io import all_tensors
from onnxcam.graph.subgraph import first_behind

__all__ = ["TensorPlace", "find_places"]

_ROUNDING = ("QuantizeLinear", "DequantizeLinear")


@dataclass(frozen=True)
class TensorPlace:
    """The place of one quantised tensor.

    Attributes:
        rounding: The nodes that quantise and dequantise it.
        owner: The operator that makes an activation, or uses a weight; None for an input of the model.
        activation: The quantised activation that the result of *owner* becomes, by its tensor; "" if there is none.
    """

    rounding: tuple[ir.Node, ...]
    owner: ir.Node | None
    activation: str


def find_places(model: ir.Model, tensors: Iterable[TensorDiagnosis]) -> dict[str, TensorPlace]:
    """Return the place of each of *tensors* in *model*, by its name; those that the file lacks are left out."""
    given = list(tensors)
    values = all_tensors(model.graph)
    activations = {one.tensor for one in given if one.kind == "activation"}
    return {
        one.tensor: (_activation if one.kind == "activation" else _weight)(values[one.tensor], activations)
        for one in given
        if one.tensor in values
    }


def _activation(value: ir.Value, _: Collection[str]) -> TensorPlace:
    maker = value.producer()
    readers = tuple(node for node in value.consumers() if node.op_type in _ROUNDING)
    if maker is None or maker.op_type not in _ROUNDING:
        return TensorPlace(readers, maker, value.name or "")
    real = maker.inputs[0]
    return TensorPlace((maker, *readers), None if real is None else real.producer(), value.name or "")


def _weight(value: ir.Value, activations: Collection[str]) -> TensorPlace:
    readers = tuple(value.consumers())
    rounding = tuple(node for node in readers if node.op_type in _ROUNDING)
    users = [user for node in rounding for y in node.outputs for user in y.consumers()] or list(readers)
    owner = users[0] if users else None
    return TensorPlace(rounding, owner, "" if owner is None else first_behind(owner, activations))
