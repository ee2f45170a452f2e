"""Storage of weights: in memory, inside the model's file, or as external data in another file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import onnx_ir as ir

from onnxcam.errors import ModelError
from onnxcam.graph.subgraph import graphs

__all__ = [
    "HEAVY",
    "LIMIT",
    "PAGE",
    "EmbeddedTensor",
    "append",
    "arranged",
    "in_one_folder",
    "is_beside",
    "loaded",
    "replaced",
    "require_room",
    "total_bytes",
    "weight_files",
    "weights",
    "weights_folder",
]

LIMIT = 2**31 - 2**24  # bytes of weights in one protobuf message of 2 GiB, less room for the graph
HEAVY = 1024  # bytes; smaller weights are always in the message
PAGE = 4096  # bytes; weights are aligned to pages of their file, for mapping


class EmbeddedTensor(ir.ExternalTensor):
    """A weight inside an ``.onnx`` file, mapped from it."""

    def _check_path_containment(self) -> None:
        """Accept the file: the user named it. onnx_ir refuses files with several hard links, as uv installs them."""


def weights(model: ir.Model) -> list[ir.Value]:
    """Return the initializers of *model*, subgraphs included, that have a value."""
    values = [value for graph in graphs(model.graph) for value in graph.initializers.values()]
    return [value for value in values if value.const_value is not None]


def total_bytes(values: list[ir.Value]) -> int:
    """Return the bytes of the weights *values*."""
    return sum(value.const_value.nbytes for value in values if value.const_value is not None)


def weights_folder(model: ir.Model) -> str | None:
    """Return the folder of the files with the weights of *model*, None if all are in memory."""
    tensors = [value.const_value for value in weights(model)]
    return next((str(tensor.base_dir) for tensor in tensors if isinstance(tensor, ir.ExternalTensor)), None)


def in_one_folder(models: Sequence[ir.Model]) -> None:
    """Let the weights of all *models* that are in files refer to one folder, in place; ModelError for none."""
    values = [value for model in models for value in weights(model)]
    own = [(value, value.const_value) for value in values if isinstance(value.const_value, ir.ExternalTensor)]
    folders = {os.path.abspath(tensor.base_dir) for _, tensor in own}
    if len(folders) < 2:
        return
    try:
        home = os.path.commonpath(folders)
    except ValueError:
        raise ModelError("the files of the parts lie on several drives; put them on one") from None
    for value, tensor in own:
        place = os.path.relpath(os.path.join(os.path.abspath(tensor.base_dir), tensor.location), home)
        value.const_value = type(tensor)(
            place, tensor.offset, tensor.length, tensor.dtype, shape=tensor.shape, name=tensor.name, base_dir=home
        )


def weight_files(model: ir.Model) -> list[Path]:
    """Return the files from which the weights of *model* are mapped."""
    tensors = [value.const_value for value in weights(model)]
    mapped = (tensor for tensor in tensors if isinstance(tensor, ir.ExternalTensor))
    return sorted({Path(tensor.base_dir, tensor.location) for tensor in mapped})


def is_beside(tensor: object) -> bool:
    """Whether *tensor* is external data, in a file other than the model's."""
    return isinstance(tensor, ir.ExternalTensor) and not isinstance(tensor, EmbeddedTensor)


def require_room(values: list[ir.Value]) -> None:
    """Raise ModelError if *values* do not fit into one protobuf message."""
    held = total_bytes(values)
    if held > LIMIT:
        raise ModelError(
            f"the model holds {held / 1e9:.1f} GB of weights, and a ModelProto takes no more than 2; "
            "save it with its weights as external data and give the path"
        )


@contextmanager
def replaced(model: ir.Model, tensors: dict[ir.Value, ir.TensorProtocol]) -> Iterator[None]:
    """Replace the values of weights of *model* by *tensors* inside the context."""
    before = {value: value.const_value for value in tensors}
    try:
        for value, tensor in tensors.items():
            value.const_value = tensor
        yield
    finally:
        for value, old in before.items():
            value.const_value = old


def loaded(values: list[ir.Value]) -> dict[ir.Value, ir.TensorProtocol]:
    """Return the *values* that are in files, read into memory."""
    return {
        value: ir.Tensor(value.const_value.numpy(), value.const_value.dtype, name=value.name)
        for value in values
        if isinstance(value.const_value, ir.ExternalTensor)
    }


def arranged(
    model: ir.Model, folder: Path, name: str, data: Path, *, inline: int = 0
) -> dict[ir.Value, ir.TensorProtocol]:
    """Return the weights of *model* as a model file in *folder* shall refer to them.

    Weights in files in or below *folder* stay there. Others in files are copied to the file *data*, whose final name is
    *name*; so are the model's own weights if they exceed one message. Weights of *inline* bytes in all are the model's
    own, wherever they are.
    """
    values = weights(model)
    inside = (
        values if total_bytes(values) <= inline else [value for value in values if not is_beside(value.const_value)]
    )
    placed, far = (_embedded(model, inside), []) if total_bytes(inside) <= LIMIT else ({}, inside)
    home = folder.resolve()
    for value in values:
        tensor = value.const_value
        if value in placed or not is_beside(tensor):
            continue
        assert isinstance(tensor, ir.ExternalTensor)
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


def _embedded(model: ir.Model, values: list[ir.Value]) -> dict[ir.Value, ir.TensorProtocol]:
    """Return those of *values* that are in files, as weights inside the model's file; what cannot be is read."""
    own = set(model.graph.initializers.values())
    placed: dict[ir.Value, ir.TensorProtocol] = {}
    for value in values:
        tensor = value.const_value
        if isinstance(tensor, ir.ExternalTensor) and value in own and tensor.length == tensor.nbytes:
            place = (tensor.location, tensor.offset, tensor.length, tensor.dtype)
            placed[value] = EmbeddedTensor(*place, shape=tensor.shape, name=tensor.name, base_dir=tensor.base_dir)
    return placed | loaded([value for value in values if value not in placed])


def _copied(value: ir.Value, name: str, out: IO[bytes]) -> ir.TensorProtocol:
    """Append *value* to the file *out* in pieces; return a reference to it in the file called *name*."""
    tensor = value.const_value
    assert tensor is not None
    if tensor.nbytes <= HEAVY:
        return ir.Tensor(tensor.numpy(), tensor.dtype, name=value.name)
    out.seek(-out.tell() % PAGE, os.SEEK_CUR)
    offset = out.tell()
    append(tensor, out)
    return _reference(value, tensor, name, offset, tensor.nbytes)


def append(tensor: ir.TensorProtocol, out: IO[bytes]) -> None:
    """Append the bytes of *tensor* to *out*; those in a file are copied from there in pieces."""
    if isinstance(tensor, ir.Tensor | ir.ExternalTensor):
        tensor.tofile(out)
    else:
        out.write(tensor.tobytes())


def _reference(
    value: ir.Value, tensor: ir.TensorProtocol, location: str, offset: int | None, length: int | None
) -> ir.ExternalTensor:
    shape = ir.Shape(tensor.numpy().shape)  # mapped, not read
    return ir.ExternalTensor(location, offset, length, tensor.dtype, shape=shape, name=value.name or "")
