"""The wheel, the types that a user's program sees, and the order of imports."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import onnxcam
from tools import platforms

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


def test_the_wheel_holds_what_is_tracked_below_both_packages(tmp_path: Path) -> None:
    """Models, labels, pages and templates too; one wheel for every platform, and no tests."""
    pytest.importorskip("hatchling")
    built = python("hatchling", "build", "--target", "wheel", "--directory", tmp_path)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name == f"onnxcam-{onnxcam.__version__}-py3-none-any.whl"
    names = {name for name in zipfile.ZipFile(wheel).namelist() if "dist-info" not in name}
    folders = {ROOT: "onnxcam", ROOT / "converters": "onnxcam_converters"}
    own = {
        path.relative_to(home).as_posix()
        for home, package in folders.items()
        for path in (home / package).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert names == own
    assert {"onnxcam/py.typed", "onnxcam/assets/shapes.onnx", "onnxcam/web/page/index.html"} <= names


def test_platforms_are_asked_for_extras_that_exist_and_gpu_is_for_all() -> None:
    """On macOS, which has no onnxruntime-gpu, the extra is the usual build; `tools.platforms` asks the index."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    assert {extra for words in platforms.EXTRAS for extra in words.split(",")} <= extras.keys()
    markers = [line.partition(";")[2].replace(" ", "") for line in extras["gpu"]]
    assert sorted(markers) == ["sys_platform!='darwin'", "sys_platform=='darwin'"]


def test_no_name_is_refused_by_windows_or_macos() -> None:
    """No character that Windows forbids, no two names that differ in case alone, none of its devices."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, encoding="utf-8")
    if listed.returncode:
        pytest.skip("no checkout of git")
    names = listed.stdout.splitlines()
    assert [name for name in names if re.search(r'[<>:"|?*\\]|[ .]$|[ .]/', name)] == []
    assert [name for name in names if Path(name).stem.upper() in {"CON", "PRN", "AUX", "NUL", "COM1", "LPT1"}] == []
    assert len({name.casefold() for name in names}) == len(names)
    assert max(map(len, names)) < 150  # Windows ends paths at 260


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
