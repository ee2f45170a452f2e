"""Fixtures of the tests of comparisons."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from onnxcam.media import image
from tests.compare.tasks.twins import rounded


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages that has NumPy and ONNX Runtime, and nothing else."""
    folder = tmp_path_factory.mktemp("bare")
    for package in (np, onnxruntime):
        home = Path(package.__file__).parent
        for part in home.parent.glob(f"{home.name}*"):
            if part.is_dir() and not part.name.endswith(".dist-info"):
                (folder / part.name).symlink_to(part)
    return folder


@pytest.fixture
def towers(tmp_path: Path) -> Path:
    """An image tower, one with coarse weights, a text tower, a file of both, a coarse one, and four pictures."""
    from tests.text_towers.towers import image_tower, text_tower, two_towers, words

    rounded(image_tower(tmp_path / "image.onnx"), tmp_path / "coarse.onnx", steps=3)
    text_tower(tmp_path / "text.onnx", "masked")
    rounded(two_towers(tmp_path / "both.onnx"), tmp_path / "both_coarse.onnx", steps=3)
    words(tmp_path, length=8, pad_id=0, pad_token="<pad>")
    (tmp_path / "photos").mkdir()
    for number in range(4):
        picture = np.random.default_rng(number).integers(0, 255, (8, 8, 3)).astype(np.uint8)
        image.write(tmp_path / "photos" / f"{number}.png", picture)
    return tmp_path
