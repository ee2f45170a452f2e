"""docs/bake.md is true: its commands and its Python run as written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bake.tasks import MODELS
from tests.command import Ran
from tests.docs_pages import follow


def test_its_commands_and_python_run(
    onnxcam: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models").symlink_to(MODELS)
    monkeypatch.chdir(tmp_path)
    assert len(follow("bake.md", onnxcam)) == 7
