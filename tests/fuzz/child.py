"""One case in a process of its own: it is laid out, and the command line is run on it as a shell would."""

from __future__ import annotations

import atexit
import faulthandler
import hashlib
import json
import os
import resource
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import cv2

from tests.fuzz.outcome import CPU_SECONDS, MEMORY, UNMADE

Build = Callable[[Path], list[str]]


def live(base: Path, build: Build) -> NoReturn:
    """Be the process of the case that *build* lays out; its files lie in *base*."""
    status = UNMADE
    try:
        _limit(base)
        (base / "work").mkdir(exist_ok=True)
        os.chdir(base / "work")
        _redirect(base)
        words = build(base / "work")
        (base / "case.json").write_text(json.dumps([words, files(base / "work")]))
        status = _run(words)
        sys.stdout.flush()
        sys.stderr.flush()
        atexit._run_exitfuncs()
    except BaseException:
        traceback.print_exc()
    os._exit(status)


def _limit(base: Path) -> None:
    """Limit memory and time; a process that runs out of time writes where it was."""
    stacks = open(base / "stacks", "w", encoding="utf-8")  # noqa: SIM115  # it stays open to the end
    faulthandler.enable(stacks)
    faulthandler.register(signal.SIGXCPU, stacks, chain=True)
    cv2.setNumThreads(1)  # OpenCV reports threads for which the limit leaves no memory
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 2))
    resource.setrlimit(resource.RLIMIT_FSIZE, (MEMORY, MEMORY))


def _redirect(base: Path) -> None:
    """Send output into files, whoever writes it, and temporary files into a folder of the case."""
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(base / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdout = open(1, "w", encoding="utf-8", errors="strict", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
    (base / "tmp").mkdir()
    os.environ["TMPDIR"] = str(base / "tmp")
    tempfile.tempdir = None


def _run(words: list[str]) -> int:
    from onnxcam.cli import main

    sys.argv = ["onnxcam", *words]
    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def files(folder: Path) -> dict[str, str]:
    """Return what is in *folder*: the hash of each file by its name, ``folder`` for folders."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        found[name] = "folder" if path.is_dir() else hashlib.sha256(path.read_bytes()).hexdigest()
    return found
