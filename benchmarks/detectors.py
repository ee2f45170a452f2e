"""`models/detector.onnx`: its baked file, and two sessions of it over a folder, plainly and as `validate` does."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import contenders
import numpy as np

from onnxcam.bake.bake import bake
from onnxcam.compare.observer import Observer
from onnxcam.compare.validate import validate
from onnxcam.media import image

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "models" / "detector.onnx"
SHAPES = ROOT / "onnxcam" / "assets" / "shapes_1.png"
COUNT = 10


def photos(folder: Path, count: int) -> list[Path]:
    """Write *count* parts of an image of shapes, and return their names."""
    folder.mkdir(exist_ok=True)
    pixels, names = image.read(SHAPES), [folder / f"{number:04}.png" for number in range(count)]
    for number, name in enumerate(names):
        image.write(name, np.ascontiguousarray(pixels[number % 24 :, number % 40 :]))
    return names


def baked(folder: Path) -> dict[str, Callable[[], Any]]:
    """Return the runs of the file, and of the baked one with `COUNT` maps, all of detections."""
    path = folder / "detector-baked.onnx"
    bake(MODEL, path, count=COUNT, threshold=0.0, overwrite=True)
    how = Observer(MODEL, provider="cpu").network.preprocessing
    feeds = {"image": how(image.read(SHAPES))}
    sessions = {"plain": contenders.session(str(MODEL)), "baked": contenders.session(str(path))}
    return {name: lambda one=one: one.run(None, feeds) for name, one in sessions.items()}


def plainly(names: Sequence[Path]) -> Callable[[], Any]:
    """Two sessions image by image, while threads read and preprocess the next ones."""
    sessions = [contenders.session(str(MODEL)) for _ in range(2)]
    how = Observer(MODEL, provider="cpu").network.preprocessing

    def run() -> None:
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as readers:
            for tensor in readers.map(lambda name: how(image.read(name)), names):
                for session in sessions:
                    session.run(None, {"image": tensor})

    return run


def validated(names: Sequence[Path]) -> Callable[[], Any]:
    """Both, their objects and maps, the comparison, its journal and the summary."""
    first, second = (Observer(MODEL, provider="cpu") for _ in range(2))
    return lambda: validate(first, second, names, require="kept>=0")
