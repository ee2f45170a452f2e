"""Networks over a folder of photos: plainly, as `validate` compares two, and as `onnxcam explain` explains one.

``python benchmarks/folders.py MODEL PHOTOS`` prints the rows of `explain` for a model and photos of your own, with one
thread per session.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import clock
import numpy as np
import onnxruntime

from onnxcam import Explainer
from onnxcam.compare.observer import Observer
from onnxcam.compare.pack import pack
from onnxcam.compare.validate import validate
from onnxcam.explainer.drawing import Drawing
from onnxcam.explainer.manifest import Folder
from onnxcam.explainer.many import explain_images, identity
from onnxcam.media import image
from onnxcam.pipeline import default_jobs

if TYPE_CHECKING:
    import contenders

SIZE = (375, 500)
HOW = "imagenet"


def photos(folder: Path, count: int) -> list[Path]:
    """Write *count* JPEG files of clouds, as large as those of ImageNet, and return their names."""
    import cv2

    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    names = [folder / f"{number:04}.jpg" for number in range(count)]
    for name in names:
        coarse = rng.integers(0, 256, (12, 16, 3), np.uint8)
        cloud = cv2.resize(coarse, SIZE[::-1], interpolation=cv2.INTER_CUBIC)
        grain = rng.normal(0, 8, cloud.shape)
        image.write(name, np.clip(cloud + grain, 0, 255).astype(np.uint8))
    return names


def plainly(networks: Sequence[contenders.Network], names: Sequence[Path], *, spin: bool) -> Callable[[], Any]:
    """Both networks picture by picture, while threads read and preprocess the next ones as `validate` does."""
    import contenders

    options = contenders.Options()
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spin)))
    sessions = [contenders.session(str(network.path), options) for network in networks]
    how = Observer(networks[0].path, preprocess=HOW, provider="cpu").network.preprocessing

    def run() -> None:
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as readers:
            for tensor in readers.map(lambda name: how(image.read(name)), names):
                for session in sessions:
                    session.run(None, {"image": tensor})

    return run


def validated(networks: Sequence[contenders.Network], names: Sequence[Path]) -> Callable[[], Any]:
    """Both networks, their maps, the comparison, its journal and the summary."""
    first, second = (Observer(network.path, preprocess=HOW, provider="cpu") for network in networks)
    return lambda: validate(first, second, names, require="top1>=0")


def runner(network: contenders.Network, folder: Path) -> Path:
    """Return the ``run.py`` of a pack of *network* with one picture inside."""
    pack(network.path, folder / "device.zip", photos(folder / "one", 1), preprocess=HOW)
    with zipfile.ZipFile(folder / "device.zip") as packed:
        packed.extractall(folder / "device")
    return next((folder / "device").rglob("run.py"))


EXPLAINED: dict[str, tuple[Drawing, float | None]] = {
    "--maps raw": ({"maps": "raw"}, 1.25),
    "overlays as JPEG": ({}, 3.0),
    "overlays as WebP": ({"format": "webp"}, None),
    "overlays as PNG": ({"format": "png"}, None),
    "--maps all": ({"maps": "all"}, None),
}
"""What `explain` writes, by name, and the goal: its CPU seconds over those of decoding and inference."""


def explained(model: Path, names: Sequence[Path], how: str | None, rounds: int) -> Iterator[tuple[str, float, float]]:
    """Yield what is written, and wall and CPU seconds for one photo; the first row decodes and runs alone.

    All decode in as many threads and run in this one; the threads of sessions do not spin.
    """
    explainer = Explainer(model, preprocess=how, provider="cpu", spin=False)
    with tempfile.TemporaryDirectory() as temporary:
        runs = {"decoding and inference": _decoded_and_run(model, names, explainer)}
        for name, (drawing, _) in EXPLAINED.items():
            runs[name] = _written(explainer, names, Path(temporary) / "out", drawing)
        for run in runs.values():
            run()
        for name, (wall, cpu) in clock.interleaved_both(runs, rounds, again=1).items():
            yield name, wall / len(names), cpu / len(names)


def _decoded_and_run(model: Path, names: Sequence[Path], explainer: Explainer) -> Callable[[], Any]:
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    how, picture = explainer.preprocessing, session.get_inputs()[0].name

    def run() -> None:
        with ThreadPoolExecutor(default_jobs()) as readers:
            for tensor in readers.map(lambda name: how(image.read(name)), names):
                session.run(None, {picture: tensor})

    return run


def _written(explainer: Explainer, names: Sequence[Path], out: Path, drawing: Drawing) -> Callable[[], Any]:
    def run() -> None:
        shutil.rmtree(out, ignore_errors=True)
        with Folder(out, identity=identity(explainer, [None], **drawing)) as folder:
            explain_images(explainer, [str(name) for name in names], [None], folder, **drawing)

    return run


class _OneThread(onnxruntime.SessionOptions):
    """Session options with one thread."""

    def __init__(self) -> None:
        super().__init__()
        self.intra_op_num_threads = 1
        self.log_severity_level = 3


def main(arguments: Sequence[str]) -> None:
    """Print the rows of `explained`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--preprocess")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    onnxruntime.SessionOptions = _OneThread
    names = [Path(name) for name in image.files([options.photos])]
    rows = list(explained(options.model, names, options.preprocess, options.rounds))
    _, wall, cpu = rows[0]
    print(f"{len(names)} photos, ms of each: CPU, wall; over the first")
    for name, own_wall, own_cpu in rows:
        print(f"{name:24}{own_cpu * 1e3:8.2f}{own_wall * 1e3:8.2f}{own_cpu / cpu:8.2f}{own_wall / wall:8.2f}")


if __name__ == "__main__":
    main(sys.argv[1:])
