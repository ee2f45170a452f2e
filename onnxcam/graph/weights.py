"""Where the weights of a model lie: in memory, inside its own file, or in a file beside it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import onnx_ir as ir

from onnxcam.errors import ModelError

LIMIT = 2**31 - 2**24  # bytes of weights in one protobuf message: it ends at 2 GiB, and the graph needs room
HEAVY = 1024  # bytes; what is not above stands in the message in any case
PAGE = 4096  # bytes; a weight begins at a page of its file, so that it can be mapped


class EmbeddedTensor(ir.ExternalTensor):
    """A weight that lies inside an ``.onnx`` file, and is mapped from there."""


def weights(model: ir.Model) -> list[ir.Value]:
    """Return the initializers of *model*, subgraphs included, that have a value."""
    values = [value for graph in model.graphs() for value in graph.initializers.values()]
    return [value for value in values if value.const_value is not None]


def weights_folder(model: ir.Model) -> str | None:
    """Return the folder in which the files with the weights of *model* lie, None where it holds them itself."""
    tensors = [value.const_value for value in weights(model)]
    return next((str(tensor.base_dir) for tensor in tensors if isinstance(tensor, ir.ExternalTensor)), None)


def weight_files(model: ir.Model) -> list[Path]:
    """Return the files from which the weights of *model* are mapped."""
    tensors = [value.const_value for value in weights(model)]
    mapped = (tensor for tensor in tensors if isinstance(tensor, ir.ExternalTensor))
    return sorted({Path(tensor.base_dir, tensor.location) for tensor in mapped})


def is_beside(tensor: object) -> bool:
    """Whether *tensor* lies in a file beside the model."""
    return isinstance(tensor, ir.ExternalTensor) and not isinstance(tensor, EmbeddedTensor)


def require_room(values: list[ir.Value]) -> None:
    """Raise ModelError where *values* do not fit into one protobuf message."""
    size = sum(value.const_value.nbytes for value in values if value.const_value is not None)
    if size > LIMIT:
        raise ModelError(
            f"the model holds {size / 1e9:.1f} GB of weights, and a ModelProto takes no more than 2; "
            "save it with its weights as external data and give the path"
        )


@contextmanager
def replaced(model: ir.Model, tensors: dict[ir.Value, ir.TensorProtocol]) -> Iterator[None]:
    """Have *model* hold *tensors* for as long as it lasts."""
    before = {value: value.const_value for value in tensors}
    try:
        for value, tensor in tensors.items():
            value.const_value = tensor
        yield
    finally:
        for value, old in before.items():
            value.const_value = old


def loaded(values: list[ir.Value]) -> dict[ir.Value, ir.TensorProtocol]:
    """Return those of *values* that lie in a file, in memory."""
    return {
        value: ir.Tensor(value.const_value.numpy(), value.const_value.dtype, name=value.name)
        for value in values
        if isinstance(value.const_value, ir.ExternalTensor)
    }


def arranged(model: ir.Model, folder: Path, name: str, data: Path) -> dict[ir.Value, ir.TensorProtocol]:
    """Return the weights of *model* as a file in *folder* is to refer to them.

    What lies in a file in *folder*, or below, stays there. What lies elsewhere is copied to *data*, which will be
    called *name*, and so is what stands in the model itself where it is too much for one message.
    """
    values = weights(model)
    inside = [value for value in values if not is_beside(value.const_value)]
    fits = sum(value.const_value.nbytes for value in inside if value.const_value is not None) <= LIMIT
    placed = loaded(inside) if fits else {}
    home, far = folder.resolve(), [] if fits else inside
    for value in values:
        tensor = value.const_value
        if not isinstance(tensor, ir.ExternalTensor) or isinstance(tensor, EmbeddedTensor):
            continue
        file = Path(tensor.base_dir, tensor.location).resolve()
        if file.is_relative_to(home):
            location = file.relative_to(home).as_posix()
            placed[value] = _reference(value, tensor, location, tensor.offset, tensor.length)
        else:
            far = [*far, value]
    if far:
        with data.open("wb") as out:
            placed.update({value: _copied(value, name, out) for value in far})
    return placed


def _copied(value: ir.Value, name: str, out: IO[bytes]) -> ir.TensorProtocol:
    """Append *value* to the file *out*, piece by piece; return a reference to it in the file called *name*."""
    tensor = value.const_value
    assert tensor is not None
    if tensor.nbytes <= HEAVY:
        return ir.Tensor(tensor.numpy(), tensor.dtype, name=value.name)
    out.seek(-out.tell() % PAGE, os.SEEK_CUR)
    offset = out.tell()
    if isinstance(tensor, ir.ExternalTensor):
        tensor.tofile(out)
    else:
        out.write(tensor.tobytes())
    return _reference(value, tensor, name, offset, tensor.nbytes)


def _reference(
    value: ir.Value, tensor: ir.TensorProtocol, location: str, offset: int | None, length: int | None
) -> ir.ExternalTensor:
    shape = ir.Shape(tensor.numpy().shape)  # mapped, not read
    return ir.ExternalTensor(location, offset, length, tensor.dtype, shape=shape, name=value.name or "")
