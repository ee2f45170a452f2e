"""Containerfile and the file of KServe: no engine is needed to see that what they name exists."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]


def test_the_files_that_are_copied_make_the_wheel(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    text = (ROOT / "Containerfile").read_text("utf-8")
    source = tmp_path / "source"
    source.mkdir()
    for names, place in re.findall(r"^COPY (.+) (\S+)$", text, re.MULTILINE):
        for name in names.split():
            made, target = ROOT / name, source / (place if place != "./" else name)
            if made.is_dir():
                shutil.copytree(made, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(made, target)
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    built = subprocess.run(command, cwd=source, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    assert len([*tmp_path.glob("*.whl")]) == 1
    extras = re.findall(r"EXTRAS=([\w,-]+)", text + (ROOT / "docs" / "servers.md").read_text("utf-8"))
    known = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    assert {name for one in extras for name in one.split(",")} <= set(known)
    assert 'ENTRYPOINT ["onnxcam"]' in text
    assert re.search(r"^USER [1-9]", text, re.MULTILINE)


def test_the_file_of_kserve() -> None:
    page = (ROOT / "docs" / "servers.md").read_text("utf-8")
    (block,) = re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    made = yaml.safe_load(block)
    assert (made["apiVersion"], made["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    assert made["spec"]["predictor"]["model"]["protocolVersion"] == "v2"
