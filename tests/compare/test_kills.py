"""kill -9 at any moment, and the same command again: the bytes of a run that was never killed.

``ONNXCAM_KILLS=20 pytest tests/compare/test_kills.py`` is the long run.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from onnxcam.compare.pack import pack
from tests.compare.recordings import SHAPES, photos
from tests.compare.twins import noisy

KILLS = int(os.environ.get("ONNXCAM_KILLS", "1"))
ROOT = Path(__file__).parents[2]
COUNT = 20  # images
PATIENCE = 120  # seconds until a command must have ended
RECORDED = ("scores.bin", "maps.bin", "classes.bin", "recording.json")
REPORTED = ("report.html", "junit.xml", "validation.json")
COMMANDS = {  # the words, and the files that are its result, the last one last
    "validate": (("shapes.onnx", "noisy.onnx", "p", "--require", "iou>=0.1"), REPORTED),
    "record": (("shapes.onnx", "p"), RECORDED),
    "compare": (("a", "b"), REPORTED),
    "run.py": ((), RECORDED),
    "evaluate": (
        ("shapes.onnx", "p/0.ppm", "p/1.ppm", "--metric", "deletion", "--method", "rise", "--set", "rise.samples=40"),
        ("curves.png", "curves.pdf", "evaluation.json"),
    ),
}
OFTEN = "from onnxcam.compare import device_runner; device_runner.EVERY = 0; from onnxcam.cli import main; main()"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with what all commands need."""
    folder = tmp_path_factory.mktemp("kills")
    pictures = photos(folder / "p", COUNT)
    (folder / "p" / "damaged.png").write_bytes(b"no image")
    shutil.copy(SHAPES, folder / "shapes.onnx")
    noisy(folder / "noisy.onnx", 0.05)
    pack(SHAPES, folder / "device.zip", pictures)
    with zipfile.ZipFile(folder / "device.zip") as opened:
        opened.extractall(folder / "device")
    script = folder / "device" / "run.py"
    script.write_text(script.read_text("utf-8").replace("EVERY = 2.0", "EVERY = 0"), "utf-8")
    for name, model in (("a", "shapes.onnx"), ("b", "noisy.onnx")):
        run("record", (model, "p"), folder, name).wait()
    return folder


def run(command: str, words: Sequence[str], place: Path, output: str) -> subprocess.Popen[bytes]:
    start = [sys.executable, str(place / "device" / "run.py")]
    if command != "run.py":
        start = [sys.executable, "-c", OFTEN, command]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": str(random.getrandbits(30))}
    with (place / f"{output}.log").open("wb") as log:
        return subprocess.Popen([*start, *words, "-o", output], cwd=place, env=environment, stdout=log, stderr=log)


def ended(process: subprocess.Popen[bytes], log: Path) -> None:
    code = process.wait(PATIENCE)
    assert code == 0, log.read_text("utf-8", "replace")


def result(folder: Path, names: Sequence[str]) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in names}


def appeared(process: subprocess.Popen[bytes], folder: Path) -> float:
    """Wait until *folder* holds anything, and return when that was."""
    until = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < until and not (folder.exists() and any(folder.iterdir())):
        time.sleep(0.002)
    return time.monotonic()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no kill -9")
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.slow
def test_a_killed_run_ends_with_the_same_bytes(command: str, place: Path) -> None:
    words, names = COMMANDS[command]
    whole, killed = (f"{command}-{name}" for name in ("whole", "killed"))
    process = run(command, words, place, whole)
    start = appeared(process, place / whole)
    ended(process, place / f"{whole}.log")
    took, expected = time.monotonic() - start, result(place / whole, names)
    moments, landed = random.Random(command), 0
    for _ in range(KILLS):
        process = run(command, words, place, killed)
        if moments.random() < 0.1:  # before anything is written
            time.sleep(moments.uniform(0, 1))
        else:
            appeared(process, place / killed)
            time.sleep(moments.uniform(0, took))
        process.send_signal(signal.SIGKILL)
        landed += process.wait() == -signal.SIGKILL
        if (place / killed / names[-1]).exists():
            assert result(place / killed, names) == expected
            shutil.rmtree(place / killed)
    print(f"{command}: {landed} of {KILLS} kills before the end, {took:.2f} s from the first file on")
    ended(run(command, words, place, killed), place / f"{killed}.log")
    assert result(place / killed, names) == expected
