"""What the tests share: the folder of real models and photos, where there is one, and a way to run the command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest

from tests.command import Ran

pytest_plugins = ["tests.browser"]

hypothesis.settings.register_profile("onnxcam", deadline=None)  # how long an example takes is the machine's business
hypothesis.settings.load_profile("onnxcam")

REAL = Path(os.environ.get("ONNXCAM_REAL", Path(__file__).parents[2] / "shared" / "real"))


@pytest.fixture(scope="session")
def real() -> Path:
    """The folder of real models and photos (ONNXCAM_REAL, or shared/real beside the checkout)."""
    if not (REAL / "INDEX.md").is_file():
        pytest.skip(f"no real models and photos at {REAL}")
    return REAL


@pytest.fixture
def onnxcam(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., Ran]:
    """Run ``onnxcam …`` in an empty folder, as the shell would."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> Ran:
        from onnxcam.cli import main

        monkeypatch.setattr(sys, "argv", ["onnxcam", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit:
            main()
        captured = capsys.readouterr()
        return Ran(int(exit.value.code or 0), captured.out, captured.err)

    return run
