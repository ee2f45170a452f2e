"""Load and save models: the door to protobuf, with `wire`; elsewhere only onnx's own functions speak it.

Inside onnxcam a model is an `onnx_ir.Model`. Large weights stay in the file that they came in and are mapped from there
(`onnxcam.wire`); `call_onnx` hands onnx's own C++ functions a twin without them.
"""

from __future__ import annotations

import gc
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
from onnxcam.graph.weights import (
    HEAVY,
    LIMIT,
    Inside,
    arranged,
    is_beside,
    loaded,
    replaced,
    require_room,
    weight_files,
    weights,
)
from onnxcam.text import first_line
from onnxcam.wire import WireError, light

ModelLike: TypeAlias = "str | os.PathLike[str] | bytes | onnx.ModelProto | ir.Model"
T = TypeVar("T")

_NO_MODEL = "is no ONNX model, truncated, or nested too deep to be read; download or export it again"
RUNTIME_ONLY = frozenset(("SimplifiedLayerNormalization",))
"""Operators that ONNX Runtime has in the default domain, and writes, and onnx knows nothing of."""

RUNTIME = "onnxruntime"
FUNCTIONS = 8  # the IR version since which a model may have functions of its own


def load(source: ModelLike) -> ir.Model:
    """Return a checked model that the caller may edit: nothing of *source* is changed by it.

    *source* is a path, the file's bytes, an `onnx.ModelProto` or an `onnx_ir.Model`. Raises ModelError for a file
    that is missing, no ONNX, truncated, invalid (cyclic, say), or whose external data is missing or lies outside
    the model's folder.
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
    model: ir.Model, path: str | os.PathLike[str], source: ModelLike | None = None, *, overwrite: bool = False
) -> None:
    """Write *model* to *path*, whole or not at all; see `onnxcam.files.staged`.

    Weights that it holds itself are inside. Those that lie in a file beside it stay in that file where *path* is in its
    folder; else they are copied, piece by piece, to ``<path>.data``. *source* is what the model was read from:
    neither it nor a file that it refers to is written onto. OutputError where that cannot be done.
    """
    target, data = Path(path), Path(f"{os.fspath(path)}.data")
    files.require_writable(target, overwrite=True)
    inputs = [*files_of(source), *weight_files(model)]
    model.metadata_props.setdefault(files.WRITTEN, __version__)
    part = target.with_name(f".onnxcam-{uuid.uuid4().hex[:8]}.data")
    with files.staged(target, inputs, overwrite=overwrite) as draft, files.temporary(part):
        with replaced(model, arranged(model, target.parent, data.name, part)):
            draft.write_bytes(to_bytes(model))
        if part.exists():
            files.require_writable(data, inputs, overwrite=overwrite)
            os.replace(part, data)


def files_of(source: ModelLike | None) -> list[Path]:
    """Return the file of a model and the files beside it that it refers to; none of a model in memory."""
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
    """Return *model* as protobuf, with its weights inside, but for those beside it if all together exceed 2 GB."""
    values = weights(model)
    if sum(value.const_value.nbytes for value in values if value.const_value is not None) > LIMIT:
        values = [value for value in values if not is_beside(value.const_value)]
        require_room(values)
    with replaced(model, loaded(values)):
        return ir.serde.serialize_model(model)


def to_bytes(model: ir.Model) -> bytes:
    """Return *model* as the content of an ``.onnx`` file. Weights that lie in files stay there (`weights_folder`)."""
    require_room([value for value in weights(model) if not isinstance(value.const_value, ir.ExternalTensor)])
    return ir.serde.serialize_model(model).SerializeToString()


def oldest_ir(model: ir.Model) -> int:
    """Return the oldest IR version that has the opsets of *model*: the one that most runtimes read."""
    opsets = [onnx.OperatorSetIdProto(domain=name, version=version) for name, version in model.opset_imports.items()]
    implied = onnx.helper.find_min_ir_version_for(opsets, ignore_unknown=True)  # noqa: TID251
    return max(implied, FUNCTIONS) if model.functions else implied


def all_tensors(graph: ir.Graph) -> dict[str, ir.Value]:
    """Return the tensors of *graph*, subgraphs excluded, by name."""
    values = [*graph.inputs, *graph.initializers.values(), *(y for node in graph for y in node.outputs)]
    return {value.name: value for value in values if value.name}


@contextmanager
def building() -> Iterator[None]:
    """Pause the cyclic garbage collector: a graph that grows is all cycles, and none of them is garbage."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def call_onnx(function: Callable[[onnx.ModelProto], T], model: ir.Model) -> T:
    """Return ``function(proto)`` for a twin of *model* whose large initializers became inputs.

    In the twin, operators that only ONNX Runtime knows stand in a domain of their own (`RUNTIME`): onnx takes those of
    other domains as they are.
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
    """Put those of *nodes* that stand in `RUNTIME` back into the default domain."""
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
    """Whether protobuf can hold the name, so that weights can be mapped from the file of that name."""
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
        _refuse_maps(proto.graph, where)
        model = ir.serde.deserialize_model(proto)
        _attach(model, where, path)
        limits.check_ends(model, where)
        call_onnx(_check, model)
    except ModelError:
        raise
    except Exception as error:
        strange = limits.not_text(proto)
        why = f"{strange} is no UTF-8 text" if strange else first_line(_cause(error))
        raise ModelError(f"{where} is no valid ONNX model: {why}") from error
    return model


def _attach(model: ir.Model, where: str, path: Path | None) -> None:
    """Point tensors in files at these; small ones, and those that are attributes of nodes, are read."""
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


def _refuse_maps(graph: onnx.GraphProto, where: str) -> None:
    """Refuse maps from class to score, which no node of the default domain makes or takes."""
    for output in graph.output:
        node = next((node for node in graph.node if output.name in node.output), None)
        if node is not None and output.type.sequence_type.elem_type.HasField("map_type"):
            raise ModelError(
                f"output {output.name!r} of {where} is a sequence of maps (node {node.name!r}, {node.op_type}); "
                f"make that node's input {node.input[0]!r} the output in its place"
            )


def _check(proto: onnx.ModelProto) -> None:
    """Check *proto*, but for inputs and outputs that declare no shape, and outputs of no type: runtimes infer them.

    Nor do they ask of files before IR version 4 that weights be inputs; ONNX Runtime itself saves such.
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
    """Return *tensor* pointed at its file, which must be there and lie in the model's folder.

    Where the model is a link, as in the caches of Hugging Face, the folder that it leads to is the model's too.
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
    except (OSError, ValueError, RuntimeError):  # too long a name, no name, a ring of links
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
    kind = Inside if file == path.resolve() else ir.ExternalTensor
    place = file.relative_to(home).as_posix()
    return kind(place, tensor.offset, length, tensor.dtype, shape=tensor.shape, name=tensor.name, base_dir=home)


def _cause(error: BaseException) -> BaseException:
    """Return the error that *error* came from in the first place."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error
