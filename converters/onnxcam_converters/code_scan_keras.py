"""Scan Keras files for code and for references to other files: the configuration and HDF5 links."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from onnxcam.errors import ConversionError
from onnxcam_converters.code_scan import refuse_bomb

__all__ = ["LAMBDA", "code_in_keras", "missing_code"]

LAMBDA = "Python code (a Lambda layer), which is not run"
_CODE = {
    "Lambda": LAMBDA,
    "__lambda__": LAMBDA,
    "TorchModuleWrapper": "a pickled PyTorch module, which could run any code when it is read",
    "JaxLayer": "Python code (a JaxLayer), which is not run",
    "FlaxLayer": "Python code (a FlaxLayer), which is not run",
    "TFSMLayer": "the path of a SavedModel (a TFSMLayer), which is not read",
}
_PARTS = (
    "activations|constraints|dtype_policies|initializers|layers|legacy|losses|metrics|models|optimizers|ops|"
    "quantizers|random|regularizers"
)
_KERAS = re.compile(rf"keras(\.src)?(\.engine|\.({_PARTS}))(\.[\w.]+)?|keras|keras_(hub|cv|nlp)(\.[\w.]+)?")
_FUNCTIONS = ("activations", "constraints", "initializers", "losses", "metrics", "ops", "regularizers")
_FUNCTION = re.compile(rf"keras(\.src)?\.({'|'.join(_FUNCTIONS)})(\.[\w.]+)?")


def missing_code(path: Path, kind: str, name: str) -> ConversionError:
    """Return the error for a file that needs a Python class or function which it does not contain."""
    return ConversionError(
        f"'{path}' needs the Python {kind} {name!r}, which is not in it; load it where that {kind} is defined "
        "and pass the model itself: onnxcam.converters.from_tensorflow(model, path)"
    )


def code_in_keras(path: Path) -> Iterator[str]:
    """Yield what could run code or read other files in the ``.keras`` or ``.h5`` file at *path*."""
    if not zipfile.is_zipfile(path):
        yield from _code_in_h5(path, path)
        return
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if "config.json" in names:
            yield from _code_in_config(archive.read("config.json"), path)
        for name in names:
            if name.endswith(".h5"):
                with archive.open(name) as member:
                    yield from _code_in_h5(member, path)


def _code_in_h5(file: Any, path: Path) -> Iterator[str]:
    import h5py

    try:
        opened = h5py.File(file, "r")
    except OSError:  # Keras cannot read it either
        return
    with opened as root:
        config = root.attrs.get("model_config")
        if config is not None:
            yield from _code_in_config(config, path)
        yield from _links(root)
        refuse_bomb(path, sum(dataset.nbytes for dataset in _datasets(root)))


def _links(root: Any) -> Iterator[str]:
    """Yield references to data in other files."""
    import h5py

    for group in _groups(root):
        for name in group:
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                yield f"a link to another file, {link.filename!r} ({group.name.rstrip('/')}/{name}), which is not read"
    for dataset in _datasets(root):
        others = [file for file, *_ in dataset.external or ()]
        others += [each.file_name for each in dataset.virtual_sources()] if dataset.is_virtual else []
        if others:
            yield f"numbers of another file, {others[0]!r} ({dataset.name}), which is not read"


def _groups(root: Any) -> Iterator[Any]:
    """Yield *root* and its subgroups, each once: hard links may form a cycle."""
    import h5py

    stack, seen = [root], set()
    while stack:
        group = stack.pop()
        place = h5py.h5o.get_info(group.id).addr
        if place not in seen:
            seen.add(place)
            yield group
            stack += [each for each in _owned(group) if isinstance(each, h5py.Group)]


def _datasets(root: Any) -> list[Any]:
    import h5py

    return [each for group in _groups(root) for each in _owned(group) if isinstance(each, h5py.Dataset)]


def _owned(group: Any) -> list[Any]:
    import h5py

    return [group[name] for name in group if isinstance(group.get(name, getlink=True), h5py.HardLink)]


def _code_in_config(text: bytes | str, path: Path) -> Iterator[str]:
    try:
        config = json.loads(text)
    except (ValueError, TypeError, RecursionError):  # Keras cannot read it either
        return
    if isinstance(config, dict):
        config.pop("compile_config", None)  # the model is not compiled
    for part in _dicts(config):
        yield from _code_of(part, path)


def _dicts(config: Any) -> Iterator[dict[str, Any]]:
    stack = [config]
    while stack:
        part = stack.pop()
        if isinstance(part, dict):
            yield part
            stack += part.values()
        elif isinstance(part, list):
            stack += part


def _code_of(part: dict[str, Any], path: Path) -> Iterator[str]:
    if isinstance(part.get("vocabulary"), str):
        yield f"the path of a vocabulary, {part['vocabulary'][:60]!r}, which is not read"
    name = part.get("class_name")
    if not isinstance(name, str):
        return
    if name in _CODE:
        yield _CODE[name]
    elif name == "function":
        if not _known_function(part):
            raise missing_code(path, "function", str(part.get("config")))
    elif name == "__typespec__" or not name.startswith("__"):
        module = part.get("module") or "keras"
        if not _KERAS.fullmatch(str(module)) and not _registered(part.get("registered_name") or name):
            raise missing_code(path, "class", name)


def _known_function(part: dict[str, Any]) -> bool:
    import keras

    name, module = str(part.get("config")), str(part.get("module"))
    if _registered(name) or _FUNCTION.fullmatch(module):
        return True
    return module == "builtins" and any(hasattr(getattr(keras, each, None), name) for each in _FUNCTIONS)


def _registered(name: Any) -> bool:
    import keras

    return keras.saving.get_registered_object(str(name)) is not None
