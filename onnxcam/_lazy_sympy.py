"""onnx_ir without SymPy until it computes with symbolic dimensions: SymPy takes a third of onnxcam's start.

The import of onnx_ir imports SymPy and names some of its functions. Meanwhile a stand-in has the name ``sympy``.
Afterwards everyone else imports SymPy itself; onnx_ir keeps the stand-in, which imports SymPy at the first use.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

__all__: list[str] = []


class _Sympy(ModuleType):
    """The stand-in for SymPy."""

    _is_importing = True

    def __getattr__(self, name: str) -> Any:
        if not self._is_importing:
            return getattr(importlib.import_module("sympy"), name)
        if name.startswith("__"):
            raise AttributeError(name)
        return _function(name)


def _function(name: str) -> Callable[..., Any]:
    """Return a function that calls the function *name* of SymPy."""

    def call(*arguments: Any) -> Any:
        return getattr(importlib.import_module("sympy"), name)(*arguments)

    return call


class _Finder(importlib.abc.MetaPathFinder):
    """Finds onnx_ir, and has it imported beside the stand-in."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != "onnx_ir" or "sympy" in sys.modules:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader.exec_module = _beside(spec.loader.exec_module)  # type: ignore[assignment, method-assign]
        return spec


def _beside(execute: Callable[[ModuleType], None]) -> Callable[[ModuleType], None]:
    """Return *execute* with the stand-in for SymPy beside it; with SymPy itself if that fails."""

    def executed(module: ModuleType) -> None:
        try:
            _with_stand_in(execute, module)
        except Exception:  # a version of onnx_ir that uses more of SymPy while it is imported
            for name in [name for name in sys.modules if name.startswith(f"{module.__name__}.")]:
                del sys.modules[name]
            execute(module)

    return executed


def _with_stand_in(execute: Callable[[ModuleType], None], module: ModuleType) -> None:
    stand_in = _Sympy("sympy")
    sys.modules["sympy"] = stand_in
    try:
        execute(module)
    finally:
        stand_in._is_importing = False
        if sys.modules.get("sympy") is stand_in:
            del sys.modules["sympy"]


sys.meta_path.insert(0, _Finder())
