"""External data: find the files of a model's weights, and attach the tensors to them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import onnx_ir as ir

from onnxcam.errors import ModelError
from onnxcam.graph.subgraph import attributes, graphs
from onnxcam.graph.weights import HEAVY, EmbeddedTensor

__all__ = ["attach"]


@dataclass(frozen=True)
class _WeightFile:
    """A file with weights, in or below the folder *home*."""

    home: Path
    place: str  # the path from *home*
    size: int  # bytes
    embedded: bool  # it is the model's own file

    @classmethod
    def find(cls, location: str, path: Path) -> _WeightFile | str | None:
        """Return the file at *location* of the model at *path*; "" if it is missing, None outside the model's folder.

        If the model is a link, as in the caches of Hugging Face, the folder of its target counts too. OSError,
        ValueError or RuntimeError for too long a name, no name, or a cycle of links.
        """
        file, own = (path.parent / location).resolve(), path.resolve()
        home = next((home for home in (path.parent.resolve(), own.parent) if file.is_relative_to(home)), None)
        if home is None:
            return None
        if not file.is_file():
            return ""
        return cls(home, file.relative_to(home).as_posix(), file.stat().st_size, file == own)


def attach(model: ir.Model, where: str, path: Path | None) -> None:
    """Attach the external tensors of *model*, read from *path*, to their files; read small ones and attributes.

    ModelError, which calls the model *where*, unless each is in the model's folder and complete.
    """

    @cache
    def find(location: str) -> _WeightFile | str | None:
        return _WeightFile.find(location, path) if path is not None else None

    def attached(tensor: ir.ExternalTensor) -> ir.ExternalTensor:
        if path is None:
            raise ModelError(
                f"{where} keeps tensor {tensor.name!r} in an external file; give the path of the model instead"
            )
        return _attached(tensor, where, find)

    own = [model.graph, *(function.graph for function in model.functions.values())]
    for graph in [inner for each in own for inner in graphs(each)]:
        for value in graph.initializers.values():
            if isinstance(value.const_value, ir.ExternalTensor):
                tensor = attached(value.const_value)
                value.const_value = _read(tensor) if tensor.nbytes <= HEAVY else tensor
        for node in graph:
            for attribute in attributes(node):
                if isinstance(attribute.value, ir.ExternalTensor):
                    read = _read(attached(attribute.value))
                    node.attributes[attribute.name] = ir.AttrTensor(attribute.name, read)


def _read(tensor: ir.ExternalTensor) -> ir.TensorProtocol:
    return ir.Tensor(tensor.numpy(), tensor.dtype, shape=tensor.shape, name=tensor.name)


def _attached(
    tensor: ir.ExternalTensor, where: str, find: Callable[[str], _WeightFile | str | None]
) -> ir.ExternalTensor:
    """Return *tensor* attached to the file that *find* returns."""
    location = os.fspath(tensor.location)
    try:
        found = find(location)
    except (OSError, ValueError, RuntimeError):
        raise ModelError(
            f"{where} keeps tensor {tensor.name!r} in a file that cannot be read: '{location[:80]}'"
        ) from None
    if found is None:
        raise ModelError(
            f"{where} keeps tensor {tensor.name!r} in '{location}', outside the model's folder; "
            "put the file beside the model and re-save it"
        )
    if isinstance(found, str):
        raise ModelError(f"{where} keeps its weights in '{location}', which is missing; put that file beside the model")
    length = tensor.length or tensor.nbytes
    if found.size < (tensor.offset or 0) + length:
        raise ModelError(f"external data '{location}' of {where} is truncated; copy it again")
    kind = EmbeddedTensor if found.embedded else ir.ExternalTensor
    return kind(
        found.place, tensor.offset, length, tensor.dtype, shape=tensor.shape, name=tensor.name, base_dir=found.home
    )
