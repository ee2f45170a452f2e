"""A process of a run: it builds the explainer, explains pictures chunk by chunk, and sends their rows.

`onnxcam.batching.supervisor` starts it as ``python -m onnxcam.batching.worker``. Frames hold pickles. Where a picture
ends the process, the supervisor knows which ones were under way.
"""

from __future__ import annotations

import hashlib
import pickle
import signal
import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxcam import engine, pipeline
from onnxcam.batching.addresses import is_remote, read
from onnxcam.batching.job import CHUNK, DONE, FAILED, JOB, READY, STARTED, Job
from onnxcam.batching.measures import look_of
from onnxcam.batching.rows import TrueContent, failed_row, row_of
from onnxcam.batching.schema import BatchRow
from onnxcam.batching.sources import Picture
from onnxcam.child_process import read_frame, serving, write_frame
from onnxcam.errors import GuessWarning, ImageError, MethodError, MissingRuleError, OnnxcamError, ProviderError
from onnxcam.explainer.drawing import Drawing
from onnxcam.explainer.explainer import Explainer
from onnxcam.explainer.explanation import Explanation
from onnxcam.explainer.many import identity
from onnxcam.explainer.request import PreprocessedImage
from onnxcam.media import image as images
from onnxcam.metrics.truth import Truth
from onnxcam.text import in_message

__all__ = ["FINISHERS", "ExplainedPicture", "LoadedPicture", "Worker", "main"]

FINISHERS = 1
"""Threads that measure maps and send rows."""
_OF_EVERY_PICTURE = (ProviderError, MethodError, MissingRuleError)
"""Errors that every picture has: they end the run."""


@dataclass(frozen=True)
class LoadedPicture:
    """A picture that was read: its hash, its content or the error, and the columns that describe it."""

    picture: Picture
    sha256: str | None
    content: PreprocessedImage | OnnxcamError
    look: BatchRow


@dataclass(frozen=True)
class ExplainedPicture:
    """A picture and what was found for each of its targets."""

    loaded: LoadedPicture
    found: Sequence[Explanation | BatchRow]


class Worker:
    """Explains pictures.

    Args:
        job: What is done with each.
        send: Sends a frame, a letter and what is pickled; threads may call it.

    Attributes:
        identity: What decides the rows: model, method, preprocessing, targets ….
    """

    def __init__(self, job: Job, send: Any) -> None:
        import cv2

        self._job, self._send = job, send
        compute, self._readers = job.threads
        engine.limit_threads(compute)
        cv2.setNumThreads(1)  # pictures are decoded side by side
        self.explainer = Explainer(**{"spin": False, **job.explainer}, features=True)
        for target in job.targets:
            self.explainer.check(target)
        self._truth = None if job.truth is None else Truth(job.truth, job.mask_values)
        self.identity = {
            **identity(self.explainer, job.targets),
            "truth": None if job.truth is None else Path(job.truth).name,
            "overlays": job.overlays is not None,
            "maps": job.maps,
        }

    def run(self, pictures: Sequence[Picture], alone: bool) -> None:
        """Explain *pictures*, and send the rows of each; with *alone*, one after the other."""
        if alone or not all(self._decodes(picture) for picture in pictures):
            for picture in pictures:
                self._finish(self._explain([(picture, self._load(picture))]))
            return
        batches = [[picture] for picture in pictures]
        pipeline.run(batches, self._load, self._explain, self._finish, jobs=self._readers, finishers=FINISHERS)

    def _decodes(self, picture: Picture) -> bool:
        return self.explainer.network.modality.decodes(picture.path)

    def _load(self, picture: Picture) -> LoadedPicture:
        """Read and preprocess a picture."""
        self._send(STARTED, picture.number)
        sha256 = None
        try:
            data = read(picture.path, picture.offset, picture.size)
            sha256 = hashlib.sha256(data).hexdigest()
            if not data:
                raise ImageError(f"{in_message(picture.path)}: the file is empty; copy the image again")
            if not self._decodes(picture):
                return LoadedPicture(picture, sha256, self.explainer.prepare(_local(picture)), {})
            content = images.decode(data, picture.path, self.explainer.network.warn)
            return LoadedPicture(picture, sha256, self.explainer.prepare(content), look_of(content))
        except OnnxcamError as error:
            return LoadedPicture(picture, sha256, error, {})
        except Exception as error:  # a function of the user, or a library: the row says so
            return LoadedPicture(picture, sha256, _unexpected(error), {})

    def _explain(self, batch: Sequence[tuple[Picture, LoadedPicture]]) -> ExplainedPicture:
        ((_, loaded),) = batch
        own = loaded.picture.target
        targets = self._job.targets if own is None else [own]
        if isinstance(loaded.content, OnnxcamError):
            return ExplainedPicture(loaded, [failed_row(loaded.content, targets[0])])
        return ExplainedPicture(loaded, self._each(loaded.content, targets))

    def _each(self, content: PreprocessedImage, targets: Sequence[str | None]) -> Sequence[Explanation | BatchRow]:
        try:
            return self.explainer.each(content, targets)
        except _OF_EVERY_PICTURE:
            raise
        except Exception as error:
            if len(targets) > 1:  # one of them has it
                return [one for target in targets for one in self._each(content, [target])]
            return [failed_row(error if isinstance(error, OnnxcamError) else _unexpected(error), targets[0])]

    def _finish(self, explained: ExplainedPicture) -> None:
        """Send the rows of a picture, and its overlays by the number of the row."""
        loaded = explained.loaded
        own = {"sha256": loaded.sha256, **loaded.look}
        rows: list[BatchRow] = []
        overlays: dict[int, bytes] = {}
        for one in explained.found:
            row = one if isinstance(one, dict) else self._row(one, loaded.picture)
            if isinstance(one, Explanation) and self._job.overlays is not None:
                drawing: Drawing = {**self._job.overlays, "maps": "overlay"}
                overlays[len(rows)] = one.encode("overlay", **drawing)["overlay"][1]
            rows.append({**own, **row})
        self._send(DONE, (loaded.picture.number, rows, overlays))

    def _row(self, explanation: Explanation, picture: Picture) -> BatchRow:
        """Return the row of an explanation, or of the error in its truth."""
        try:
            height, width = explanation.image.shape[:2]
            row = row_of(explanation, TrueContent.read(picture, self._truth, (height, width)), self.explainer)
        except OnnxcamError as error:
            return failed_row(error, explanation.words)
        except Exception as error:
            return failed_row(_unexpected(error), explanation.words)
        return row if self._job.maps == "raw" else {**row, "map": None}


def _unexpected(error: Exception) -> OnnxcamError:
    return OnnxcamError(f"{type(error).__name__}: {error}")


def _local(picture: Picture) -> str:
    """Return the path of a picture that is no image; its reader takes files of this machine."""
    if is_remote(picture.path) or picture.offset is not None:
        raise ImageError(f"{in_message(picture.path)}: volumes are read from files of this machine; copy it")
    return picture.path


def main() -> None:
    """Serve the supervisor until it closes the input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the supervisor decides
    warnings.simplefilter("ignore", GuessWarning)  # rows hold it
    given, answers = serving()
    lock = threading.Lock()

    def send(kind: bytes, content: Any) -> None:
        with lock:
            write_frame(answers, kind, pickle.dumps(content))

    try:
        frame = read_frame(given)
        if frame is None:
            return
        assert frame[0] == JOB
        worker = Worker(pickle.loads(frame[1]), send)
        send(READY, worker.identity)
        while (frame := read_frame(given)) is not None:
            assert frame[0] == CHUNK
            worker.run(*pickle.loads(frame[1]))
    except OnnxcamError as error:
        send(FAILED, (type(error).__name__, str(error)))
    except BrokenPipeError:  # the supervisor is gone
        return


if __name__ == "__main__":
    main()
