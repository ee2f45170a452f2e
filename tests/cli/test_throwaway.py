"""``pipx run`` and ``uvx`` add ONNX Runtime to their own environments, and to no other."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from onnxcam.cli import throwaway

ENGINE = "onnxruntime>=1.24.1"


class Asked(list[list[str]]):
    """The commands that were run; each ends with *code*."""

    code = 0

    def run(self, words: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        self.append(words)
        return subprocess.CompletedProcess(words, self.code)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """A machine on which neither ONNX Runtime nor uv is found, and the command line does nothing."""
    asked = Asked()
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else found(name))
    monkeypatch.setattr(subprocess, "run", asked.run)
    monkeypatch.setattr(throwaway.shutil, "which", lambda name: None)
    monkeypatch.setattr(throwaway, "main", lambda: asked.append(["main"]))
    monkeypatch.setattr(sys, "argv", ["onnxcam", "demo"])
    monkeypatch.setattr(metadata, "requires", lambda name: ["numpy>=2", f'{ENGINE}; extra == "cpu"'])
    monkeypatch.delenv("UV", raising=False)
    return asked


def test_pipx_gets_the_engine(asked: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    throwaway.from_pipx()
    pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--quiet", ENGINE]
    assert asked == [pip, ["main"]]
    assert "adding ONNX Runtime" in capsys.readouterr().err


def test_one_line_where_it_cannot(asked: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    asked.code = 1
    with pytest.raises(SystemExit) as ended:
        throwaway.from_pipx()
    said = capsys.readouterr().err.splitlines()[-1]
    assert (ended.value.code, len(asked)) == (2, 1)
    assert said == "error: ONNX Runtime cannot be added; run: pipx run --spec 'onnxcam[cpu]' onnxcam demo"


def test_uvx_starts_again_with_the_engine(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV", "uv")
    monkeypatch.setattr(throwaway, "_source", lambda: "onnxcam==1.0")
    monkeypatch.setattr(sys, "prefix", str(Path("cache") / "archive-v0" / "x1"))
    with pytest.raises(SystemExit):
        throwaway.from_script()
    assert asked == [["uv", "tool", "run", "--with", ENGINE, "--from", "onnxcam==1.0", "onnxcam", "demo"]]
    monkeypatch.setenv("ONNXCAM_ENGINE_ADDED", "1")  # no second time
    throwaway.from_script()
    assert asked[1:] == [["main"]]


def test_an_environment_of_the_users_own_is_not_changed(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV", "uv")
    throwaway.from_script()
    assert asked == [["main"]]


def test_nothing_is_installed_beside_an_engine(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throwaway, "_has_engine", lambda: True)
    throwaway.from_pipx()
    assert asked == [["main"]]
