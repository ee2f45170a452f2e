"""``--import`` and ``--custom-ops``: modules of the user, which register methods or targets, and custom operators."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import typer

from onnxcam.errors import OnnxcamError


def load(names: Sequence[str] | None, libraries: Sequence[str] | None) -> None:
    """Register the custom operators of *libraries*, and import the modules *names*, each a name or a file ``.py``.

    OnnxcamError where that fails.
    """
    for library in libraries or ():
        from onnxcam.engine import register_custom_ops

        register_custom_ops(library)
    for name in names or ():
        _load(name)


def _load(name: str) -> None:
    file = Path(name)
    if file.suffix == ".py" and not file.is_file():
        raise typer.BadParameter(f"--import {name}: there is no such file")
    if file.suffix != ".py" and (name.startswith(".") or len(file.parts) > 1 or file.is_absolute()):
        what = "a folder" if file.is_dir() else "no .py file"
        raise typer.BadParameter(
            f"--import {name}: it is {what}; give a .py file, or the name of a module such as my_cam"
        )
    try:
        if file.suffix == ".py":
            _run(file)
        else:
            _find(name)
    except OnnxcamError as error:
        raise type(error)(f"--import {name}: {error}") from error
    except (Exception, SystemExit) as error:  # whatever the user's code raises
        raise OnnxcamError(f"--import {name}: {type(error).__name__}{_place(error)}: {_said(error)}") from error


def _run(file: Path) -> None:
    """Import a file as the module of its name, as ``import`` does from its folder."""
    name = file.stem if file.stem not in sys.modules else f"{file.stem} of --import"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise OnnxcamError("it is no module of Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    with _searched(str(file.resolve().parent)):
        spec.loader.exec_module(module)


def _find(name: str) -> None:
    """Import a module from the working folder or an installed package."""
    try:
        with _searched(os.getcwd()):
            importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise OnnxcamError(
            "no module of that name is in this folder or installed; give its name, such as my_cam, or its file"
        ) from error


@contextmanager
def _searched(folder: str) -> Iterator[None]:
    """Search *folder* for modules first."""
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _place(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return f" in line {error.lineno}"
    frames = [one for one in traceback.extract_tb(error.__traceback__) if not one.filename.startswith("<frozen")]
    last = frames[-1]
    return f" in {Path(last.filename).name}, line {last.lineno}"


def _said(error: BaseException) -> str:
    return error.msg if isinstance(error, SyntaxError) else str(error) or "no message"
