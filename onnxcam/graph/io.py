"""Load and save models. Only this module, `onnxcam.wire` and functions of onnx read and write protobuf.

Inside onnxcam a model is an `onnx_ir.Model`. Large weights stay in their file and are mapped from it (`onnxcam.wire`);
`call_onnx` calls onnx's C++ functions with a copy without these weights.
"""

from __future__ import annotations

import gc
import io
import mmap
import os
import shutil
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeAlias, TypeVar

import google.protobuf.message
import onnx
import onnx_ir as ir

from onnxcam import __version__, files, hub, paths
from onnxcam.errors import ModelError
from onnxcam.graph import limits
from onnxcam.graph.class_names import write_class_names
from onnxcam.graph.external import attach
from onnxcam.graph.maps import without_maps
from onnxcam.graph.stream import large, write
from onnxcam.graph.subgraph import all_nodes
from onnxcam.graph.tolerated import standardise
from onnxcam.graph.weights import (
    HEAVY,
    LIMIT,
    arranged,
    is_beside,
    loaded,
    replaced,
    require_room,
    total_bytes,
    weight_files,
    weights,
)
from onnxcam.text import first_line, in_message
from onnxcam.wire import WireError, external_places, light, tensors_of

ModelLike: TypeAlias = "str | os.PathLike[str] | bytes | onnx.ModelProto | ir.Model"
T = TypeVar("T")

_NO_MODEL = "is no ONNX model, truncated, or nested too deep to be read; download or export it again"
_CONVERTED = {
    ".tflite": "TensorFlow Lite",
    ".keras": "Keras",
    ".h5": "Keras",
    ".pt2": "PyTorch",
    ".pt": "PyTorch",
}
"""Files of other frameworks that `onnxcam export` takes, by their suffix."""
RUNTIME_ONLY = frozenset(("SimplifiedLayerNormalization",))
"""Operators that ONNX Runtime writes in the default domain and that onnx does not know."""

RUNTIME = "onnxruntime"
FUNCTIONS = 8  # the first IR version with model-local functions


def load(source: ModelLike) -> ir.Model:
    """Return a checked model that the caller may edit; *source* is not changed.

    *source* is a path, an address ``hf://org/name`` (docs/hub.md), the file's bytes, an `onnx.ModelProto` or an
    `onnx_ir.Model`.

    Raises:
        ModelError: the file is missing, not ONNX, truncated or invalid (such as cyclic), or its external data is
            missing or outside the model's folder.
    """
    if isinstance(source, ir.Model):
        return source.clone()
    if isinstance(source, onnx.ModelProto):
        return _opened(source, "the given ModelProto")
    if isinstance(source, bytes):
        return _opened(parsed(source, "the given bytes"), "the given bytes")
    path = hub.local(source)
    return _opened(parsed(read_light(path), f"'{path}'"), f"'{path}'", path)


def restored(data: bytes, path: Path) -> ir.Model:
    """Return the model that `to_bytes` wrote as *data*, whose weights are in the files of the model at *path*."""
    model = ir.serde.deserialize_model(parsed(data, f"'{path}'"))
    attach(model, f"'{path}'", path)
    return model


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
    path = hub.local(source)
    places = external_places(tensors_of(parsed(read_light(path), f"'{path}'").graph))
    return [path, *(path.parent / place for place in sorted(places))]


def copy(source: str | os.PathLike[str], path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Copy a model's file, and the files of its external data, byte for byte to the folder of *path*.

    External data keeps its name, and stays where it is if that folder is its own.

    Raises:
        OutputError: a file cannot be written, or there is one that onnxcam did not write, without *overwrite*.
    """
    read = files_of(source)
    model, *data = read
    target = Path(path)
    places = {target: model} | {target.parent / one.relative_to(model.parent): one for one in data}
    with ExitStack() as drafts:  # the model appears last
        for place, file in places.items():
            if place == target or not files.is_same(place, file):
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, drafts.enter_context(files.staged(place, read, overwrite=overwrite)))


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
    own = [node for node in all_nodes(graph) if node.domain == "" and node.op_type in RUNTIME_ONLY]
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


def read_light(path: Path) -> bytes:
    """Return the model in the file at *path*, its large weights by reference to that file; ModelError."""
    if path.suffix == ".ort":
        raise ModelError(f"'{path}' is an ONNX Runtime flatbuffer; give the .onnx file that it was made from")
    if paths.kind(path) == "folder":
        raise ModelError(
            f"{in_message(path)}: is a folder, not a model; name a file in it (a folder of the parts of a decoder is "
            "for explain, inspect, validate and record)"
        )
    with paths.opened(path, ModelError, "model") as file:
        if path.suffix in _CONVERTED:
            what = f"'{path}' is a file of {_CONVERTED[path.suffix]}, no ONNX model"
            raise ModelError(f"{what}; convert it first: onnxcam export {path} -o {path.stem}.onnx")
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


def parsed(data: bytes, where: str) -> onnx.ModelProto:
    """Return the model in *data*; ModelError, which calls it *where*, if it is none."""
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
        attach(model, where, path)
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


def _cause(error: BaseException) -> BaseException:
    """Return the original cause of *error*."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error
