"""Write a model as protobuf, its large weights one by one from where they are: memory, or a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO

import onnx
import onnx_ir as ir

from onnxcam.graph.weights import HEAVY, EmbeddedTensor, append, replaced
from onnxcam.wire import filled

__all__ = ["large", "write"]


def large(model: ir.Model, *, mapped: bool) -> dict[ir.Value, ir.TensorProtocol]:
    """Return the large weights of the main graph: those in memory and, if *mapped*, those inside a file."""
    tensors = {value: value.const_value for value in model.graph.initializers.values()}
    return {value: tensor for value, tensor in tensors.items() if tensor is not None and _is_large(tensor, mapped)}


def _is_large(tensor: ir.TensorProtocol, mapped: bool) -> bool:
    if tensor.dtype == ir.DataType.STRING or tensor.nbytes <= HEAVY:
        return False
    return not isinstance(tensor, ir.ExternalTensor) or (mapped and isinstance(tensor, EmbeddedTensor))


def write(model: ir.Model, out: IO[bytes], weights: Mapping[ir.Value, ir.TensorProtocol]) -> None:
    """Append *model* to *out* as a ModelProto, its *weights* (`large`) one after the other."""
    with replaced(model, {value: _empty(tensor) for value, tensor in weights.items()}):
        message = ir.serde.serialize_model(model).SerializeToString()
    tensors = {value.name or "": tensor for value, tensor in weights.items()}
    for piece in filled(message, {name: tensor.nbytes for name, tensor in tensors.items()}):
        if isinstance(piece, str):
            append(tensors[piece], out)
        else:
            out.write(piece)


def _empty(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    """Return *tensor* without its data."""
    proto = onnx.TensorProto(
        dims=tensor.shape.numpy(), data_type=tensor.dtype.value, doc_string=tensor.doc_string or None, raw_data=b""
    )
    empty = ir.serde.TensorProtoTensor(proto)
    empty.metadata_props.update(tensor.metadata_props)
    return empty
