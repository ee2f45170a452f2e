"""onnx_ir is imported without SymPy, and computes with it when asked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def run(code: str, *path: Path) -> str:
    """Return what *code* prints in a process of its own, with the folders of *path* in front."""
    start = f"import sys; sys.path[:0] = {[str(one) for one in path]}\n"
    ran = subprocess.run([sys.executable, "-c", start + code], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def test_an_explainer_is_imported_without_sympy() -> None:
    assert run("import onnxcam; onnxcam.Explainer; print('sympy' in sys.modules)") == "False"


def test_symbolic_dimensions_compute_with_sympy() -> None:
    code = """
import onnxcam, onnx_ir
n = onnx_ir.SymbolicDim("N")
import sympy
print((n + 1) / 2, onnx_ir.SymbolicDim("max(N, 2) * 3").simplify(), onnx_ir.SymbolicDim(sympy.Symbol("q") * 2))
"""
    assert run(code) == "N/2 + 1/2 3*Max(2, N) 2*q"


def test_others_import_sympy_itself() -> None:
    code = """
import onnxcam, onnx_ir
from sympy.core import Expr
import sympy
print(issubclass(sympy.Symbol, Expr), sympy.__path__ != [])
"""
    assert run(code) == "True True"


def test_a_version_that_needs_sympy_at_once_gets_it(tmp_path: Path) -> None:
    package = tmp_path / "onnx_ir"
    package.mkdir()
    (package / "__init__.py").write_text("from onnx_ir import inner\nfound = inner.Own.__mro__[1].__name__\n")
    (package / "inner.py").write_text("from sympy.core.symbol import Symbol\nclass Own(Symbol): pass\n")
    assert run("import onnxcam, onnx_ir; print(onnx_ir.found)", tmp_path) == "Symbol"
