from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.decoders.exported import ExportedDecoder, llava


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> ExportedDecoder:
    """A LLaVA of random weights, in three files."""
    for library in ("torch", "transformers", "tokenizers", "jinja2"):
        pytest.importorskip(library)
    return llava(tmp_path_factory.mktemp("llava"))


@pytest.fixture
def folder(exported: ExportedDecoder, tmp_path: Path) -> Path:
    """A copy of its folder that a test may change."""
    copy = tmp_path / "decoder"
    copy.mkdir()
    for file in exported.folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    return copy


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 48, 3), np.uint8)
