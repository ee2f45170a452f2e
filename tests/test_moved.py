"""The names of 0.1 are found, with a warning that says the new one."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from onnxcam import _moved


@pytest.mark.parametrize(("old", "new"), sorted(_moved.MODULES.items()))
def test_old_modules_are_the_new_ones(old: str, new: str) -> None:
    for name in [name for name in sys.modules if name == f"onnxcam.{old}"]:
        del sys.modules[name]
    with pytest.warns(DeprecationWarning, match=" now; the old name ends with version 0.3") as told:
        found = importlib.import_module(f"onnxcam.{old}")
    assert found is importlib.import_module(f"onnxcam.{new}")
    assert f"onnxcam.{old} is onnxcam.{new} now" in [str(one.message).partition(";")[0] for one in told]
    assert found.__spec__.name == found.__name__ == f"onnxcam.{new}"


@pytest.mark.parametrize(
    "line",
    [
        "from onnxcam.edge.validate import validate",
        "from onnxcam.edge import bake, webserver",
        "from onnxcam import image, labels",
        "import onnxcam.target.words; onnxcam.target.words.parse('top')",
        "import onnxcam; onnxcam.survey.survey",
        "from onnxcam.graph import load, save",
        "from onnxcam.explainer import Explainer",
        "from onnxcam.autodiff.rules import RuleSet, rule",
    ],
)
def test_old_lines_work_and_the_warning_names_their_place(line: str) -> None:
    ran = subprocess.run([sys.executable, "-W", "always", "-c", line], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert "Explainer" in line or "<string>:1: DeprecationWarning: onnxcam." in ran.stderr


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [(module, old, new) for module, names in _moved.NAMES.items() for old, new in names.items()]
    + [("graph", "load", "graph.io.load"), ("autodiff.rules", "rule", "autodiff.table.rule")],
)
def test_old_names_are_the_new_ones(module: str, old: str, new: str) -> None:
    home, _, name = new.rpartition(".")
    with pytest.warns(DeprecationWarning, match=rf"onnxcam\.{module}\.{old} is onnxcam\.{new} now; the old name ends"):
        found = getattr(importlib.import_module(f"onnxcam.{module}"), old)
    assert found is getattr(importlib.import_module(f"onnxcam.{home}"), name)


@pytest.mark.parametrize("module", [*_moved.NAMES, *_moved.HOMES])
@pytest.mark.parametrize("name", ["nothing", "_is_our_model", "__wrapped__"])
def test_modules_have_no_other_names(module: str, name: str) -> None:
    with pytest.raises(AttributeError, match=rf"module 'onnxcam\.{module}' has no attribute '{name}'"):
        getattr(importlib.import_module(f"onnxcam.{module}"), name)


@pytest.mark.filterwarnings("ignore:onnxcam.edge is onnxcam.compare now:DeprecationWarning")  # the package is found
def test_names_that_never_were_are_refused() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"onnxcam\.edge\.nothing"):
        importlib.import_module("onnxcam.edge.nothing")
    with pytest.raises(AttributeError, match="nothing"):
        importlib.import_module("onnxcam").nothing  # noqa: B018
