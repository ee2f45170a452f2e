"""Two networks over a folder of photos: plainly, and as `onnxcam.compare.validate` compares them."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import contenders
import numpy as np

from onnxcam.compare.observer import Observer
from onnxcam.compare.pack import pack
from onnxcam.compare.validate import validate
from onnxcam.media import image

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
