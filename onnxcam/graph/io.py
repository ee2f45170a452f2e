"""Load and save models. Only this module, `onnxcam.wire` and functions of onnx read and write protobuf.

Inside onnxcam a model is an `onnx_ir.Model`. Large weights stay in their file and are mapped from it (`onnxcam.wire`);
`call_onnx` calls onnx's C++ functions with a copy without these weights.
"""

from __future__ import annotations

import gc
import io
import mmap
import os
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias, TypeVar

import google.protobuf.message
import onnx
import onnx_ir as ir

from onnxcam import __version__, files, paths
from onnxcam.errors import ModelError
from onnxcam.graph import limits
from onnxcam.graph.class_names import write_class_names
from onnxcam.graph.maps import without_maps
from onnxcam.graph.stream import large, write
from onnxcam.graph.tolerated import standardise
from onnxcam.graph.weights import (
    HEAVY,
    LIMIT,
    EmbeddedTensor,
    arranged,
    is_beside,
    loaded,
    replaced,
    require_room,
    total_bytes,
    weight_files,
    weights,
)
from onnxcam.text import first_line
from onnxcam.wire import WireError, light

ModelLike: TypeAlias = "str | os.PathLike[str] | bytes | onnx.ModelProto | ir.Model"
T = TypeVar("T")

_NO_MODEL = "is no ONNX model, truncated, or nested too deep to be read; download or export it again"
RUNTIME_ONLY = frozenset(("SimplifiedLayerNormalization",))
"""Operators that ONNX Runtime writes in the default domain and that onnx does not know."""

RUNTIME = "onnxruntime"
FUNCTIONS = 8  # the first IR version with model-local functions


def load(source: ModelLike) -> ir.Model:
    """Return a checked model that the caller may edit; *source* is not changed.

    *source* is a path, the file's bytes, an `onnx.ModelProto` or an `onnx_ir.Model`.

    Raises:
        ModelError: the file is missing, not ONNX, truncated or invalid (such as cyclic), or its external data is
            missing or outside the model's folder.
    """
    if isinstance(source, ir.Model):
        return source.clone()
    if isinstance(source, onnx.ModelProto):
        return _opened(source, "the given ModelProto")
    if isinstance(source, bytes):
        return _opened(_parse(source, "the given bytes"), "the given bytes")
    path = Path(source)
    return _opened(_parse(_read(path), f"'{path}'"), f"'{path}'", path)


def save(
    model: ir.Model,
    path: str | os.PathLike[str],
    source: ModelLike | None = None,
    *,
    inline: int = 0,
    overwrite: bool = False,
) -> None:
    """Write *model* to *path*, completely or not at all; see `onnxcam.files.staged`.

    Weights in memory are written into the file, one by one. External data stays in its file if *path* is in the same
    folder; else it is copied to ``<path>.data``. Models with up to *inline* bytes of weights get all of them into the
    file. *source* is the origin of the model: neither it nor its files are overwritten.

    Raises:
        OutputError: *path* cannot be written, is *source* or one of its files, or is a file that onnxcam did not write,
            without *overwrite*.
    """
    target, data = Path(path), Path(f"{os.fspath(path)}.data")
    files.require_writable(target, overwrite=True)
    inputs = [*files_of(source), *weight_files(model)]
    model.metadata_props.setdefault(files.WRITTEN, __version__)
    part = target.with_name(f".onnxcam-{uuid.uuid4().hex[:8]}.data")
    with files.staged(target, inputs, overwrite=overwrite) as draft, files.temporary(part):
        placed = arranged(model, target.parent, data.name, part, inline=inline)
        with replaced(model, placed), draft.open("wb") as out:
            write(model, out, large(model, mapped=True))
        if part.exists():
            files.require_writable(data, inputs, overwrite=overwrite)
            os.replace(part, data)


def files_of(source: ModelLike | None) -> list[Path]:
    """Return the file of a model and the files of its external data; nothing for a model in memory."""
    if not isinstance(source, str | os.PathLike):
        return []
    path = Path(source)
    tensors = list(_tensors(_parse(_read(path), f"'{path}'").graph))
    places = {entry.value for tensor in tensors for entry in tensor.external_data if entry.key == "location"}
    return [path, *(path.parent / place for place in sorted(places))]


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for attribute in (attribute for node in graph.node for attribute in node.attribute):
        yield attribute.t
        yield from attribute.tensors
        for body in (attribute.g, *attribute.graphs):
            yield from _tensors(body)


def to_proto(model: ir.Model) -> onnx.ModelProto:
    """Return *model* as protobuf with its weights; external data stays in its files if all weights exceed 2 GB."""
    values = weights(model)
    if total_bytes(values) > LIMIT:
        values = [value for value in values if not is_beside(value.const_value)]
        require_room(values)
    with replaced(model, loaded(values)):
        return ir.serde.serialize_model(model)


def to_bytes(model: ir.Model) -> bytes:
    """Return *model* as the content of an ``.onnx`` file. Weights in files stay there (`weights_folder`)."""
    require_room([value for value in weights(model) if not isinstance(value.const_value, ir.ExternalTensor)])
    out = io.BytesIO()
    write(model, out, large(model, mapped=False))
    return out.getvalue()


def oldest_ir(model: ir.Model) -> int:
    """Return the oldest IR version with the opsets of *model*, which most runtimes read."""
    opsets = [onnx.OperatorSetIdProto(domain=name, version=version) for name, version in model.opset_imports.items()]
    implied = onnx.helper.find_min_ir_version_for(opsets, ignore_unknown=True)  # noqa: TID251
    return max(implied, FUNCTIONS) if model.functions else implied


def all_tensors(graph: ir.Graph) -> dict[str, ir.Value]:
    """Return the tensors of *graph*, subgraphs excluded, by name."""
    values = [*graph.inputs, *graph.initializers.values(), *(y for node in graph for y in node.outputs)]
    return {value.name: value for value in values if value.name}


@contextmanager
def building() -> Iterator[None]:
    """Pause the cyclic garbage collector: a growing graph has many cycles, none of them garbage."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def call_onnx(function: Callable[[onnx.ModelProto], T], model: ir.Model) -> T:
    """Return ``function(proto)`` for a copy of *model* in which large initializers are inputs.

    Operators that only ONNX Runtime knows have the domain `RUNTIME` in the copy: onnx does not check other domains.
    """
    graph = model.graph
    inputs, weights = list(graph.inputs), dict(graph.initializers)
    heavy = {name: w for name, w in weights.items() if w.const_value is None or w.const_value.nbytes > HEAVY}
    own = [node for node in graph.all_nodes() if node.domain == "" and node.op_type in RUNTIME_ONLY]
    try:
        for name, weight in heavy.items():
            del graph.initializers[name]
            if weight not in inputs:
                graph.inputs.append(weight)
        for node in own:
            node.domain, model.opset_imports[RUNTIME] = RUNTIME, 1
        return function(ir.serde.serialize_model(model))
    finally:
        graph.inputs[:] = inputs
        graph.initializers.clear()
        graph.initializers.update(weights)
        give_back_domain(model, own)


def give_back_domain(model: ir.Model, nodes: Iterable[ir.Node]) -> None:
    """Move the *nodes* of the domain `RUNTIME` back into the default domain."""
    for node in nodes:
        node.domain = "" if node.domain == RUNTIME else node.domain
    model.opset_imports.pop(RUNTIME, None)


def _read(path: Path) -> bytes:
    if path.suffix == ".ort":
        raise ModelError(f"'{path}' is an ONNX Runtime flatbuffer; give the .onnx file that it was made from")
    with paths.opened(path, ModelError, "model") as file:
        if not os.fstat(file.fileno()).st_size:
            return b""
        try:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return light(data, path.name, HEAVY if _is_utf8(path.name) else sys.maxsize)
        except WireError:
            raise ModelError(f"'{path}' {_NO_MODEL}") from None


def _is_utf8(name: str) -> bool:
    """Whether protobuf can hold *name*, so that weights can be mapped from the file of that name."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _parse(data: bytes, where: str) -> onnx.ModelProto:
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
    except google.protobuf.message.DecodeError:
        raise ModelError(f"{where} {_NO_MODEL}") from None
    if not proto.HasField("graph") or not proto.opset_import:
        raise ModelError(f"{where} is no ONNX model: it holds no graph; download or export it again")
    return proto


def _opened(proto: onnx.ModelProto, where: str, path: Path | None = None) -> ir.Model:
    try:
        limits.check(proto, where)
        proto = without_maps(proto, where)
        model = ir.serde.deserialize_model(proto)
        _attach(model, where, path)
        limits.check_ends(model, where)
        _standardise(model, where)
        write_class_names(model)
        call_onnx(_check, model)
    except ModelError:
        raise
    except Exception as error:
        strange = limits.not_text(proto)
        why = f"{strange} is no UTF-8 text" if strange else first_line(_cause(error))
        raise ModelError(f"{where} is no valid ONNX model: {why}") from error
    return model


def _standardise(model: ir.Model, where: str) -> None:
    try:
        standardise(model)
    except ValueError:  # of onnx_ir, without a node
        raise ModelError(f"{where} is no valid ONNX model: its nodes form a cycle; export the model again") from None


def _attach(model: ir.Model, where: str, path: Path | None) -> None:
    """Attach external tensors to their files; read small ones and those in attributes."""
    for value in (weight for graph in model.graphs() for weight in graph.initializers.values()):
        if isinstance(value.const_value, ir.ExternalTensor):
            value.const_value = _attached(value.const_value, where, path)
            if value.const_value.nbytes <= HEAVY:
                value.const_value = _read_in(value.const_value)
    for node in (node for graph in (*model.graphs(), *model.functions.values()) for node in graph):
        for name, attribute in list(node.attributes.items()):
            if isinstance(attribute.value, ir.ExternalTensor):
                node.attributes[name] = ir.AttrTensor(name, _read_in(_attached(attribute.value, where, path)))


def _read_in(tensor: ir.ExternalTensor) -> ir.TensorProtocol:
    return ir.Tensor(tensor.numpy(), tensor.dtype, shape=tensor.shape, name=tensor.name)


def _check(proto: onnx.ModelProto) -> None:
    """Check *proto* by onnx, but accept undeclared shapes and output types, as runtimes infer them.

    Accept also files before IR version 4 whose weights are not inputs: ONNX Runtime writes such files.
    """
    proto.ir_version = max(proto.ir_version, 4)
    for value in [*proto.graph.input, *proto.graph.output]:
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.shape.SetInParent()
    typed = [value for value in proto.graph.output if value.HasField("type")]
    del proto.graph.output[:]
    proto.graph.output.extend(typed)
    onnx.checker.check_model(proto)


def _attached(tensor: ir.ExternalTensor, where: str, path: Path | None) -> ir.ExternalTensor:
    """Return *tensor* attached to its file; ModelError unless it is in the model's folder and complete.

    If the model is a link, as in the caches of Hugging Face, the folder of its target counts too.
    """
    if path is None:
        raise ModelError(
            f"{where} keeps tensor {tensor.name!r} in an external file; give the path of the model instead"
        )
    try:
        file = (path.parent / tensor.location).resolve()
        homes = (path.parent.resolve(), path.resolve().parent)
        home = next((home for home in homes if file.is_relative_to(home)), None)
        size = file.stat().st_size if home is not None and file.is_file() else None
    except (OSError, ValueError, RuntimeError):  # too long a name, no name, or a cycle of links
        raise ModelError(
            f"{where} keeps tensor {tensor.name!r} in a file that cannot be read: '{os.fspath(tensor.location)[:80]}'"
        ) from None
    if home is None:
        raise ModelError(
            f"{where} keeps tensor {tensor.name!r} in '{tensor.location}', outside the model's folder; "
            "put the file beside the model and re-save it"
        )
    if size is None:
        raise ModelError(
            f"{where} keeps its weights in '{tensor.location}', which is missing; put that file beside the model"
        )
    length = tensor.length or tensor.nbytes
    if size < (tensor.offset or 0) + length:
        raise ModelError(f"external data '{tensor.location}' of {where} is truncated; copy it again")
    kind = EmbeddedTensor if file == path.resolve() else ir.ExternalTensor
    place = file.relative_to(home).as_posix()
    return kind(place, tensor.offset, length, tensor.dtype, shape=tensor.shape, name=tensor.name, base_dir=home)


def _cause(error: BaseException) -> BaseException:
    """Return the original cause of *error*."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error
