"""Scan PyTorch files for code: pickles, compiled libraries, expressions of a program, TorchScript."""

from __future__ import annotations

import io
import json
import os
import pickletools
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from onnxcam_converters.code_scan_torch_program import code_in_program

__all__ = ["PICKLED", "code_in_program_file", "code_in_script", "is_pickle", "tensors_only"]

_Records: TypeAlias = "Mapping[str, Callable[[], bytes]]"

PICKLED = "pickled objects, which could run any code when they are read"
_COMPILED = re.compile(r"(^|/)data/aotinductor/|\.(so|dll|dylib|pyd|pyc|cubin|o)$", re.IGNORECASE)
_PROGRAM = re.compile(r"(^|/)models/|serialized_exported_program\.json$", re.IGNORECASE)
_CONFIG = re.compile(r"_(weights|constants)_config\.json$", re.IGNORECASE)
_TENSOR = re.compile(r"(weight|tensor)_\d+")  # any other file that a configuration names is a pickled object
_FORCE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
_SCRIPT_OPERATORS = "aten|prim|prims|quantized|sparse|torchvision|mkldnn|mkldnn_prepacked|_quantized"
_SCRIPT = re.compile(
    rf"(?<![\w.])ops(?!\.({_SCRIPT_OPERATORS})\.)(?!\w)|\.\s*(save|from_file)\b|getattr\([^\n]*(\\|['\"](save|from_file)['\"])"
)
_SCRIPT_CLASS = re.compile(rb"torch\.classes\.(?!quantized\.|rnn\.|sparse\.)[\w.]*")


@contextmanager
def tensors_only() -> Iterator[None]:
    """Restrict torch.load to tensors and containers, whatever its caller asks for."""
    before = {name: os.environ.pop(name, None) for name in (_FORCE, "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD")}
    os.environ[_FORCE] = "1"
    try:
        yield
    finally:
        del os.environ[_FORCE]
        os.environ.update({name: value for name, value in before.items() if value is not None})


def code_in_program_file(path: Path) -> Iterator[str]:
    """Yield what could run code in the .pt2 file at *path*. Read a file without findings with `tensors_only`."""
    for records in (_by_torch(path), _by_python(path)):  # PyTorch uses either reader, and they may disagree
        for name, read in records.items():
            if _COMPILED.search(name):
                yield f"the compiled library {name!r}, which could run any code"
            elif _PROGRAM.search(name):
                yield from code_in_program(read())
            elif _CONFIG.search(name):
                yield from (f"{PICKLED} ({other!r} in {name!r})" for other in _objects(read()))
    for name in _by_python(path):
        yield from (f"{PICKLED} ({each} in {name!r})" for each in _classes(path, name))


def code_in_script(path: Path) -> Iterator[str]:
    """Yield what could touch files or load libraries in the TorchScript file at *path*."""
    for name, read in _by_torch(path).items():
        if name.endswith(".py") and (found := _SCRIPT.search(read().decode(errors="replace"))):
            yield f"TorchScript that may read or write files ({found[0].strip()!r} in {name!r})"
        if name.endswith(".pkl") and (other := _SCRIPT_CLASS.search(read())):
            yield f"an object of the compiled class {other[0].decode()!r} in {name!r}, which could run any code"


def is_pickle(path: Path) -> bool:
    """Return whether the file at *path* is a pickle, or an archive that may hold one."""
    if zipfile.is_zipfile(path) or tarfile.is_tarfile(path):
        return True
    with path.open("rb") as file:
        try:
            for number, (operation, _, _) in enumerate(pickletools.genops(file)):
                if number > 1000 or operation.name in ("PROTO", "GLOBAL", "INST", "STACK_GLOBAL", "REDUCE"):
                    return True
        except Exception:  # pickletools raises many types of errors
            return False
    return False


def _objects(text: bytes) -> list[str]:
    """Return the files that a configuration names and that are no raw tensors."""
    try:
        payloads = json.loads(text)["config"].values()
        return [str(each["path_name"]) for each in payloads if not _TENSOR.fullmatch(str(each["path_name"]))]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):  # PyTorch cannot read it either
        return []


def _classes(path: Path, name: str) -> list[str]:
    """Return the classes and functions, other than those of tensors, that a member written by torch.save imports."""
    from torch.serialization import get_unsafe_globals_in_checkpoint

    if _read(path, name, 2) != b"PK":
        return []
    try:
        return list(get_unsafe_globals_in_checkpoint(io.BytesIO(_read(path, name))))
    except Exception:  # raw numbers, or an archive that `tensors_only` refuses
        return []


def _by_torch(path: Path) -> _Records:
    import torch

    try:
        reader: Any = torch._C.PyTorchFileReader(str(path))
    except RuntimeError:
        return {}
    return {name: lambda name=name: bytes(reader.get_record(name)) for name in reader.get_all_records()}  # type: ignore[misc]


def _by_python(path: Path) -> _Records:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError):
        return {}
    return {name: lambda name=name: _read(path, name) for name in names}  # type: ignore[misc]


def _read(path: Path, name: str, count: int = -1) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive, archive.open(name) as member:
            return member.read(count)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError):
        return b""
