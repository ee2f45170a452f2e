"""The notes of the release: their commands run, old names are listed, and the version is the same everywhere."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

import onnxcam as package
from onnxcam import _moved, deprecation
from onnxcam.cli.old_options import OLD_OPTIONS
from onnxcam.methods import METHODS
from tests.command import Ran
from tests.docs_pages import DOCS

ROOT = DOCS.parent
NOTES = (DOCS / f"release-{package.__version__}.md").read_text("utf-8")
UPGRADE = (DOCS / "upgrade.md").read_text("utf-8")
USERS = dict(re.findall(r"^## You (.*?)\n(.*?)(?=^## |\Z)", NOTES, re.MULTILINE | re.DOTALL))
NEEDS = {"do research": "scipy", "annotate or audit data": "sklearn", "read medical images": "nibabel"}
MADE = {
    "deploy models": ("report/report.html",),
    "build for devices and browsers": ("explained.onnx",),
    "do research": ("methods.png", "scores/evaluation.json"),
    "work in a notebook": (),
    "annotate or audit data": ("results/summary.json", "audit/report.html"),
    "read medical images": ("maps/manifest.json",),
    "keep a pipeline green": ("ci/junit.xml", "ci/summary.md"),
}
"""What the commands for a user write."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the files that the notes name."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    assets = ROOT / "onnxcam" / "assets"
    for source, *names in (
        ("shapes.onnx", "model.onnx", "float.onnx", "int8.onnx"),
        ("shapes_1.png", "img.jpg", "photos/1.png"),
        ("shapes_2.png", "photos/2.png"),
    ):
        for name in names:
            shutil.copy(assets / source, name)
    shutil.copy(ROOT / "models" / "volumes.onnx", "volumes.onnx")
    return tmp_path


@pytest.mark.parametrize("user", MADE)
def test_the_commands_for_each_user(user: str, onnxcam: Callable[..., Ran], folder: Path) -> None:
    pytest.importorskip(NEEDS.get(user, "onnxcam"))
    if user == "read medical images":
        import nibabel

        from models import world3d

        scan = np.concatenate([world3d.sample(np.random.default_rng(3)).image] * 2)
        nibabel.save(nibabel.Nifti1Image(scan, np.eye(4)), "scan.nii.gz")
    ((kind, block),) = re.findall(r"^```(\w*)\n(.*?)^```$", USERS[user], re.MULTILINE | re.DOTALL)
    if kind == "python":
        scope: dict[str, package.Explanation] = {}
        exec(compile(block, "release", "exec"), scope)
        assert scope["explanation"].map.shape == (288, 288)
    for line in block.splitlines() if kind == "" else ():
        program, *words = shlex.split(line)
        ran = onnxcam(*words)
        assert (program, ran.code) == ("onnxcam", 0), f"{line}: {ran.err}"
    assert all(Path(name).stat().st_size > 0 for name in MADE[user])


def test_every_user_has_a_command_and_a_page() -> None:
    assert list(USERS) == list(MADE)
    assert all(re.search(r"\]\([\w-]+\.md", text) for text in USERS.values())
    assert f"{len(METHODS)} methods have one interface" in NOTES


def test_upgrade_lists_old_names() -> None:
    assert f"Old names work until version {deprecation.ENDS}." in UPGRADE
    written = set(re.findall(r"\w+", UPGRADE))
    assert {name.strip("-").partition("-")[0] for pair in OLD_OPTIONS.items() for name in pair} <= written
    public = [names for module in ("methods", "metrics", "targets.kinds") for names in _moved.NAMES[module].items()]
    assert {old for old, _ in public} | {new.rpartition(".")[2] for _, new in public} <= written


def test_one_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    newest = re.search(r"^## ([\d.]+) \(([\d-]+)\)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert newest is not None
    assert (citation["version"], str(citation["date-released"])) == newest.groups()
    assert newest[1] == package.__version__
