"""A folder of graphs that were made from model files, kept from one start to the next.

An entry is one file: a line with the SHA-256 of the rest, a line of JSON, and an ONNX model without the weights, which
stay in the model's own files. Its name is the hash of everything that decides its content.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache, cached_property
from io import RawIOBase
from pathlib import Path
from typing import Any, TypeAlias

import onnx
import onnx_ir as ir

from onnxcam import __version__, files
from onnxcam.errors import ModelError, OutputError
from onnxcam.graph.io import parsed, read_light, to_bytes
from onnxcam.wire import tensors_of

__all__ = ["ENTRIES", "GraphCache", "KeptGraph"]

ENTRIES = 200
"""The most entries of a folder; those unused for longest are deleted."""
_SUFFIX = ".graph"
_MAGIC = b"onnxcam graph 1 "
_SAMPLES, _SAMPLE = 64, 4096  # pieces of a weight file that are hashed, and their bytes
_DECIDING = ("onnx", "onnx-ir", "numpy")  # packages beside onnxcam and ONNX Runtime


@dataclass(frozen=True)
class KeptGraph:
    """A graph from the cache: the content of its ``.onnx`` file, and what was noted with it."""

    data: bytes
    facts: Mapping[str, Any]


@dataclass
class GraphCache:
    """The entries of one model file in a folder.

    Attributes:
        folder: The folder; it is made if it is missing.
        model: The model's file.
        warnings: A sentence about each entry that is damaged or of other origin; it is built again.

    Raises:
        OutputError: the folder cannot be made.
    """

    folder: Path
    model: Path
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        with self._writing():
            self.folder.mkdir(parents=True, exist_ok=True)

    def find(self, *question: Any) -> KeptGraph | None:
        """Return the graph that was kept for *question*, values of JSON; None if there is none that can be used."""
        path = self._path(question)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            self.warnings.append(f"entry '{path}' of the cache cannot be read ({error.strerror}); it was built again")
            return None
        found = self._checked(data)
        if found is None:
            self.warnings.append(f"entry '{path}' of the cache is damaged or of other origin; it was built again")
            return None
        with suppress(OSError):  # a folder that may only be read
            os.utime(path)
        return found

    def keep(self, model: ir.Model, facts: Mapping[str, Any], *question: Any) -> None:
        """Write *model* and *facts*, values of JSON, as the graph for *question*; OutputError if that fails."""
        rest = json.dumps(facts).encode() + b"\n" + to_bytes(model)
        path = self._path(question)
        with self._writing(), files.drafted(path) as draft:
            draft.write_bytes(_MAGIC + hashlib.sha256(rest).hexdigest().encode() + b"\n" + rest)
        self._delete_oldest()

    def _checked(self, data: bytes) -> KeptGraph | None:
        """Return the entry in *data*; None if it is damaged, or refers to other weights than the model's."""
        first, _, rest = data.partition(b"\n")
        if first != _MAGIC + hashlib.sha256(rest).hexdigest().encode():
            return None
        facts, _, content = rest.partition(b"\n")
        try:
            found, places = KeptGraph(content, json.loads(facts)), _places(parsed(content, "the entry"))
        except (ValueError, ModelError):
            return None
        return found if places <= self._source.places else None

    def _path(self, question: tuple[Any, ...]) -> Path:
        asked = json.dumps([_versions(), self._source.digest, *question], sort_keys=True)
        return self.folder / f"{hashlib.sha256(asked.encode()).hexdigest()}{_SUFFIX}"

    @cached_property
    def _source(self) -> _WeightFiles:
        return _WeightFiles.of(self.model)

    def _delete_oldest(self) -> None:
        with suppress(OSError):  # another process deletes too
            entries = sorted(self.folder.glob(f"*{_SUFFIX}"), key=lambda path: path.stat().st_mtime)
            for path in entries[:-ENTRIES]:
                path.unlink(missing_ok=True)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(
                f"cannot write the cache '{self.folder}': {error.strerror}; choose another folder (cache=, --cache)"
            ) from None


_WeightPlace: TypeAlias = "tuple[str, int, int]"
"""Where a weight lies: file, offset and length."""


@dataclass(frozen=True)
class _WeightFiles:
    """What identifies a model file: its graph, and the weights in its files."""

    digest: str
    places: frozenset[_WeightPlace]

    @classmethod
    def of(cls, path: Path) -> _WeightFiles:
        """Read the graph; of weights only size, time of change and samples, as reading all takes longer than a session.

        The entries hold no weights, so these need not be equal for an entry to be right about them.
        """
        light = read_light(path)
        places = _places(parsed(light, f"'{path}'"))
        found = hashlib.sha256(light)
        for location in sorted({location for location, *_ in places}):
            with (
                suppress(OSError),
                open(path.parent / location, "rb", buffering=0) as file,
            ):  # `load` reports a missing file
                about = os.fstat(file.fileno())
                found.update(f"{location} {about.st_size} {about.st_mtime_ns}".encode("utf-8", "surrogateescape"))
                for start in range(0, about.st_size, max(_SAMPLE, about.st_size // _SAMPLES)):
                    found.update(_piece(file, start))
        return cls(found.hexdigest(), places)


def _piece(file: RawIOBase, start: int) -> bytes:
    file.seek(start)
    return file.read(_SAMPLE) or b""


def _places(proto: onnx.ModelProto) -> frozenset[_WeightPlace]:
    """Return where the external weights of *proto* lie."""
    found = set()
    for tensor in tensors_of(proto.graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            known = {entry.key: entry.value for entry in tensor.external_data}
            found.add((known["location"], int(known.get("offset", 0)), int(known.get("length", 0))))
    return frozenset(found)


@cache
def _versions() -> list[str]:
    """Return the versions of all that makes or runs a graph."""
    installed = ("onnxruntime", "onnxruntime-gpu", *_DECIDING)
    return [__version__, *(f"{name} {_version(name)}" for name in installed)]


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""
