"""No code from files: loaders of PyTorch that would run what a file asks for are held to plain data."""

from __future__ import annotations

import ast
import pickle
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NoReturn
from unittest.mock import patch

from onnxcam.errors import ConversionError
from onnxcam_converters.trouble import need

_PLAIN = (
    ast.Expression,
    ast.Name,
    ast.Load,
    ast.keyword,
    ast.BinOp,
    ast.UnaryOp,
    ast.Compare,
    ast.operator,
    ast.unaryop,
    ast.cmpop,
)
"""Syntax of sizes that can only compute."""
NATIVE = (".so", ".dll", ".dylib", ".cubin", ".cpp", ".o")
"""Members of an archive that are compiled code, or become it."""


@contextmanager
def plain_data(path: Path, members: list[str]) -> Iterator[None]:
    """Have PyTorch read *path*, an archive with *members*, without running any code that it asks for.

    Its tensors, constants and examples are unpickled as plain data (``weights_only``), its sizes are parsed before
    SymPy evaluates them, and compiled code is refused. Raises ConversionError, which names ``--unsafe-pickle``.
    """
    torch, sympy = need("torch", "PyTorch"), need("sympy", "PyTorch")
    native = next((name for name in members if name.lower().endswith(NATIVE)), None)
    if native is not None:
        raise _refused(path, f"compiled code ('{native}')")

    def load(*args: Any, **options: Any) -> Any:
        try:
            return original(*args, **{**options, "weights_only": True})
        except pickle.UnpicklingError:
            raise _refused(path, "pickled objects") from None

    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise _refused(path, "pickled objects")

    original = torch.load
    with ExitStack() as patches:
        patches.enter_context(patch.object(torch, "load", load))
        patches.enter_context(patch.object(sympy, "sympify", _parsed(path, sympy)))
        patches.enter_context(patch.object(pickle, "loads", refuse))
        if hasattr(torch._C, "_pickle_load_obj"):
            patches.enter_context(patch.object(torch._C, "_pickle_load_obj", refuse))
        yield


def _parsed(path: Path, sympy: Any) -> Callable[..., Any]:
    """Return SymPy's ``sympify``, which evaluates text as Python, for text that is a size and nothing else."""
    original = sympy.sympify

    def sympify(value: Any, *args: Any, **options: Any) -> Any:
        if isinstance(value, str) and not _is_size(value, sympy):
            raise _refused(path, "an expression of a size that is no arithmetic")
        return original(value, *args, **options)

    return sympify


def _is_size(text: str, sympy: Any) -> bool:
    """Whether *text* is arithmetic of numbers, names and SymPy's classes."""
    try:
        return all(_is_plain(node, sympy) for node in ast.walk(ast.parse(text, mode="eval")))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


def _is_plain(node: ast.AST, sympy: Any) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and _is_class(node.func.id, sympy)
    if isinstance(node, ast.Constant):
        return node.value.isidentifier() if isinstance(node.value, str) else isinstance(node.value, int | float)
    return isinstance(node, _PLAIN)


def _is_class(name: str, sympy: Any) -> bool:
    """Whether *name* is a class of SymPy's expressions, or of those that PyTorch adds."""
    from torch.utils._sympy import functions

    found = getattr(functions, name, None) if name in functions.__all__ else getattr(sympy, name, None)
    return isinstance(found, type) and issubclass(found, sympy.Basic)


def _refused(path: Path, what: str) -> ConversionError:
    return ConversionError(
        f"'{path}' holds {what}, which could run any code when it is read; export it again without, or give "
        "--unsafe-pickle if you trust whoever made the file"
    )
