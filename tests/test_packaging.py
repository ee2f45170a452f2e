"""The wheel, the types that a user's program sees, and the order of imports."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
USER = """\
import onnxcam

explainer = onnxcam.Explainer("model.onnx", method="gradcam")
explanation = explainer("picture.png")
reveal_type(explainer), reveal_type(explanation), reveal_type(explanation.map)
"""


def python(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python's ``-m words`` at the root of the checkout."""
    command = [sys.executable, "-m", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True)


def test_the_wheel_holds_both_packages_and_the_marker_of_types(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    built = python("hatchling", "build", "--target", "wheel", "--directory", tmp_path)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"onnxcam/py.typed", "onnxcam/web/page/index.html", "onnxcam_converters/__init__.py"} <= names
    assert {name.split("/")[0] for name in names if "dist-info" not in name} == {"onnxcam", "onnxcam_converters"}


def test_a_users_program_sees_the_types(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    assert (ROOT / "onnxcam" / "py.typed").is_file()
    program = tmp_path / "user.py"
    program.write_text(USER)
    options = [
        "--config-file=",
        "--strict",
        "--no-site-packages",
        "--ignore-missing-imports",
        "--follow-imports=silent",
    ]
    checked = python("mypy", *options, "--cache-dir", tmp_path, program, MYPYPATH=str(ROOT))
    assert checked.returncode == 0, checked.stdout
    for revealed in ("onnxcam.explainer.explainer.Explainer", "onnxcam.explainer.explanation.Explanation"):
        assert f'Revealed type is "{revealed}"' in checked.stdout


def test_imports_keep_the_order_of_rooms() -> None:
    pytest.importorskip("importlinter")
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
