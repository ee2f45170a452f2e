"""The engine over Ray Data: actors that each supervise a process that explains, on this machine or a cluster.

A row of the data set is a part; its actor writes the file itself, so that no map passes through Ray. The rows are in
Ray's object store from the start: no task reads them, so none waits for a processor that actors hold.
"""

from __future__ import annotations

import logging
import os
import pickle
import socket
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

import pyarrow as pa

from onnxcam.batching import schema
from onnxcam.batching.job import Job
from onnxcam.batching.parts import BatchPart, PartWriter
from onnxcam.batching.processors import processors
from onnxcam.batching.sources import Picture
from onnxcam.batching.store import HEADER, open_store
from onnxcam.batching.supervisor import Supervisor, error_of
from onnxcam.errors import EngineError, IncompleteError, OnnxcamError, OutputError
from onnxcam.text import first_line, in_message

__all__ = ["RETRIES", "PartActor", "RayEngine"]

RETRIES = 3
"""A part whose actor dies is tried again this often, by the same actor in a new process."""
_START = 1800.0
"""Time limit of the first explainer, in seconds, with the wait for its processors."""


class PartActor:
    """Makes parts. One is in each process of the pool, with the processors and GPUs that Ray gives it.

    Args:
        job: What is done with each picture.
        seconds: Time limit of one picture.
        folder: Working folder of the run, which relative paths begin at.
        address: Storage of the results.
        rows: Schema of the results.
        identity: What decides the rows, as another process said.
    """

    def __init__(
        self, job: Job, seconds: float, folder: str, address: str, rows: pa.Schema, identity: Mapping[str, Any]
    ) -> None:
        self._job, self._seconds, self._folder, self._identity = job, seconds, folder, identity
        self._address, self._rows = address, rows
        self._supervisor: Supervisor | None = None

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Make the part that is the one row of *batch*; return its name, and the error that ended the run, if any."""
        part: BatchPart = pickle.loads(batch["part"][0].as_py())
        kind, message = "", ""
        try:
            self._make(part)
        except OnnxcamError as error:
            kind, message = type(error).__name__, str(error)
        return pa.table({"name": [part.name], "kind": [kind], "error": [message]})

    def _make(self, part: BatchPart) -> None:
        if self._supervisor is None:
            self._supervisor = self._start()
        found = self._supervisor.explain(part.pictures)
        PartWriter(open_store(self._address), self._rows, self._job.overlay_suffix).write(part, found)

    def _start(self) -> Supervisor:
        """Return a process that explains as the others do, where the results are in sight."""
        _enter(self._folder)
        if HEADER not in open_store(self._address).names():
            raise OutputError(
                f"{in_message(self._address)}: the node {socket.gethostname()} does not see the results there; choose "
                "storage that all nodes see, such as a network drive or s3://"
            )
        found = Supervisor(self._job, self._seconds)
        differing = sorted(schema.differing(found.identity, self._identity))
        if differing:
            found.close()
            raise EngineError(
                f"the node {socket.gethostname()} would explain differently (other {', '.join(differing)}); install "
                "the same versions and files on all nodes"
            )
        return found


class RayEngine:
    """A pool of actors.

    Args:
        job: What is done with each picture.
        workers: Most actors at once.
        cpus: Processors of each; None: its share of those of the cluster, on one node.
        seconds: Time limit of one picture.
        gpus: GPUs of each, such as 0.25.
        address: The cluster; None: that of ``RAY_ADDRESS``, or one on this machine for this run.

    Attributes:
        identity: What decides the rows, as a process on a node that has these processors and GPUs says.

    Raises:
        EngineError: no cluster is there, or no node has these processors and GPUs.
        OnnxcamError: the explainer cannot be built.
    """

    def __init__(
        self, job: Job, workers: int, cpus: int | None, seconds: float, gpus: float, address: str | None
    ) -> None:
        self._ray = _ray()
        self._ours = not self._ray.is_initialized()
        if self._ours:
            _connect(self._ray, address or os.environ.get("RAY_ADDRESS"))
        try:
            self._cpus, self._gpus, self._workers = _share(self._ray.nodes(), workers, cpus, gpus), gpus, workers
            self._job, self._seconds = job.on(self._cpus), seconds
            self.identity = self._first_identity()
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> RayEngine:
        return self

    def __exit__(self, *_: object) -> None:
        if self._ours:
            self._ray.shutdown()

    def make(self, parts: Iterator[BatchPart], writer: PartWriter, finished: Callable[[Picture], None]) -> None:
        """Make *parts*; *finished* is called with the pictures of each.

        Raises:
            IncompleteError: Ray ends the run, as when a part ends its actor too often.
            OnnxcamError: an error that every picture has.
        """
        rest = {one.name: one for one in parts}
        if not rest:
            return
        blocks = [pa.table({"part": [pickle.dumps(one)]}) for one in rest.values()]
        constants = {
            "job": self._job,
            "seconds": self._seconds,
            "folder": os.getcwd(),
            "address": writer.store.address,
            "rows": writer.schema,
            "identity": self.identity,
        }
        size = min(self._workers, len(blocks))
        data = self._ray.data
        with _quiet(data):
            made = data.from_arrow(blocks).map_batches(
                PartActor,
                batch_size=1,
                batch_format="pyarrow",
                compute=data.ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=1),
                num_cpus=self._cpus,
                num_gpus=self._gpus or None,
                fn_constructor_kwargs=constants,
                max_task_retries=RETRIES,
            )
            with closing(self._rows(made)) as results:
                for row in results:
                    if row["kind"]:
                        raise error_of(row["kind"], row["error"])
                    for one in rest.pop(row["name"]).pictures:
                        finished(one)

    def _rows(self, made: Any) -> Generator[Mapping[str, Any], None, None]:
        """Yield the rows of a data set as they are made; IncompleteError for what Ray raises."""
        try:
            yield from made.iter_rows()
        except self._ray.exceptions.RayError as error:
            raise IncompleteError(
                f"Ray ended the run ({type(error).__name__}: {first_line(error)}); repeat the command, which makes the "
                "parts that are missing"
            ) from None

    def _first_identity(self) -> Mapping[str, Any]:
        """Return the identity that a process with the processors and GPUs of an actor says."""
        ray = self._ray
        task = ray.remote(num_cpus=self._cpus, num_gpus=self._gpus or None, max_retries=RETRIES)(_identity)
        try:
            identity, kind, message = ray.get(task.remote(self._job, os.getcwd()), timeout=_START)
        except ray.exceptions.GetTimeoutError:
            raise EngineError(
                f"no explainer was ready on the Ray cluster after {_START:g} s; look with `ray status` at what holds "
                "its processors and GPUs"
            ) from None
        except ray.exceptions.RayError as error:
            raise EngineError(
                f"Ray failed ({type(error).__name__}: {first_line(error)}); look at its logs, and whether onnxcam is "
                "on all nodes"
            ) from None
        if kind:
            raise error_of(kind, message)
        return identity


def _identity(job: Job, folder: str) -> tuple[Mapping[str, Any], str, str]:
    """Return what decides the rows, or an error, as its class and message."""
    try:
        _enter(folder)
        one = Supervisor(job)
    except OnnxcamError as error:
        return {}, type(error).__name__, str(error)
    one.close()
    return one.identity, "", ""


def _enter(folder: str) -> None:
    """Change to the working folder of the run."""
    try:
        os.chdir(folder)
    except OSError:
        raise EngineError(
            f"{in_message(folder)}: the node {socket.gethostname()} has no such folder; start onnxcam in a folder that "
            "all nodes have"
        ) from None


def _ray() -> Any:
    """Return Ray, without telemetry; EngineError where it is not installed."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data  # noqa: F401
    except ImportError as error:
        raise EngineError(f"the engine ray needs Ray Data ({first_line(error)}); pip install 'onnxcam[ray]'") from None
    return ray


def _connect(ray: Any, address: str | None) -> None:
    """Connect to the cluster at *address*, or start one on this machine, without dashboard."""
    own: dict[str, Any] = {} if address else {"num_cpus": processors(), "include_dashboard": False}
    try:
        ray.init(address=address or "local", logging_level=logging.ERROR, **own)
    except Exception as error:
        where = f"no Ray cluster at {in_message(address)}" if address else "Ray does not start on this machine"
        raise EngineError(f"{where} ({first_line(error)}); check the address, and the versions of Ray") from None


def _share(nodes: Sequence[Mapping[str, Any]], workers: int, cpus: int | None, gpus: float) -> int:
    """Return the processors of each of *workers* on the *nodes* of a cluster; EngineError where none has them."""
    nodes = [one["Resources"] for one in nodes if one["Alive"]]
    fitting = [one.get("CPU", 0) for one in nodes if one.get("GPU", 0) >= gpus]
    most = int(max(fitting, default=0))
    count = cpus or max(1, min(most, int(sum(fitting)) // workers))
    if count > most:
        device = f" and {gpus:g} GPUs" if gpus else ""
        raise EngineError(
            f"no node of the Ray cluster has {count} processors{device} (the largest of {len(nodes)} has "
            f"{max((one.get('CPU', 0) for one in nodes), default=0):g} and "
            f"{max((one.get('GPU', 0) for one in nodes), default=0):g}); ask for fewer, or add a node"
        )
    return count


@contextmanager
def _quiet(data: Any) -> Iterator[None]:
    """Leave progress and messages to onnxcam, and do without the warning that Ray 2.64 changes `max_task_retries`."""
    context, logger = data.DataContext.get_current(), logging.getLogger("ray.data")
    bars, level = context.enable_progress_bars, logger.level
    context.enable_progress_bars = False
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        context.enable_progress_bars = bars
        logger.setLevel(level)
