"""Run cases, some at once, each in a process forked from one that has everything loaded; judge what they did."""

from __future__ import annotations

import getpass
import importlib
import json
import os
import pkgutil
import select
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.fuzz import child, companions, exports, models, others, outcome, pictures, recordings, words
from tests.fuzz.cases import CASES
from tests.fuzz.place import Place, fill_stock

KINDS = {
    "models": models.case,
    "pictures": pictures.case,
    "companions": companions.case,
    "recordings": recordings.case,
    "words": words.case,
    "others": others.case,
    "exports": exports.case,
}
NAMED = "cases"
"""The kind whose seed is the number of a case with a name."""


_CACHES = (f"torchinductor_{getpass.getuser()}",)
"""Folders that a framework makes where temporary files are, and uses again."""


@dataclass(frozen=True)
class Case:
    """One case: a kind and a seed, which together say everything."""

    kind: str
    seed: int

    def __str__(self) -> str:
        return f"{self.kind} {self.seed}"


@dataclass(frozen=True)
class Judged:
    """What a case did."""

    case: Case
    findings: list[str]
    remarks: list[str]
    seconds: float
    memory: float
    """Peak of the process, in MB; the program as it was loaded takes 120 of them."""
    ran: outcome.Ran


@dataclass
class _Running:
    case: Case
    base: Path
    pid: int
    handle: int
    began: float
    warned: bool = False


def run(wanted: Iterable[Case], jobs: int = 1) -> Iterator[Judged]:
    """Run the *wanted* cases, *jobs* at once, and yield each when it ends."""
    preload()
    folder = Path(tempfile.mkdtemp(prefix="onnxcam-fuzz-"))  # no TemporaryDirectory: a child that ends would remove it
    try:
        yield from _run(wanted, jobs, folder)
    finally:
        shutil.rmtree(folder)


def _run(wanted: Iterable[Case], jobs: int, folder: Path) -> Iterator[Judged]:
    stock, wanted = folder / "stock", list(wanted)
    _make_stock(stock)
    if any(case.kind == "exports" for case in wanted):
        exports.fill_stock(stock)
    running: list[_Running] = []
    for number, case in enumerate(wanted):
        running.append(_start(case, folder / str(number), stock))
        while len(running) >= jobs:
            yield from _ended(running)
    while running:
        yield from _ended(running)


def preload() -> None:
    """Import what cases need. No session is made: ONNX Runtime's threads do not live through a fork."""
    import onnxcam

    for module in pkgutil.walk_packages(onnxcam.__path__, "onnxcam."):
        if not module.name.rpartition(".")[2].startswith("_"):
            importlib.import_module(module.name)
    for name in ("onnxruntime", "cv2", "onnx.parser", "nibabel", "jinja2", "rich.console"):
        importlib.import_module(name)


def _make_stock(stock: Path) -> None:
    stock.mkdir()
    for number, line in enumerate(fill_stock(stock)):
        base = stock.parent / f"stock-{number}"
        base.mkdir()
        (base / "work").symlink_to(stock, target_is_directory=True)
        pid = _forked(base, lambda _, line=line: line)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status:
            raise RuntimeError(f"the good files cannot be made: {(base / 'err').read_text()}")


def _forked(base: Path, build: child.Build) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        child.live(base, build)
    return pid


def _start(case: Case, base: Path, stock: Path) -> _Running:
    base.mkdir()
    pid = _forked(base, lambda folder: _laid_out(case, Place(folder, stock)))
    return _Running(case, base, pid, os.pidfd_open(pid), time.monotonic())


def _laid_out(case: Case, place: Place) -> list[str]:
    if case.kind == NAMED:
        return list(CASES.values())[case.seed](place)
    return KINDS[case.kind](Random(str(case)), place)


def _ended(running: list[_Running]) -> Iterator[Judged]:
    """Wait until one ends, or runs out of time."""
    ready, _, _ = select.select([each.handle for each in running], [], [], 1)
    for each in list(running):
        if each.handle in ready:
            running.remove(each)
            yield _judged(each)
        elif time.monotonic() - each.began > outcome.WALL_SECONDS:
            os.kill(each.pid, signal.SIGKILL if each.warned else signal.SIGXCPU)
            each.warned = True


def _judged(one: _Running) -> Judged:
    _, status, used = os.wait4(one.pid, 0)
    os.close(one.handle)
    seconds = time.monotonic() - one.began
    try:
        ran = _ran(one.base, os.waitstatus_to_exitcode(status))
        return Judged(one.case, outcome.findings(ran), outcome.remarks(ran), seconds, used.ru_maxrss / 1000, ran)
    finally:
        shutil.rmtree(one.base)


def _ran(base: Path, status: int) -> outcome.Ran:
    laid_out = base / "case.json"
    said, before = json.loads(laid_out.read_text()) if laid_out.exists() else (["(not laid out)"], {})
    folder = base / "work"
    out, err = ((base / name).read_bytes() for name in ("out", "err"))
    stacks = (base / "stacks").read_text("utf-8", "replace")
    left = sorted(str(path.relative_to(base)) for path in (base / "tmp").rglob("*") if path.name not in _CACHES)
    return outcome.Ran(said, status, out, err, stacks, before, child.files(folder), left, folder)
