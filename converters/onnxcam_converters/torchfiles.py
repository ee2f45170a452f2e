"""PyTorch from files: ``package.module:callable``, weights, ExportedProgram, TorchScript."""

from __future__ import annotations

import importlib
import os
import pickle
import sys
import zipfile
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from onnxcam.errors import ConversionError, nearest
from onnxcam_converters.torchexport import quiet
from onnxcam_converters.trouble import first_sentence, need, reason
from onnxcam_converters.trust import plain_data

SHOWN = 5  # keys that do not match are named, the rest counted
WRAPPERS = ("state_dict", "model_state_dict", "model", "ema", "module", "net")
PREFIXES = ("module.", "_orig_mod.", "model.")


def called(source: str, arguments: Mapping[str, Any]) -> Any:
    """Return what the callable *source*, ``package.module:name``, makes; modules in the current folder count too."""
    home, _, name = source.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        with quiet():
            found: Any = importlib.import_module(home)
    except ModuleNotFoundError as error:
        if error.name is None or not (home == error.name or home.startswith(f"{error.name}.")):
            raise ConversionError(
                f"module {home!r} cannot be imported: {reason(error)}; install what it needs"
            ) from error
        raise ConversionError(
            f"there is no module {home!r} in the current folder or on Python's path; check the name, or set PYTHONPATH"
        ) from None
    except Exception as error:
        raise ConversionError(f"module {home!r} cannot be imported: {reason(error)}") from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise ConversionError(f"{home!r} has no {name!r}.{nearest(part, [n for n in dir(found) if n[0] != '_'])}")
        found = getattr(found, part)
    if not callable(found):
        raise ConversionError(
            f"{source} is a {type(found).__name__}, which cannot be called; name what makes the model"
        )
    try:
        with quiet():
            return found(**arguments)
    except Exception as error:
        given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        raise ConversionError(
            f"{source}({given}) failed: {reason(error)}; arguments are given by --arg key=value"
        ) from error


def opened(path: Path, unsafe_pickle: bool) -> Any:
    """Return the ExportedProgram, the TorchScript module or, if pickles are trusted, the ``nn.Module`` in *path*."""
    torch = need("torch", "PyTorch")
    names = _members(path)
    try:
        with quiet():
            if path.suffix == ".pt2" or any(name.endswith("archive_format") for name in names):
                with nullcontext() if unsafe_pickle else plain_data(path, names):
                    return torch.export.load(str(path))
            if any("/code/" in name for name in names):
                return torch.jit.load(str(path), map_location="cpu")
    except ConversionError:
        raise
    except Exception as error:
        refusal = _refusal(error)
        if refusal is not None:
            raise refusal from None
        raise ConversionError(
            f"'{path}' cannot be read by this PyTorch: {first_sentence(error)}; export it again"
        ) from error
    found = _loaded(path, unsafe_pickle)
    if isinstance(found, torch.nn.Module):
        return found
    raise ConversionError(
        f"'{path}' holds weights, no network; name what makes the network: "
        f"onnxcam export package.module:callable --weights {path}"
    )


def _refusal(error: BaseException | None) -> ConversionError | None:
    """Return our own refusal, which PyTorch wrapped in errors of its own."""
    while error is not None and not isinstance(error, ConversionError):
        error = error.__cause__ or error.__context__
    return error


def load_weights(module: Any, path: Path, unsafe_pickle: bool) -> None:
    """Put the weights in *path* into *module*; ConversionError where they are not exactly its own."""
    torch = need("torch", "PyTorch")
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
    more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    return ", ".join(keys[:SHOWN]) + more


def _loaded(path: Path, unsafe_pickle: bool) -> Any:
    torch = need("torch", "PyTorch")
    if not path.is_file():
        raise ConversionError(f"weight file '{path}' does not exist; check the name")
    try:
        if path.suffix == ".safetensors":
            return need("safetensors.torch", "safetensors").load_file(str(path))
        with quiet():
            return torch.load(path, map_location="cpu", weights_only=not unsafe_pickle)
    except ConversionError:
        raise
    except pickle.UnpicklingError:
        if path.read_bytes()[:1] not in (b"P", b"\x80"):  # neither an archive nor a pickle
            raise ConversionError(f"'{path}' is no PyTorch file, or a truncated one; fetch it again") from None
        raise ConversionError(
            f"'{path}' holds pickled objects, which could run any code when they are read; save the state_dict() "
            "alone, or give --unsafe-pickle if you trust whoever made the file"
        ) from None
    except Exception as error:
        raise ConversionError(f"'{path}' is no PyTorch file, or a truncated one: {first_sentence(error)}") from error


def _state(found: Any, path: Path) -> dict[str, Any]:
    """Return the state dict in *found*, out of the wrappers in which training scripts keep it."""
    import torch

    while True:
        if isinstance(found, torch.nn.Module):
            found = found.state_dict()
        if isinstance(found, Mapping) and found and all(isinstance(each, torch.Tensor) for each in found.values()):
            return dict(found)
        inner = next((found[key] for key in WRAPPERS if key in found), None) if isinstance(found, Mapping) else None
        if inner is None:
            keys = _some(map(str, found)) if isinstance(found, Mapping) else type(found).__name__
            raise ConversionError(f"'{path}' holds no state dict but {keys}; save model.state_dict()")
        found = inner


def _without_prefix(state: dict[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Drop what DataParallel, torch.compile and Lightning put before every key."""
    for prefix in PREFIXES:
        if not wanted.keys() & state.keys() and all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _members(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except zipfile.BadZipFile:
        return []
    except OSError as error:
        raise ConversionError(f"'{path}' cannot be read: {error.strerror}") from None
