"""Load PyTorch models: ``package.module:callable``, weights, ExportedProgram, TorchScript."""

from __future__ import annotations

import importlib
import os
import pickle
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from onnxcam import paths
from onnxcam.errors import ConversionError, nearest
from onnxcam_converters.code_scan import archive_members, refuse_code
from onnxcam_converters.code_scan_torch import PICKLED, code_in_program_file, code_in_script, is_pickle, tensors_only
from onnxcam_converters.framework_errors import describe_error, import_framework, innermost_message
from onnxcam_converters.quiet import quiet_torch
from onnxcam_converters.torch_archive import refuse_truncated

__all__ = ["load_model", "load_weights", "make_model"]

_SHOWN = 5  # number of keys that an error lists
_WRAPPERS = ("state_dict", "model_state_dict", "model", "ema", "module", "net")
_PREFIXES = ("module.", "_orig_mod.", "model.")


def make_model(source: str, arguments: Mapping[str, Any]) -> Any:
    """Import *source*, ``package.module:name``, call it with *arguments*, and return the result.

    The current folder is on the import path. ConversionError if the import or the call fails.
    """
    home, _, name = source.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        with quiet_torch():
            found: Any = importlib.import_module(home)
    except ModuleNotFoundError as error:
        if error.name is None or not (home == error.name or home.startswith(f"{error.name}.")):
            raise ConversionError(
                f"module {home!r} cannot be imported: {describe_error(error)}; install what it needs"
            ) from error
        raise ConversionError(
            f"there is no module {home!r} in the current folder or on Python's path; check the name, or set PYTHONPATH"
        ) from None
    except Exception as error:
        raise ConversionError(f"module {home!r} cannot be imported: {describe_error(error)}") from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise ConversionError(f"{home!r} has no {name!r}.{nearest(part, [n for n in dir(found) if n[0] != '_'])}")
        found = getattr(found, part)
    if not callable(found):
        raise ConversionError(
            f"{source} is a {type(found).__name__}, which cannot be called; name a callable that makes the model"
        )
    try:
        with quiet_torch():
            return found(**arguments)
    except Exception as error:
        given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        raise ConversionError(
            f"{source}({given}) failed: {describe_error(error)}; arguments are given by --arg key=value"
        ) from error


def load_model(path: Path, unsafe_pickle: bool) -> Any:
    """Return the ExportedProgram, TorchScript module or (only with *unsafe_pickle*) ``nn.Module`` in *path*.

    ConversionError if the file could run code, is damaged, or contains weights only.
    """
    torch = import_framework("torch", "PyTorch")
    paths.check_file(path, ConversionError, "model")
    names = archive_members(path)
    if path.suffix.lower() == ".pt2" or any(name.endswith("archive_format") for name in names):
        return _program(path, unsafe_pickle)
    if any("/code/" in name for name in names):
        refuse_code(path, code_in_script(path), unsafe_pickle)
        refuse_truncated(path)
        with _readable(path):
            return torch.jit.load(str(path), map_location="cpu")
    found = _loaded(path, unsafe_pickle)
    if isinstance(found, torch.nn.Module):
        return found
    raise ConversionError(
        f"'{path}' has weights but no network; name a callable that makes the network: "
        f"onnxcam export package.module:callable --weights {path}"
    )


def _program(path: Path, unsafe_pickle: bool) -> Any:
    import torch

    refuse_code(path, code_in_program_file(path), unsafe_pickle)
    try:
        with _readable(path), nullcontext() if unsafe_pickle else tensors_only():
            return torch.export.load(str(path))
    except ConversionError as error:
        if isinstance(error.__cause__, pickle.UnpicklingError):
            refuse_code(path, [PICKLED], unsafe_pickle)
        raise


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        with quiet_torch():
            yield
    except Exception as error:
        why = innermost_message(error).partition(". Please check the warnings above")[0]
        raise ConversionError(f"'{path}' cannot be read by this PyTorch: {why}; export it again") from error


def load_weights(module: Any, path: Path, unsafe_pickle: bool) -> None:
    """Load the weights in *path* into *module*; ConversionError if names or shapes differ."""
    torch = import_framework("torch", "PyTorch")
    state = _state(_loaded(path, unsafe_pickle), path)
    wanted = module.state_dict()
    state = _without_prefix(state, wanted)
    for what, keys in (("lacks", wanted.keys() - state.keys()), ("has unknown", state.keys() - wanted.keys())):
        if keys:
            order = [key for key in (wanted if what == "lacks" else state) if key in keys]
            raise ConversionError(
                f"'{path}' {what} {_some(order)}: these are weights of another network; "
                "check the callable and its --arg"
            )
    other = [key for key in wanted if state[key].shape != wanted[key].shape]
    if other:
        sizes = [f"{key} {list(state[key].shape)} for {list(wanted[key].shape)}" for key in other]
        raise ConversionError(
            f"'{path}' has other shapes: {_some(sizes)}; check the callable's --arg (number of classes?)"
        )
    with torch.no_grad():
        module.load_state_dict(state)


def _some(keys: Iterable[str]) -> str:
    keys = list(keys)
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return ", ".join(keys[:_SHOWN]) + more


def _loaded(path: Path, unsafe_pickle: bool) -> Any:
    torch = import_framework("torch", "PyTorch")
    paths.check_file(path, ConversionError, "weight file")
    archive_members(path)
    try:
        if path.suffix.lower() == ".safetensors":
            return import_framework("safetensors.torch", "safetensors").load_file(str(path))
        refuse_truncated(path)
        with quiet_torch():
            return torch.load(path, map_location="cpu", weights_only=not unsafe_pickle)
    except ConversionError:
        raise
    except Exception as error:
        if not unsafe_pickle and _wants_more(error) and is_pickle(path):
            refuse_code(path, [f"{PICKLED}: save the state_dict() alone"], unsafe_pickle)
        why = "" if isinstance(error, pickle.UnpicklingError) else f": {innermost_message(error)}"
        raise ConversionError(f"'{path}' is no PyTorch file, or a truncated one{why}; fetch it again") from error


def _wants_more(error: Exception) -> bool:
    """Return whether PyTorch refused objects other than tensors and containers."""
    return isinstance(error, pickle.UnpicklingError) or "weights_only" in str(error)


def _state(found: Any, path: Path) -> dict[str, Any]:
    """Return the state dict in *found*, which may be nested in a checkpoint of a training script."""
    import torch

    while True:
        if isinstance(found, torch.nn.Module):
            found = found.state_dict()
        if isinstance(found, Mapping) and found and all(isinstance(each, torch.Tensor) for each in found.values()):
            return dict(found)
        inner = next((found[key] for key in _WRAPPERS if key in found), None) if isinstance(found, Mapping) else None
        if inner is None:
            keys = _some(map(str, found)) if isinstance(found, Mapping) else type(found).__name__
            raise ConversionError(f"'{path}' has no state dict but {keys}; save model.state_dict()")
        found = inner


def _without_prefix(state: dict[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Remove the key prefixes of DataParallel, torch.compile and Lightning."""
    for prefix in _PREFIXES:
        if not wanted.keys() & state.keys() and all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state
