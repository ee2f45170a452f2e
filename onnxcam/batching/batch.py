"""`batch`: explain the pictures of a source, part by part, and write rows."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, Unpack

from onnxcam.batching import schema
from onnxcam.batching.addresses import filesystem, is_remote, storage
from onnxcam.batching.job import Job
from onnxcam.batching.local_engine import LocalEngine
from onnxcam.batching.parts import BatchPart, PartWriter
from onnxcam.batching.sources import Picture, Source, read_source
from onnxcam.batching.store import HEADER, OURS, Store, open_store
from onnxcam.batching.supervisor import SECONDS
from onnxcam.errors import IncompleteError, ModelError, OnnxcamError, OutputError
from onnxcam.explainer.drawing import Drawing
from onnxcam.explainer.options import Options
from onnxcam.graph.io import ModelLike
from onnxcam.hub import HubAddress, local
from onnxcam.methods import find_method
from onnxcam.methods.base import AUTO
from onnxcam.progress import Progress, quiet
from onnxcam.shards import Shard, shard_count
from onnxcam.text import in_message, to_json

if TYPE_CHECKING:
    from onnxcam.batching.ray_engine import RayEngine

__all__ = ["PART", "PART_SLOW", "BatchSummary", "batch", "header_of", "write_summary"]

PART, PART_SLOW = 512, 32
"""Pictures in a part; of methods of many passes, which take seconds for each."""
_WARNINGS = 20
"""Different warnings that a summary keeps."""


@dataclass(frozen=True)
class BatchSummary:
    """What a run wrote.

    Attributes:
        pictures: Pictures of the shard.
        rows: Rows: one for each picture and target.
        errors: Rows with an error.
        first_error: The id and the error of the first of them; empty if there is none.
        warnings: Each warning of the rows, and how many have it; the most frequent first.
    """

    pictures: int
    rows: int
    errors: int
    first_error: str = ""
    warnings: Mapping[str, int] = field(default_factory=dict)


def batch(
    model: ModelLike,
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    dest: str | os.PathLike[str],
    *,
    targets: Sequence[str | None] = (None,),
    truth: str | os.PathLike[str] | None = None,
    mask_values: str = "object",
    images: str | None = None,
    shard: str = "0/1",
    part_size: int | None = None,
    workers: int = 1,
    overlays: Drawing | None = None,
    maps: str = "raw",
    engine: Literal["local", "ray"] = "local",
    cpus: int | None = None,
    gpus: float = 0.0,
    address: str | None = None,
    picture_timeout: float = SECONDS,
    retry_errors: bool = False,
    overwrite: bool = False,
    **options: Unpack[Options],
) -> BatchSummary:
    """Explain the pictures of *source*; write one row for each picture and target, also for those that fail.

    Rows are written to ``part-….parquet`` in *dest* (docs/batch.md describes their columns). A part is whole or not
    there. The same call resumes an interrupted run: it makes the parts that are missing. Parts do not depend on what
    ran before, or beside it.

    Args:
        model: A path, an address such as ``s3://bucket/model.onnx``, or the model's bytes.
        source: What `onnxcam.batching.sources.read_source` reads, or several of these.
        dest: Folder, or an address such as ``s3://bucket/results``.
        targets: What is explained in each picture, each once; its own target in a manifest goes before. None: the
            model chooses.
        truth: Ground truth, see `onnxcam.metrics.truth.Truth`.
        mask_values: Meaning of values of masks, see `Truth`.
        images: Folder that the paths of a manifest, or of COCO JSON, are relative to.
        shard: ``"i/n"``: only the pictures of shard i, from 0, of n.
        part_size: Pictures in a part; None: 512, or 32 for methods of many passes.
        workers: Processes that explain; each has its share of the processors. With Ray: actors.
        overlays: Write overlays, drawn like this.
        maps: ``"raw"``, or ``"none"`` for rows without the raw map.
        engine: ``"local"``: processes of this machine; ``"ray"``: actors of Ray Data (docs/batch-ray.md).
        cpus: Processors of each worker; None: its share.
        gpus: With Ray: GPUs of each worker, such as 0.25.
        address: With Ray: the cluster, such as ``"auto"``; None: ``RAY_ADDRESS``, or a cluster on this machine.
        picture_timeout: Seconds after which a picture is given up.
        retry_errors: Make parts again that hold a row with an error.
        overwrite: Remove the batch in *dest* first.
        options: Arguments of `onnxcam.Explainer`; *progress* wraps the numbers of the pictures.

    Raises:
        OnnxcamError: the source, the model or an option is not valid, or *dest* holds another batch.
        IncompleteError: the run ended, and rows are missing.

    Example:
        >>> batch("model.onnx", "s3://bucket/photos", "results", shard="0/8")
    """
    names = [source] if isinstance(source, str | os.PathLike) else list(source)
    if maps not in ("raw", "none"):
        raise OutputError(f"no maps are called {maps!r}; there are raw and none")
    if min(workers, part_size or 1, cpus or 1) < 1:
        raise OnnxcamError("workers, cpus and the part size are whole numbers of at least 1")
    own, store = Shard.parse(shard), open_store(dest)
    _require_same_count(store, own, overwrite)
    found = read_source(names, images)
    progress = options.pop("progress", quiet)
    method = options.get("method", AUTO)
    slow = method != AUTO and not find_method(method).in_graph
    count = part_size or (PART_SLOW if slow else PART)
    said = os.fspath(truth) if truth is not None else found.truth
    job = Job({"model": _model(model), **options}, list(dict.fromkeys(targets)), said, mask_values, overlays, maps)
    with _engine(engine, job, workers, cpus, picture_timeout, gpus, address) as explaining:
        identity = {
            **explaining.identity,
            "part_size": count,
            "source": {"pictures": len(found), "sha256": found.digest},
        }
        writer = PartWriter(store, schema.schema(found.own, identity), job.overlay_suffix)
        _open(store, identity, overwrite)
        run = _BatchRun(found, own, writer, count, progress)
        run.run(explaining, _failed(store) if retry_errors else ())
    return write_summary(store, own, run.complete(), run.own)


def _engine(
    name: str, job: Job, workers: int, cpus: int | None, seconds: float, gpus: float, address: str | None
) -> LocalEngine | RayEngine:
    if name == "ray":
        from onnxcam.batching.ray_engine import RayEngine

        return RayEngine(job, workers, cpus, seconds, gpus, address)
    if name != "local":
        raise OnnxcamError(f"no engine is called {name!r}; there are local and ray")
    if gpus or address:
        raise OnnxcamError("gpus and an address are for Ray; add engine='ray' (--engine ray)")
    return LocalEngine(job, workers, cpus, seconds)


def header_of(store: Store) -> dict[str, Any]:
    """Return what decides the rows of the batch in *store*; OutputError where there is none."""
    if HEADER not in store.names():
        raise OutputError(f"{in_message(store.address)}: no batch is there; name folders that `onnxcam batch` wrote")
    content: dict[str, Any] = json.loads(store.get(HEADER))
    return content


def _open(store: Store, identity: Mapping[str, Any], overwrite: bool) -> None:
    """Write the header of the batch; OutputError where *store* holds another batch, or other files of its names."""
    header = {"format": "onnxcam.batch", "schema": schema.VERSION, **identity}
    names = [name for name in store.names() if OURS.fullmatch(name)]
    if names and overwrite:
        store.remove(names)
        names = []
    if HEADER in names:
        differing = sorted(schema.differing(header_of(store), json.loads(json.dumps(header))))
        if differing:
            raise OutputError(
                f"{in_message(store.address)}: holds the batch of another run (other {', '.join(differing)}); choose "
                "another folder with -o, or --overwrite it"
            )
        return
    if names:
        raise OutputError(
            f"{in_message(store.address)}: holds '{names[0]}' and no {HEADER}; choose another folder with -o, or "
            "--overwrite it"
        )
    store.put(HEADER, (to_json(header) + "\n").encode())


def _require_same_count(store: Store, own: Shard, overwrite: bool) -> None:
    """Raise OutputError where *store* holds parts of another number of shards, which cannot be merged with *own*."""
    if overwrite:
        return
    for name in store.names():
        count = shard_count(name)
        if count is not None and count != own.count:
            raise OutputError(
                f"{in_message(store.address)}: holds '{name}' of a run in {count} shard{'s' * (count > 1)}, and shard "
                f"{own} is of one in {own.count}; give --shard i/{count}, choose another folder with -o, or "
                "--overwrite it"
            )


def _failed(store: Store) -> list[str]:
    """Return the parts that hold a row with an error."""
    parts = [name for name in store.names() if name.startswith("part-")]
    return [name for name in parts if any(row["error"] for row in _rows(store, name, ["error"]))]


def _rows(store: Store, part: str, columns: list[str]) -> list[dict[str, Any]]:
    """Return some columns of the rows of a part."""
    found: list[dict[str, Any]] = schema.from_bytes(store.get(part), columns).to_pylist()
    return found


def _model(model: ModelLike) -> ModelLike:
    """Return what a process elsewhere can open: the absolute path of a file, or the bytes at an address."""
    if not isinstance(model, str | os.PathLike):
        return model
    text = os.fspath(model if HubAddress.of(model) is None else local(model))
    if not is_remote(text):
        return os.path.abspath(text)
    system, path = filesystem(text)
    with storage(text, ModelError):
        return bytes(system.cat_file(path))


@dataclass
class _BatchRun:
    """A run over one shard, which has *own* pictures."""

    source: Source
    shard: Shard
    writer: PartWriter
    part_size: int
    progress: Progress

    def __post_init__(self) -> None:
        self._lock = Lock()
        self.own = sum(self.shard.has(one) for one in self.source.ids())

    def run(self, engine: LocalEngine | RayEngine, again: Collection[str] = ()) -> None:
        """Make the parts that are missing, and *again* those of these names."""
        there = set(self.writer.store.names()) - set(again)
        self._ticks = iter(self.progress(range(self.own), self.own))
        missing = (self._part(*one) for one in self.parts() if not self._is_there(*one, there))
        engine.make(missing, self.writer, self._tick)
        next(self._ticks, None)

    def complete(self) -> list[str]:
        """Return the names of all parts; IncompleteError where one was not made."""
        there, names = set(self.writer.store.names()), [name for _, name in self.parts()]
        missing = [name for name in names if name not in there]
        if missing:
            raise IncompleteError(
                f"{in_message(self.writer.store.address)}: {len(missing)} of {len(names)} parts are missing after the "
                f"run, the first is {missing[0]}; repeat the command, which makes these alone"
            )
        return names

    def parts(self) -> Iterator[tuple[list[Picture], str]]:
        """Yield the pictures of each part, and the name of its file."""
        own = (one for one in self.source.pictures() if self.shard.has(one.id))
        number = 0
        while pictures := list(islice(own, self.part_size)):
            yield pictures, self.shard.part(number)
            number += 1

    def _part(self, pictures: Sequence[Picture], name: str) -> BatchPart:
        return BatchPart(name, pictures, self.source.columns([one.number for one in pictures]))

    def _is_there(self, pictures: Sequence[Picture], name: str, there: set[str]) -> bool:
        if name in there:
            for one in pictures:
                self._tick(one)
        return name in there

    def _tick(self, _: Picture) -> None:
        with self._lock:
            next(self._ticks, None)


def write_summary(store: Store, shard: Shard, parts: Sequence[str], expected: int) -> BatchSummary:
    """Count the rows of *parts*, write the summary that says the shard is complete, and return it.

    IncompleteError, and no summary, where *parts* hold more or fewer than the *expected* number of pictures.
    """
    pictures = rows = errors = 0
    first, warnings = "", Counter[str]()
    for name in parts:
        own = _rows(store, name, ["number", "id", "error", "warnings"])
        failed = [row for row in own if row["error"]]
        pictures, rows, errors = pictures + len({row["number"] for row in own}), rows + len(own), errors + len(failed)
        first = first or next((f"{row['id']}: {row['error']}" for row in failed), "")
        warnings.update(warning for row in own for warning in row["warnings"] or ())
    if pictures != expected:
        raise IncompleteError(
            f"{in_message(store.address)}: the parts hold rows of {pictures} pictures, and the source has {expected}; "
            "repeat the command with --overwrite, which makes all parts again"
        )
    found = BatchSummary(pictures, rows, errors, first, dict(warnings.most_common(_WARNINGS)))
    content = {"format": "onnxcam.batch.summary", **asdict(found), "parts": len(parts)}
    store.put(shard.summary, (to_json(content) + "\n").encode())
    return found
