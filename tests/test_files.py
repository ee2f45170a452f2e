"""Results are written whole or not at all, never onto an input or somebody else's file; only drafts are removed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import onnx
import pytest

from onnxcam import files
from onnxcam.errors import ImageError, OutputError
from onnxcam.files import StagedFolder
from onnxcam.media import image
from tests.command import Ran
from tests.optional import is_older

Run = Callable[..., Ran]
ASSETS = Path(str(resources.files("onnxcam") / "assets"))
SHAPES, PICTURE = ASSETS / "shapes.onnx", ASSETS / "shapes_1.png"
THEIRS = b"somebody else's file"


def external(folder: Path) -> Path:
    """Return a model whose weights lie beside it."""
    path = folder / "m.onnx"
    onnx.save_model(onnx.load(SHAPES), path, save_as_external_data=True, location="m.weights", size_threshold=0)
    return path


def alias(path: Path, how: str) -> Path:
    """Return another name of the file."""
    other = path.with_name(f"{how}-{path.name}")
    if how == "link":
        other.symlink_to(path)
    elif how == "hard":
        os.link(path, other)
    else:
        other = path.parent / "." / "x" / ".." / path.name
        (path.parent / "x").mkdir()
    return other


@pytest.mark.parametrize("how", ["link", "hard", "dots"])
@pytest.mark.parametrize("name", ["m.onnx", "m.weights"])
@pytest.mark.parametrize("command", ["bake", "instrument", "pack", "operators"])
def test_no_output_is_an_input(onnxcam: Run, tmp_path: Path, command: str, name: str, how: str) -> None:
    model = external(tmp_path)
    target = alias(tmp_path / name, how)
    before = {file: file.read_bytes() for file in (model, tmp_path / "m.weights")}
    words = ["bake", model, "-o", "b.onnx", "--operators", target]
    if command != "operators":
        words = [command, model, "-o", target]
    ran = onnxcam(*words, "--overwrite")
    assert ran.code == 2
    by_onnx = (name, how) == ("m.weights", "hard") and command != "operators" and not is_older("onnx", "1.22")
    assert ("multiple hard links" if by_onnx else "so it cannot be its output") in ran.err
    assert "unexpected" not in ran.err
    assert {file: file.read_bytes() for file in before} == before
    assert not list(tmp_path.glob(".onnxcam-*"))


def test_a_second_output_is_not_the_first(onnxcam: Run, tmp_path: Path) -> None:
    ran = onnxcam("bake", SHAPES, "-o", "b.onnx", "--operators", "b.onnx")
    assert (ran.code, (tmp_path / "b.onnx").exists()) == (2, False)


@pytest.mark.parametrize(
    ("words", "taken"),
    [
        (("bake", SHAPES, "-o", "b.onnx"), "b.onnx"),
        (("instrument", SHAPES, "-o", "b.onnx"), "b.onnx"),
        (("pack", SHAPES, "-o", "b.zip"), "b.zip"),
        (("bake", SHAPES, "-o", "b.onnx", "--operators", "b.config"), "b.config"),
        (("inspect", SHAPES, "--operators", "b.config"), "b.config"),
        (("explain", SHAPES, PICTURE, "-o", "out"), "out/manifest.json"),
        (("explain", SHAPES, PICTURE, "-o", "out"), "out/shapes_1-0-gradcam-raw.npy"),
        (("evaluate", SHAPES, PICTURE, "--metric", "complexity", "-o", "out"), "out/evaluation.json"),
        (("demo", "-o", "out"), "out/manifest.json"),
        (("validate", SHAPES, SHAPES, PICTURE, "-o", "out"), "out/report.html"),
        (("validate", SHAPES, SHAPES, PICTURE, "-o", "out"), "out/junit.xml"),
        (("validate", SHAPES, SHAPES, PICTURE, "-o", "out"), "out/worst.png"),
    ],
)
def test_somebody_elses_file_stays(onnxcam: Run, tmp_path: Path, words: tuple[object, ...], taken: str) -> None:
    file = tmp_path / taken
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(THEIRS)
    before = sorted(tmp_path.rglob("*"))
    ran = onnxcam(*words)
    assert ran.code == 2
    assert len(ran.err.splitlines()) == 1
    assert "did not write" in ran.err or "was not written by onnxcam" in ran.err
    assert file.read_bytes() == THEIRS
    assert sorted(tmp_path.rglob("*")) == before
    assert onnxcam(*words, "--overwrite").code == 0
    assert file.read_bytes() != THEIRS
    again = onnxcam(*words)  # a file that onnxcam wrote may be written again, a folder of results is kept or added to
    refused = re.search("holds a finished (validation|evaluation); choose another folder with -o, or --over", again.err)
    assert (again.code, bool(refused)) == ((2, True) if words[0] in ("evaluate", "validate") else (0, False))


@pytest.mark.parametrize("name", ["scores.bin", "maps.bin", "classes.bin"])
def test_a_recording_begins_with_no_tensors(onnxcam: Run, tmp_path: Path, name: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_bytes(THEIRS)
    ran = onnxcam("record", SHAPES, PICTURE, "-o", "out")
    assert ran.code == 2
    assert ran.err == f"error: 'out/{name}' is of no known recording; choose another folder, or delete it\n"
    assert (tmp_path / "out" / name).read_bytes() == THEIRS


def test_weights_beside_the_output_stay(onnxcam: Run, tmp_path: Path) -> None:
    model, other = external(tmp_path), tmp_path / "other"
    other.mkdir()
    (other / "b.onnx.data").write_bytes(THEIRS)
    assert onnxcam("bake", model, "-o", other / "b.onnx").code == 2
    assert [file.name for file in other.iterdir()] == ["b.onnx.data"]
    assert (other / "b.onnx.data").read_bytes() == THEIRS
    for words in (["--overwrite"], []):
        assert onnxcam("bake", model, "-o", other / "b.onnx", *words).code == 0


def test_a_failed_run_removes_only_its_own(tmp_path: Path) -> None:
    def fail() -> None:
        with files.StagedFolder(tmp_path / "a" / "out", "index.json") as folder:
            (folder.staging / "mine").write_text("")
            (tmp_path / "a" / "out" / "theirs").write_bytes(THEIRS)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [file.name for file in (tmp_path / "a" / "out").iterdir()] == ["theirs"]
    with pytest.raises(RuntimeError), files.StagedFolder(tmp_path / "b" / "out", "index.json"):
        raise RuntimeError
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(("name", "says"), [("", "is a folder"), (".", "is a folder"), ("/", "is a folder")])
def test_what_cannot_be_a_file(name: str, says: str) -> None:
    with pytest.raises(OutputError, match=says):
        files.write(name, "")


def test_special_files_are_no_output(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OutputError, match="is no plain file; choose another name with -o"):
        files.write(tmp_path / "pipe", "")
    with pytest.raises(OutputError, match=r"cannot write 'x+': File name too long; choose another with -o"):
        files.write("x" * 300, "")


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit on Windows")
@pytest.mark.parametrize(
    "words",
    [
        ("explain", SHAPES, PICTURE, "-o", "out"),
        ("evaluate", SHAPES, PICTURE, "--metric", "complexity", "-o", "out"),
        ("bake", SHAPES, "-o", "b.onnx"),
        ("instrument", SHAPES, "-o", "b.onnx"),
    ],
)
def test_a_full_disk_leaves_no_draft(tmp_path: Path, words: tuple[object, ...]) -> None:
    ran = started(words, tmp_path, limit=20).communicate(timeout=60)
    assert ran[1].startswith("error: cannot write")
    assert "File too large" in ran[1] or "is the disk full?" in ran[1]
    assert not list(tmp_path.rglob("*"))


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals on Windows")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_leave_no_draft(tmp_path: Path, number: signal.Signals, code: int) -> None:
    words = ("explain", SHAPES, PICTURE, "-m", "occlusion", "--set", "stride=0.01", "-o", "out")
    running = started(words, tmp_path)
    while running.poll() is None and not (tmp_path / "out").is_dir():
        time.sleep(0.02)
    running.send_signal(number)
    _, said = running.communicate(timeout=60)
    assert (running.returncode, said) == (code, "")
    assert not list(tmp_path.rglob("*"))


def started(words: tuple[object, ...], folder: Path, limit: int | None = None) -> subprocess.Popen[str]:
    """Start ``onnxcam words`` in *folder*, where no file may have more than *limit* bytes."""
    code = "from onnxcam.cli import main; main()"
    if limit is not None:
        code = (
            "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
            f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit})); {code}"
        )
    call = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.Popen(call, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_place_is_checked_before_a_long_search(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(THEIRS)
    files.require_place(tmp_path / "out.onnx")
    files.require_place(tmp_path / "new" / "report", folder=True)
    for name, is_folder in (("new/out.onnx", False), ("file/out.onnx", False), ("file", True), ("file/new", True)):
        with pytest.raises(OutputError, match="cannot write"):
            files.require_place(tmp_path / name, folder=is_folder)
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("address", ["s3://bucket/out", "gs://bucket/a.html", "hf://datasets/x"])
def test_an_address_is_no_local_folder(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    message = "is an address, and this command writes to this machine; `onnxcam batch` writes to addresses"
    with pytest.raises(OutputError, match=message), StagedFolder(address, "index.json"):
        pass
    with pytest.raises(OutputError, match=message):
        files.write(address, b"")
    with pytest.raises(OutputError, match=message):
        files.require_place(Path(address), folder=True)
    with pytest.raises(ImageError, match="is an address; `onnxcam batch` reads pictures from addresses"):
        image.files([address])
    assert not list(tmp_path.iterdir())
