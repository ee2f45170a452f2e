"""The process that explains: how it starts, and how it ends before it is ready."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from onnxcam.batching import supervisor
from onnxcam.batching.job import Job
from onnxcam.batching.sources import Picture
from onnxcam.batching.supervisor import Supervisor
from onnxcam.child_process import ChildProcess
from onnxcam.errors import EngineError, IncompleteError, ModelError
from tests.batching.pictures import SHAPES


class EndsAtStart:
    """A class count that ends the process that unpickles it, unless a file says it did so often enough."""

    def __init__(self, log: str, times: int) -> None:
        self.log, self.times = log, times

    def __reduce__(self) -> tuple[object, ...]:
        return end, (self.log, self.times)


def end(log: str, times: int) -> NDArray[np.uint8] | None:
    """End this process, *times* in all."""
    with open(log, "a", encoding="utf-8") as file:
        file.write("x")
    if os.path.getsize(log) <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return None


def job(tmp_path: Path, times: int) -> Job:
    return Job({"model": SHAPES, "labels": EndsAtStart(str(tmp_path / "log"), times)})


def test_a_process_that_someone_ends_at_its_start_is_started_again(tmp_path: Path) -> None:
    one = Supervisor(job(tmp_path, 2))
    one.close()
    assert one.identity["method"] == "gradcam"


def test_a_process_that_always_ends_at_its_start_is_an_error(tmp_path: Path) -> None:
    message = r"the process that explains ended before it was ready \(signal 9\); its messages are above"
    with pytest.raises(EngineError, match=message):
        Supervisor(job(tmp_path, 9))
    assert (tmp_path / "log").read_text() == "xxx"


def test_an_error_of_the_model_is_raised_here(tmp_path: Path) -> None:
    (tmp_path / "no.onnx").write_bytes(b"no model")
    with pytest.raises(ModelError, match=r"no\.onnx"):
        Supervisor(Job({"model": str(tmp_path / "no.onnx")}))


def test_a_process_that_is_never_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_START", 0.01)
    with pytest.raises(EngineError, match=r"the process that explains was not ready after 0\.01 s"):
        Supervisor(Job({"model": SHAPES}))


def test_a_process_that_ends_between_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Supervisor, "_start", lambda _: None)
    monkeypatch.setattr(Supervisor, "_run", lambda *_: ([], "signal 9"))
    message = r"the process that explains ended between pictures \(signal 9\); its messages are above"
    with pytest.raises(IncompleteError, match=message):
        Supervisor(Job({"model": SHAPES})).explain([Picture(0, "a.png", "a.png")])


def test_how_a_process_ended() -> None:
    process = ChildProcess("onnxcam.no_such_module")
    assert process.receive(60) is None
    assert process.ending() == "exit code 1"
    assert not process.send(b"J", b"x" * 100_000)
