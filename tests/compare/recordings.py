"""What the tests of recordings share: images on disk, recordings of them, and a way to damage one."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onnxcam
from onnxcam.compare.device_runner import RecordingWriter, sealed
from onnxcam.compare.recordings import Recording
from onnxcam.errors import RecordingError
from onnxcam.media import image

ASSETS = Path(onnxcam.__file__).parent / "assets"
SHAPES = ASSETS / "shapes.onnx"
SIDE = {"name": "m.onnx", "sha256": "ab", "kind": "float32", "method": "gradcam", "layer": "conv", "provider": "cpu"}
HEADER = {
    "format": "onnxcam-recording",
    "version": 1,
    "model": {**SIDE, "preprocess": "resize=4x4,range=0-1"},
    "scores": {"head": None, "exclusive": True, "known": True},
    "labels": ["cat", "dog", "bird"],
}


def photos(folder: Path, count: int = 5, size: int = 96) -> list[Path]:
    """Write *count* different images of the shapes, as PPM files, which a device reads too."""
    folder.mkdir(parents=True, exist_ok=True)
    sources = [image.read(path) for path in sorted(ASSETS.glob("shapes_*.png"))]
    paths = []
    for number in range(count):
        source = sources[number % len(sources)]
        step = source.shape[0] // size
        pixels = np.ascontiguousarray(np.roll(source[::step, ::step][:size, :size], 7 * number, axis=1))
        path = folder / f"{number}.ppm"
        path.write_bytes(b"P6\n%d %d\n255\n" % (pixels.shape[1], pixels.shape[0]) + pixels.tobytes())
        paths.append(path)
    return paths


@contextlib.contextmanager
def room(size: int) -> Iterator[None]:
    """Let no file grow above *size*, as on a full disk."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def sha(number: int) -> str:
    return f"{number:064x}"


def written(
    folder: Path, numbers: Sequence[int] = (0, 1, 2), change: Callable[[dict[str, Any]], None] = lambda _: None
) -> Path:
    """Write a recording of made-up images; image 1 has no map. *change* what it says before it is sealed."""
    writer = RecordingWriter(folder, json.loads(json.dumps(HEADER)))
    for number in numbers:
        rng = np.random.default_rng(number)
        picture = {"name": f"{number}.png", "sha256": sha(number), "size": [8, 10]}
        heat = None if number == 1 else rng.uniform(-1, 1, (4, 5))
        if heat is None:
            picture["why"] = "the gradient is zero"
        writer.add(picture, rng.standard_normal(3), heat, number % 3)
    writer.close([("bad.png", "bad.png: is no image")])
    told = json.loads((folder / "recording.json").read_text())
    del told["seal"]
    change(told)
    (folder / "recording.json").write_bytes(sealed(told))
    return folder


def change(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Return what sets ``a.b.c`` in a recording to *value*."""

    def apply(told: dict[str, Any]) -> None:
        *path, last = key.split(".")
        for part in path:
            told = told[int(part) if part.isdigit() else part]  # type: ignore[call-overload]
        told[last] = value

    return apply


def places(told: Any, where: str = "") -> list[str]:
    """Return the path of every value in a recording's JSON."""
    pairs = told.items() if isinstance(told, dict) else enumerate(told) if isinstance(told, list) else ()
    return [path for key, part in pairs for path in (f"{where}{key}", *places(part, f"{where}{key}."))]


def refusals(folder: Path) -> list[str]:
    """Put nonsense at each place of recording.json in turn; return the messages of the recordings that are refused."""
    told = json.loads((folder / "recording.json").read_text())
    del told["seal"]
    refused: list[str] = []
    for place in places(told):
        for value in (None, -5, "x", [], {}, [None, None], [{}]):
            changed = json.loads(json.dumps(told))
            *path, last = place.split(".")
            inner = changed
            for part in path:
                inner = inner[int(part) if isinstance(inner, list) else part]
            inner[int(last) if isinstance(inner, list) else last] = value
            (folder / "recording.json").write_bytes(sealed(changed))
            try:
                list(Recording(folder))
            except RecordingError as error:
                refused.append(str(error))
    return refused
