"""A pipe, a device, a socket or a folder where a command reads a file: one line, and no wait."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from onnxcam.media import image
from tests.command import Ran
from tests.networks import classifier, saved

SECONDS = 20
PREPARED = ("-p", "unit,resize=8x8", "-o", "out")
READERS = [
    ("explain", "BAD", "p.png", *PREPARED),
    ("explain", "m.onnx", "BAD", *PREPARED),
    ("explain", "m.onnx", "@BAD", *PREPARED),
    ("explain", "m.onnx", "p.png", "--labels", "BAD", *PREPARED),
    ("explain", "m.onnx", "p.png", "--input", "other=BAD", *PREPARED),
    ("explain", "m.onnx", "p.png", "--target", "like=BAD", *PREPARED),
    ("inspect", "BAD"),
    ("inspect", "BAD", "--for", "nnapi"),
    ("inspect", "BAD", "--operators", "out"),
    ("evaluate", "BAD", "p.png", *PREPARED),
    ("evaluate", "m.onnx", "BAD", *PREPARED),
    ("evaluate", "m.onnx", "p.png", "--truth", "BAD", *PREPARED),
    ("evaluate", "m.onnx", "p.png", "--labels", "BAD", *PREPARED),
    ("validate", "BAD", "m.onnx", "p.png", *PREPARED),
    ("validate", "m.onnx", "BAD", "p.png", *PREPARED),
    ("validate", "m.onnx", "m.onnx", "BAD", *PREPARED),
    ("validate", "m.onnx", "m.onnx", "p.png", "--truth", "BAD", *PREPARED),
    ("validate", "m.onnx", "m.onnx", "p.png", "--labels", "BAD", *PREPARED),
    ("record", "BAD", "p.png", *PREPARED),
    ("record", "BAD.tflite", "p.png", *PREPARED),
    ("record", "m.onnx", "BAD", *PREPARED),
    ("record", "m.onnx", "p.png", "--labels", "BAD", *PREPARED),
    ("record", "m.onnx", "p.png", "--explain-from", "BAD", *PREPARED),
    ("record", "m.onnx", "p.png", "--explain-from", "holds", *PREPARED),
    ("compare", "BAD", "BAD", "-o", "out"),
    ("compare", "holds", "holds", "-o", "out"),
    ("pack", "BAD", *PREPARED),
    ("pack", "m.onnx", "-i", "BAD", *PREPARED),
    ("pack", "m.onnx", "--explain-from", "BAD", *PREPARED),
    ("pack", "m.onnx", "--labels", "BAD", *PREPARED),
    ("bake", "BAD", *PREPARED),
    ("bake", "m.onnx", "--labels", "BAD", *PREPARED),
    ("instrument", "BAD", "-o", "out"),
    ("export", "BAD.pt2", "-o", "out"),
    ("export", "BAD.keras", "-o", "out"),
    ("export", "BAD.tflite", "-o", "out"),
    ("web", "--model", "BAD", "-o", "out"),
    ("web", "--runtime", "BAD", "-o", "out"),
    ("serve", "--model", "BAD"),
    ("serve", "--runtime", "BAD"),
]


@pytest.fixture
def place(onnxcam: Callable[..., Ran], tmp_path: Path) -> Callable[..., Ran]:
    """The command line, in a folder with a model and an image."""
    saved(tmp_path / "m.onnx", classifier())
    image.write(tmp_path / "p.png", np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8))
    return onnxcam


@pytest.fixture
def limit() -> Iterator[None]:
    """End a test that waits for a file."""

    def end(*_: object) -> None:
        raise TimeoutError(f"the command was still waiting after {SECONDS} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def bound(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
@pytest.mark.usefixtures("limit")
@pytest.mark.parametrize("make", [pipe, device, bound])
@pytest.mark.parametrize("words", READERS, ids=" ".join)
def test_no_command_waits_for_what_is_no_file(
    place: Callable[..., Ran], words: tuple[str, ...], make: Callable[[Path], None]
) -> None:
    Path("holds").mkdir()
    for name in ("BAD", "BAD.tflite", "BAD.keras", "BAD.pt2", "holds/recording.json"):
        make(Path(name))
    ran = place(*words)
    assert ran.code == 2, ran
    assert ran.err.startswith("error: "), ran.err
    assert len(ran.err.splitlines()) == 1, ran.err
    assert not Path("out").exists()


@pytest.mark.usefixtures("limit")
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_no_command_writes_into_what_is_no_file(place: Callable[..., Ran]) -> None:
    pipe(Path("BAD"))
    for words in [
        ("bake", "m.onnx", "-p", "unit,resize=8x8", "--overwrite"),
        ("instrument", "m.onnx", "--overwrite"),
        ("explain", "m.onnx", "p.png", "-p", "unit,resize=8x8", "--overwrite"),
        ("record", "m.onnx", "p.png", "-p", "unit,resize=8x8"),
        ("validate", "m.onnx", "m.onnx", "p.png", "-p", "unit,resize=8x8"),
        ("web", "--overwrite"),
        ("demo", "--overwrite"),
    ]:
        ran = place(*words, "-o", "BAD")
        assert (ran.code, len(ran.err.splitlines())) == (2, 1), (words, ran)
