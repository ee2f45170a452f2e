"""A process that explains pictures. It is started again where a picture ends it; the picture becomes an error row."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from onnxcam import errors
from onnxcam.batching.job import CHUNK, DONE, FAILED, JOB, STARTED, Job
from onnxcam.batching.rows import failed_row
from onnxcam.batching.schema import BatchRow
from onnxcam.batching.sources import Picture
from onnxcam.child_process import ChildProcess
from onnxcam.errors import EngineError, IncompleteError, OnnxcamError

__all__ = ["ATTEMPTS", "HOPELESS", "SECONDS", "PictureRows", "Supervisor", "error_of"]

PictureRows: TypeAlias = "tuple[list[BatchRow], dict[int, bytes]]"
"""The rows of a picture, and its overlays by the number of the row."""

ATTEMPTS = 3
"""A picture that is under way when the process ends this often is given up."""
SECONDS = 600.0
"""Time limit of one picture."""
_START = 1800.0
"""Time limit of the start, in seconds: large models take minutes to load."""
_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**23), "MALLOC_TRIM_THRESHOLD_": str(2**25)}
"""glibc keeps the memory of a decoded picture for the next one: new pages cost time. Other C libraries ignore it."""
HOPELESS = 10
"""So many pictures in a row that end the process, and none before that does not, end the run."""


class Supervisor:
    """Explains pictures in a process of its own.

    Args:
        job: What is done with each picture.
        seconds: Time limit of one picture; the process is stopped then.

    Attributes:
        identity: What decides the rows, as the process says.

    Raises:
        OnnxcamError: the explainer cannot be built.
        EngineError: the process ends before it is ready.
    """

    def __init__(self, job: Job, seconds: float = SECONDS) -> None:
        self._job, self._seconds = job, seconds
        self._given_up, self._succeeded = 0, False
        self.identity: Mapping[str, Any] = {}
        self._start()

    def close(self) -> None:
        """Stop the process."""
        self._process.close()

    def explain(
        self, pictures: Sequence[Picture], finished: Callable[[Picture], None] = lambda _: None
    ) -> dict[int, PictureRows]:
        """Return the rows of *pictures* by their numbers; *finished* is called with each.

        Raises OnnxcamError for an error that every picture has.
        """
        found: dict[int, PictureRows] = {}
        ends: Counter[int] = Counter()
        idle = 0
        while rest := [one for one in pictures if one.number not in found]:
            under_way, how = self._run(rest, bool(ends), found, finished)
            if how is None:
                continue
            idle += not under_way
            if idle == ATTEMPTS:
                raise IncompleteError(
                    f"the process that explains ended between pictures ({how}); its messages are above"
                )
            ends.update(under_way)
            for one in rest:
                if ends[one.number] == ATTEMPTS and one.number not in found:
                    found[one.number] = self._give_up(one, how), {}
                    finished(one)
            self._start()
        return found

    def _start(self) -> None:
        """Start the process; again, where a signal ends it: that may be someone else's."""
        for attempt in range(1, ATTEMPTS + 1):
            how = self._started()
            if how is None:
                return
            if attempt == ATTEMPTS or not how.startswith("signal"):
                raise EngineError(
                    f"the process that explains ended before it was ready ({how}); its messages are above"
                )

    def _started(self) -> str | None:
        """Start the process; return None when it is ready, or how it ended. OnnxcamError if it cannot be ready."""
        self._process = ChildProcess("onnxcam.batching.worker", environment=_MEMORY)
        self._process.send(JOB, pickle.dumps(self._job))
        try:
            frame = self._process.receive(_START)
        except TimeoutError:
            self._process.close()
            raise EngineError(f"the process that explains was not ready after {_START:g} s") from None
        if frame is None:
            return self._process.ending()
        content = pickle.loads(frame[1])
        if frame[0] == FAILED:
            raise error_of(*content)
        self.identity = content
        return None

    def _run(
        self,
        pictures: Sequence[Picture],
        alone: bool,
        found: dict[int, PictureRows],
        finished: Callable[[Picture], None],
    ) -> tuple[list[int], str | None]:
        """Explain *pictures* as far as possible; return those under way at the end of the process, and how it ended."""
        if not self._process.send(CHUNK, pickle.dumps((list(pictures), alone))):
            return [], self._process.ending()
        rest, begun = {one.number: one for one in pictures}, set[int]()
        while rest:
            try:
                frame = self._process.receive(self._seconds)
            except TimeoutError:
                self._process.close()
                return sorted(begun), f"no answer for {self._seconds:g} s"
            if frame is None:
                return sorted(begun), self._process.ending()
            content = pickle.loads(frame[1])
            if frame[0] == FAILED:
                raise error_of(*content)
            if frame[0] == STARTED:
                begun.add(content)
            elif frame[0] == DONE:
                number, rows, overlays = content
                found[number] = rows, overlays
                begun.discard(number)
                self._succeeded = True
                finished(rest.pop(number))
        return [], None

    def _give_up(self, picture: Picture, how: str) -> list[BatchRow]:
        """Return the row of a picture that ended the process too often."""
        self._given_up += 1
        if self._given_up == HOPELESS and not self._succeeded:
            raise EngineError(
                f"the process that explains ended at each of the first {HOPELESS} pictures ({how}); the model or the "
                "runtime ends it: try one picture with `onnxcam explain`"
            )
        error = EngineError(f"the picture ended the process that explains it {ATTEMPTS} times ({how})")
        return [failed_row(error, picture.target)]


def error_of(kind: str, message: str) -> OnnxcamError:
    """Return the error that another process sent, by the name of its class."""
    found: type[OnnxcamError] = getattr(errors, kind, OnnxcamError)
    return found(message)
