"""The engine of one machine: processes that explain, and a thread for each that writes its parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from queue import SimpleQueue

from onnxcam.batching.job import Job
from onnxcam.batching.parts import BatchPart, PartWriter
from onnxcam.batching.processors import processors
from onnxcam.batching.sources import Picture
from onnxcam.batching.supervisor import Supervisor

__all__ = ["LocalEngine"]


class LocalEngine:
    """Processes of this machine.

    Args:
        job: What is done with each picture.
        workers: Number of processes.
        cpus: Processors of each; None: its share of those of this machine.
        seconds: Time limit of one picture.

    Attributes:
        identity: What decides the rows.
    """

    def __init__(self, job: Job, workers: int, cpus: int | None, seconds: float) -> None:
        job = job.on(cpus or max(1, processors() // workers))
        with ThreadPoolExecutor(workers) as pool:
            self._all = list(pool.map(lambda _: Supervisor(job, seconds), range(workers)))
        self._free: SimpleQueue[Supervisor] = SimpleQueue()
        for one in self._all:
            self._free.put(one)
        self.identity = self._all[0].identity

    def __enter__(self) -> LocalEngine:
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._all:
            one.close()

    def make(self, parts: Iterator[BatchPart], writer: PartWriter, finished: Callable[[Picture], None]) -> None:
        """Make *parts*; *finished* is called with each picture, by any thread."""
        count = len(self._all)

        def make(part: BatchPart) -> None:
            one = self._free.get()
            try:
                found = one.explain(part.pictures, finished)
            finally:
                self._free.put(one)
            writer.write(part, found)

        with ThreadPoolExecutor(count, "part") as pool:
            waiting = [pool.submit(make, one) for one in islice(parts, count + 1)]
            while waiting:
                waiting.pop(0).result()
                waiting += [pool.submit(make, one) for one in islice(parts, 1)]
