"""`batch`: explain the pictures of a source, part by part, and write rows."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import islice
from queue import SimpleQueue
from threading import Lock
from typing import Any, Unpack

import pyarrow as pa
import pyarrow.parquet as pq

from onnxcam.batching import schema
from onnxcam.batching.addresses import filesystem, is_remote, storage
from onnxcam.batching.job import Job
from onnxcam.batching.processors import processors
from onnxcam.batching.sources import Picture, Source, read_source
from onnxcam.batching.store import HEADER, OURS, Store, open_store
from onnxcam.batching.supervisor import SECONDS, PictureRows, Supervisor
from onnxcam.errors import ModelError, OnnxcamError, OutputError
from onnxcam.explainer.explanation import Drawing
from onnxcam.explainer.options import Options
from onnxcam.graph.io import ModelLike
from onnxcam.methods import find_method
from onnxcam.methods.base import AUTO
from onnxcam.progress import Progress, quiet
from onnxcam.shards import Shard
from onnxcam.text import in_message, to_json

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
        targets: What is explained in each picture; its own target in a manifest goes before. None: the model chooses.
        truth: Ground truth, see `onnxcam.metrics.truth.Truth`.
        mask_values: Meaning of values of masks, see `Truth`.
        images: Folder that the paths of a manifest, or of COCO JSON, are relative to.
        shard: ``"i/n"``: only the pictures of shard i, from 0, of n.
        part_size: Pictures in a part; None: 512, or 32 for methods of many passes.
        workers: Processes that explain; each has its share of the processors.
        overlays: Write overlays, drawn like this.
        maps: ``"raw"``, or ``"none"`` for rows without the raw map.
        picture_timeout: Seconds after which a picture is given up.
        retry_errors: Make parts again that hold a row with an error.
        overwrite: Remove the batch in *dest* first.
        options: Arguments of `onnxcam.Explainer`; *progress* wraps the numbers of the pictures.

    Raises:
        OnnxcamError: the source, the model or an option is not valid, or *dest* holds another batch.

    Example:
        >>> batch("model.onnx", "s3://bucket/photos", "results", shard="0/8")
    """
    names = [source] if isinstance(source, str | os.PathLike) else list(source)
    if maps not in ("raw", "none"):
        raise OutputError(f"no maps are called {maps!r}; there are raw and none")
    if workers < 1 or (part_size is not None and part_size < 1):
        raise OnnxcamError("workers and the part size are whole numbers of at least 1")
    own, found, store = Shard.parse(shard), read_source(names, images), open_store(dest)
    progress = options.pop("progress", quiet)
    method = options.get("method", AUTO)
    slow = method != AUTO and not find_method(method).in_graph
    count = part_size or (PART_SLOW if slow else PART)
    share = max(1, processors() // workers)
    said = os.fspath(truth) if truth is not None else found.truth
    explainer = {"model": _model(model), **options}
    job = Job(explainer, targets, said, mask_values, overlays, maps, threads=(share, min(4, share + 1)))
    with _Crew(job, workers, picture_timeout) as crew:
        identity = {**crew.identity, "part_size": count, "source": {"pictures": len(found), "sha256": found.digest}}
        wanted = schema.schema(found.own, identity)
        _open(store, identity, overwrite)
        run = _BatchRun(found, own, store, wanted, count, crew, progress)
        run.run(_failed(store) if retry_errors else ())
    return write_summary(store, own, [name for _, name in run.parts()])


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


def _failed(store: Store) -> list[str]:
    """Return the parts that hold a row with an error."""
    parts = [name for name in store.names() if name.startswith("part-")]
    return [name for name in parts if any(row["error"] for row in _rows(store, name, ["error"]))]


def _rows(store: Store, part: str, columns: list[str]) -> list[dict[str, Any]]:
    """Return some columns of the rows of a part."""
    found: list[dict[str, Any]] = pq.read_table(pa.BufferReader(store.get(part)), columns=columns).to_pylist()
    return found


def _model(model: ModelLike) -> ModelLike:
    """Return what a process elsewhere can open: the absolute path of a file, or the bytes at an address."""
    if not isinstance(model, str | os.PathLike):
        return model
    text = os.fspath(model)
    if not is_remote(text):
        return os.path.abspath(text)
    system, path = filesystem(text)
    with storage(text, ModelError):
        return bytes(system.cat_file(path))


class _Crew:
    """Processes that explain; the first is started at once, the others with it."""

    def __init__(self, job: Job, count: int, seconds: float) -> None:
        with ThreadPoolExecutor(count) as pool:
            self._all = list(pool.map(lambda _: Supervisor(job, seconds), range(count)))
        self._free: SimpleQueue[Supervisor] = SimpleQueue()
        for one in self._all:
            self._free.put(one)
        self.identity = self._all[0].identity
        self.count = count

    def __enter__(self) -> _Crew:
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._all:
            one.close()

    def explain(self, pictures: Sequence[Picture], finished: Any) -> dict[int, PictureRows]:
        """Explain *pictures* in a process that is free."""
        one = self._free.get()
        try:
            return one.explain(pictures, finished)
        finally:
            self._free.put(one)


@dataclass
class _BatchRun:
    """A run over one shard."""

    source: Source
    shard: Shard
    store: Store
    schema: pa.Schema
    part_size: int
    crew: _Crew
    progress: Progress

    def __post_init__(self) -> None:
        self._lock = Lock()

    def run(self, again: Collection[str] = ()) -> None:
        """Make the parts that are missing, and *again* those of these names."""
        there = set(self.store.names()) - set(again)
        own = sum(self.shard.has(one) for one in self.source.ids())
        self._ticks = iter(self.progress(range(own), own))
        missing = ((pictures, name) for pictures, name in self.parts() if not self._is_there(name, there, pictures))
        with ThreadPoolExecutor(self.crew.count, "part") as pool:
            waiting = [pool.submit(self._make, *one) for one in islice(missing, self.crew.count + 1)]
            while waiting:
                waiting.pop(0).result()
                waiting += [pool.submit(self._make, *one) for one in islice(missing, 1)]
        next(self._ticks, None)

    def parts(self) -> Iterator[tuple[list[Picture], str]]:
        """Yield the pictures of each part, and the name of its file."""
        own = (one for one in self.source.pictures() if self.shard.has(one.id))
        number = 0
        while pictures := list(islice(own, self.part_size)):
            yield pictures, self.shard.part(number)
            number += 1

    def _is_there(self, name: str, there: set[str], pictures: Sequence[Picture]) -> bool:
        if name in there:
            for one in pictures:
                self._tick(one)
        return name in there

    def _tick(self, _: Picture) -> None:
        with self._lock:
            next(self._ticks, None)

    def _make(self, pictures: Sequence[Picture], name: str) -> None:
        """Explain the pictures of a part, and write it."""
        found = self.crew.explain(pictures, self._tick)
        extra = self.source.columns([one.number for one in pictures])
        rows = [
            {**own, **row, "number": one.number, "id": one.id, "path": one.path, **self._overlay(one, at, found)}
            for one, own in zip(pictures, extra, strict=True)
            for at, row in enumerate(found[one.number][0])
        ]
        self.store.put(name, schema.to_bytes(schema.table(rows, self.schema)))

    def _overlay(self, picture: Picture, at: int, found: Mapping[int, PictureRows]) -> dict[str, str]:
        """Write the overlay of a row, if there is one."""
        data = found[picture.number][1].get(at)
        if data is None:
            return {}
        ending = ".jpg" if data[:2] == b"\xff\xd8" else ".png" if data[:4] == b"\x89PNG" else ".webp"
        name = f"overlays/{picture.number:09d}-{at}{ending}"
        self.store.put(name, data)
        return {"overlay": name}


def write_summary(store: Store, shard: Shard, parts: Sequence[str]) -> BatchSummary:
    """Count the rows of *parts*, write the summary that says the shard is complete, and return it."""
    pictures = rows = errors = 0
    first, warnings = "", Counter[str]()
    for name in parts:
        own = _rows(store, name, ["number", "id", "error", "warnings"])
        failed = [row for row in own if row["error"]]
        pictures, rows, errors = pictures + len({row["number"] for row in own}), rows + len(own), errors + len(failed)
        first = first or next((f"{row['id']}: {row['error']}" for row in failed), "")
        warnings.update(warning for row in own for warning in row["warnings"] or ())
    found = BatchSummary(pictures, rows, errors, first, dict(warnings.most_common(_WARNINGS)))
    content = {"format": "onnxcam.batch.summary", **asdict(found), "parts": len(parts)}
    store.put(shard.summary, (to_json(content) + "\n").encode())
    return found
