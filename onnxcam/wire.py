"""Read and write ``.onnx`` files without holding their weights.

A protobuf message is a row of fields, each a key, a length and its bytes. `light` walks the three levels down to the
initializers (model, graph, tensor) and leaves out what is heavy; that becomes external data, *in this very file*. So a
model of any size is opened in milliseconds, and never held twice. `filled` is the inverse: it tells the writer of a
message with empty initializers where the bytes of each weight belong.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable, Iterator, Mapping

import google.protobuf.message
import onnx

GRAPH, INITIALIZER, RAW_DATA = 7, 5, 9  # field numbers in ModelProto, GraphProto, TensorProto
METADATA = 14  # in ModelProto
_EMBEDDED = 1 << 20  # bytes of a weight that is not read to know where others are
_BYTES = 2  # the wire type of messages, strings and bytes
_FIXED = {1: 8, 5: 4}  # wire types of fixed width


class WireError(ValueError):
    """The bytes are no protobuf message."""


def light(data: mmap.mmap | bytes, location: str, heavy: int) -> bytes:
    """Return the ModelProto in *data*, its initializers above *heavy* bytes external, in file *location*.

    WireError where *data* is no protobuf message, or a truncated one.
    """
    parts = []
    for number, start, begin, end in _fields(data, 0, len(data)):
        if number == GRAPH:
            parts += _message(GRAPH, b"".join(_light_graph(data, begin, end, location, heavy)))
        else:
            parts.append(data[start:end])
    return b"".join(parts)


def filled(data: bytes, sizes: Mapping[str, int]) -> Iterator[bytes | str]:
    """Yield the pieces of the ModelProto *data* with raw data in place of the empty ones of the tensors in *sizes*.

    *sizes* has the bytes of each by name. A piece is bytes, or the name of the initializer whose raw data belong there.
    """
    for number, start, begin, end in _fields(data, 0, len(data)):
        if number == GRAPH:
            yield from _filled_message(GRAPH, list(_filled_graph(data, begin, end, sizes)), sizes)
        else:
            yield data[start:end]


def metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """Return the metadata of the ``.onnx`` file at *path*, reading nothing else of it; nothing of another file."""
    found: dict[str, str] = {}
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            for number, _, begin, end in _fields(data, 0, len(data)):
                if number == METADATA:
                    entry = onnx.StringStringEntryProto.FromString(data[begin:end])
                    found[entry.key] = entry.value
    except (ValueError, google.protobuf.message.DecodeError):
        return {}
    return found


def external_files(path: str | os.PathLike[str]) -> list[str]:
    """Return the files, beside the model at *path*, in which it says that its weights are; none of another file."""
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            proto = onnx.ModelProto.FromString(light(data, "", _EMBEDDED))
    except (ValueError, WireError, google.protobuf.message.DecodeError):
        return []
    return sorted(external_places(tensors_of(proto.graph)) - {""})


def external_places(tensors: Iterable[onnx.TensorProto]) -> set[str]:
    """Return the locations of the external data of *tensors*."""
    return {entry.value for tensor in tensors for entry in tensor.external_data if entry.key == "location"}


def tensors_of(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Yield the weights of *graph* and the tensors in attributes, those of subgraphs included."""
    yield from graph.initializer
    for attribute in (attribute for node in graph.node for attribute in node.attribute):
        if attribute.HasField("t"):
            yield attribute.t
        if attribute.HasField("g"):
            yield from tensors_of(attribute.g)
        yield from attribute.tensors
        for body in attribute.graphs:
            yield from tensors_of(body)


def _light_graph(data: mmap.mmap | bytes, begin: int, end: int, location: str, heavy: int) -> Iterator[bytes]:
    for number, start, inner, stop in _fields(data, begin, end):
        if number == INITIALIZER and stop - inner > heavy:
            yield from _message(INITIALIZER, _light_tensor(data, inner, stop, location, heavy))
        else:
            yield data[start:stop]


def _light_tensor(data: mmap.mmap | bytes, begin: int, end: int, location: str, heavy: int) -> bytes:
    kept, where = [], None
    for number, start, inner, stop in _fields(data, begin, end):
        if number == RAW_DATA and stop - inner > heavy:
            where = inner, stop - inner
        else:
            kept.append(data[start:stop])
    if where is not None:
        external = onnx.TensorProto(data_location=onnx.TensorProto.EXTERNAL)
        for key, value in (("location", location), ("offset", where[0]), ("length", where[1])):
            external.external_data.add(key=key, value=str(value))
        kept.append(external.SerializeToString())
    return b"".join(kept)


def _filled_graph(data: bytes, begin: int, end: int, sizes: Mapping[str, int]) -> Iterator[bytes | str]:
    for number, start, inner, stop in _fields(data, begin, end):
        name = onnx.TensorProto.FromString(data[inner:stop]).name if number == INITIALIZER else ""
        if name in sizes:
            yield from _filled_message(INITIALIZER, list(_filled_tensor(data, inner, stop, name, sizes)), sizes)
        else:
            yield data[start:stop]


def _filled_tensor(data: bytes, begin: int, end: int, name: str, sizes: Mapping[str, int]) -> Iterator[bytes | str]:
    for number, start, _, stop in _fields(data, begin, end):
        if number == RAW_DATA:
            yield from _filled_message(RAW_DATA, [name], sizes)
        else:
            yield data[start:stop]


def _filled_message(number: int, content: list[bytes | str], sizes: Mapping[str, int]) -> Iterator[bytes | str]:
    yield _head(number, sum(sizes[piece] if isinstance(piece, str) else len(piece) for piece in content))
    yield from content


def _fields(data: mmap.mmap | bytes, position: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield (number, start, content's begin, end) of each field between *position* and *end*."""
    while position < end:
        start = position
        key, position = _varint(data, position, end)
        kind = key & 7
        if kind == _BYTES:
            length, position = _varint(data, position, end)
        elif kind == 0:
            length = _varint(data, position, end)[1] - position
        elif kind in _FIXED:
            length = _FIXED[kind]
        else:
            raise WireError("an unknown wire type")
        if position + length > end:
            raise WireError("a field ends behind the message")
        yield key >> 3, start, position, position + length
        position += length


def _varint(data: mmap.mmap | bytes, position: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while position < end and shift < 70:
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position
    raise WireError("a number ends behind the message")


def _message(number: int, content: bytes) -> list[bytes]:
    return [_head(number, len(content)), content]


def _head(number: int, length: int) -> bytes:
    return _encoded(number << 3 | _BYTES) + _encoded(length)


def _encoded(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
