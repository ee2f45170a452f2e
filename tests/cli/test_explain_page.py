"""docs/explain.md is true: its commands and its Python run as written, and write what it says."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.test_cli import PICTURE, SHAPES, Run
from tests.docs_pages import follow


def test_the_page(onnxcam: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(SHAPES, "model.onnx")
    Path("photos").mkdir()
    shutil.copy(PICTURE, "photos/a.png")
    shutil.copy(PICTURE.with_name("shapes_2.png"), "photos/b.png")
    assert len(follow("explain.md", onnxcam)) == 4
    assert list(Path("graphs").iterdir())
    kinds = {"explained": {"raw.npy", "overlay.jpg"}, "raw": {"raw.npy"}}
    kinds |= {"exact": {"raw.npy", "map.npy", "overlay.png"}, "again": {"raw.npy", "overlay.jpg"}}
    for folder, ends in kinds.items():
        names = [path.name for path in Path(folder).iterdir() if path.name != "manifest.json"]
        assert {name.rpartition("-")[2] for name in names} == ends
        assert len(names) == 2 * len(ends)
