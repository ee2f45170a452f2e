"""Scripts outside the package (benchmarks, models, tools): what they import of the project exists."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("benchmarks", "models", "tools")
SCRIPTS = sorted(path.relative_to(ROOT) for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
OURS = ("onnxcam", "onnxcam_converters", "models", "tests")


@pytest.mark.parametrize("script", SCRIPTS, ids=str)
def test_what_a_script_imports_exists(script: Path) -> None:
    tree = ast.parse((ROOT / script).read_text("utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in OURS:
            module = _imported(node.module or "")
            for name in (alias.name for alias in node.names):
                assert hasattr(module, name) or _imported(f"{node.module}.{name}"), f"line {node.lineno}"


def _imported(name: str) -> ModuleType:
    """Import a module of the project; skip where another package that it needs is not installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in OURS:
            raise
        pytest.skip(f"{error.name} is not installed")
