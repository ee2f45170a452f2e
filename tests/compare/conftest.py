"""Fixtures of the tests of comparisons."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest


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
