"""What holds for every command: one line for the unforeseen, clean streams, signals and time limits."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from unittest.mock import Mock

import onnx
import pytest

from onnxcam.text import plain, to_json
from tests.command import Ran

Run = Callable[..., Ran]
ASSETS = Path(str(resources.files("onnxcam") / "assets"))
SHAPES, PICTURE = ASSETS / "shapes.onnx", ASSETS / "shapes_1.png"
CODE = "from onnxcam.cli import main; main()"


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (KeyError("x"), "onnxcam inspect 'm.onnx': unexpected KeyError in cli.inspect.command"),
        (MemoryError(), "onnxcam inspect 'm.onnx': there is not enough memory"),
        (RecursionError(), "onnxcam inspect 'm.onnx': something in it nests too deep"),
        (OSError(5, "Input/output error", "f"), "onnxcam inspect 'm.onnx': 'f' Input/output error"),
    ],
)
def test_the_unforeseen_is_one_line(onnxcam: Run, monkeypatch: pytest.MonkeyPatch, error: Exception, says: str) -> None:
    monkeypatch.setattr("onnxcam.inspection.survey", Mock(side_effect=error))
    ran = onnxcam("inspect", "m.onnx")
    assert (ran.code, len(ran.err.splitlines())) == (2, 1)
    assert ran.err.startswith(f"error: {says}")
    assert "Traceback" in onnxcam("inspect", "m.onnx", "--debug").err


def test_an_error_in_a_file_of_the_user_names_that_file(onnxcam: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule, method or metric that is no part of onnxcam: nothing to report to its authors."""

    def my_method(*_: object, **__: object) -> None:
        raise ValueError("x")

    monkeypatch.setattr("onnxcam.inspection.survey", my_method)
    said = onnxcam("inspect", "m.onnx").err
    assert re.search(r"unexpected ValueError in my_method \(test_net.py, line \d+\): x; correct that file", said)


@pytest.mark.skipif(os.name != "posix", reason="no shell of POSIX")
def test_closed_streams_are_no_error(tmp_path: Path) -> None:
    words = shlex.join([sys.executable, "-c", CODE, "inspect", str(SHAPES)])
    assert subprocess.run(["sh", "-c", f"{words} >&- 2>&-"], cwd=tmp_path).returncode == 0


def test_text_is_clean() -> None:
    assert plain("a\n\x1b[31mb\x9b\u202e\udce9") == r"a \x1b[31mb\x9b\u202e\xe9"
    assert len(plain("x" * 9999)) == 2000
    found = to_json({"a": [float("nan"), float("inf"), 1.5], "b": "\x1b\x9b\u2028\udce9é"})
    assert json.loads(found) == {"a": [None, None, 1.5], "b": "\x1b\x9b\u2028\udce9é"}
    assert found.isprintable() or not {"\x1b", "\x9b", "\u2028", "\udce9"} & set(found)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_standard_output_is_an_error(tmp_path: Path) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        ran = subprocess.run([sys.executable, "-c", CODE, "inspect", str(SHAPES)], stdout=full, stderr=subprocess.PIPE)
    assert (ran.returncode, ran.stderr) == (2, b"error: standard output cannot be written: No space left on device\n")


def test_a_reader_that_left_changes_no_exit_code(tmp_path: Path) -> None:
    words = ["validate", str(SHAPES), str(SHAPES), str(PICTURE), "-o", "v", "-r", "iou>=1.5"]
    running = subprocess.Popen(
        [sys.executable, "-c", CODE, *words], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert running.stdout is not None
    assert running.stderr is not None
    running.stdout.close()
    with running.stderr:
        said = running.stderr.read().decode()
    assert running.wait(60) == 1
    assert "Traceback" not in said
    assert "BrokenPipe" not in said


def test_any_locale(tmp_path: Path) -> None:
    words = ["explain", str(SHAPES), str(PICTURE), "-o", "résultat", "--labels", "l.txt"]
    (tmp_path / "l.txt").write_text("\n".join(f"é{i}" for i in range(6)), "utf-8")
    environment = {"LANG": "C", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    ran = subprocess.run([sys.executable, "-c", CODE, *words], cwd=tmp_path, capture_output=True, env=environment)
    assert ran.returncode == 0, ran.stderr
    assert rb"\xe90" in ran.stdout


def endless(path: Path) -> None:
    """Save a network with a loop that does not end."""
    network = onnx.parser.parse_model("""
    <ir_version: 8, opset_import: ["" : 17]>
    net (float[1, 3, 8, 8] x) => (float[1, 2] logits)
    <float[2, 3, 1, 1] w = {1, 2, 3, 4, 5, 6}, int64 many = {100000000}, bool yes = {1}>
    {
        a = Conv(x, w)
        b = Loop(many, yes, a) <body = once (int64 i, bool go, float[1, 2, 8, 8] s) => (bool on, float[1, 2, 8, 8] t) {
            on = Identity(go)
            t = Sin(s)
        }>
        p = GlobalAveragePool(b)
        logits = Flatten(p)
    }
    """)
    path.write_bytes(network.SerializeToString())


def test_a_time_limit_ends_onnx_runtime(tmp_path: Path) -> None:
    endless(tmp_path / "m.onnx")
    words = ["explain", "m.onnx", str(PICTURE), "-p", "unit,resize=8x8", "-m", "rise", "--timeout", "4"]
    ran = subprocess.run([sys.executable, "-c", CODE, *words], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    says = "error: the command took longer than 4 s; give a longer --timeout, or a smaller task\n"
    assert (ran.returncode, ran.stderr) == (2, says)
    assert [file.name for file in tmp_path.rglob("*")] == ["m.onnx"]


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals on Windows")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_end_onnx_runtime(tmp_path: Path, number: signal.Signals, code: int) -> None:
    endless(tmp_path / "m.onnx")
    words = ["explain", "m.onnx", str(PICTURE), "-p", "unit,resize=8x8", "-m", "rise"]
    running = subprocess.Popen([sys.executable, "-c", CODE, *words], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    time.sleep(6)  # by then the loop runs, on a probe image
    assert running.poll() is None
    running.send_signal(number)
    _, said = running.communicate(timeout=30)
    assert (running.returncode, said) == (code, "")
    assert [file.name for file in tmp_path.rglob("*")] == ["m.onnx"]
