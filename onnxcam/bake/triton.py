"""Write a model, such as a baked one, as a model repository of Triton Inference Server.

The layout is ``FOLDER/NAME/config.pbtxt`` and ``FOLDER/NAME/1/model.onnx``; weights of external data lie beside. KServe
serves the same folder through its Triton runtime.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import onnx_ir as ir

from onnxcam import files
from onnxcam.autodiff.rules import STANDARD
from onnxcam.errors import ModelError, OutputError
from onnxcam.graph.io import load, save
from onnxcam.numbers import parse_int
from onnxcam.passes.shapes import infer_shapes
from onnxcam.paths import PathLike

__all__ = ["CONFIG", "MAX_BATCH", "require_repository", "triton_config", "write_repository"]

CONFIG = "config.pbtxt"
MAX_BATCH = 8
_MOST = 65536
_VERSION = "1"
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)
_TYPES = {
    "BOOL": "BOOL",
    "STRING": "STRING",
    "FLOAT16": "FP16",
    "FLOAT": "FP32",
    "DOUBLE": "FP64",
    "BFLOAT16": "BF16",
    **{f"{sign}INT{bits}": f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)},
}
"""Triton's data types of the types of ONNX."""


def write_repository(
    model: PathLike, folder: PathLike, *, name: str | None = None, max_batch: int = MAX_BATCH, overwrite: bool = False
) -> Path:
    """Write *model* and its configuration to ``folder/name``; return that folder.

    Args:
        model: The file, as `bake` writes it.
        folder: The model repository; other models in it are kept.
        name: Name of the model on the server. None: that of the file, without its suffix.
        max_batch: Largest batch, from 1 to 65536; see `triton_config`.
        overwrite: Also replace a model that onnxcam did not write.

    Raises:
        ModelError: as `triton_config`, or the file cannot be read.
        OutputError: the name is none for a server, or the folder cannot be written or holds files of other origin.

    Example:
        >>> write_repository("explained.onnx", "repository")
    """
    place = require_repository(folder, Path(model).stem if name is None else name, overwrite=overwrite)
    loaded = load(model)
    infer_shapes(loaded, STANDARD.compositions)
    config = triton_config(loaded, place.name, max_batch)
    with files.StagedFolder(place, CONFIG, overwrite=overwrite) as made:
        version = made.staging / _VERSION
        version.mkdir()
        save(loaded, version / "model.onnx", model)
        (made.staging / CONFIG).write_text(config, "utf-8")
    return place


def require_repository(folder: PathLike, name: str, *, overwrite: bool = False) -> Path:
    """Return the folder of the model *name*.

    Raises:
        OutputError: a server cannot serve this name, or, without *overwrite*, the folder holds files of other origin.
    """
    if not _NAME.fullmatch(name):
        raise OutputError(
            f"{name!r} is no name of a model on a server, which has letters, digits, '.', '_', '-' and begins with a "
            "letter or a digit; rename the file"
        )
    place = Path(folder) / name
    files.require_place(place, folder=True, option="--triton")
    files.StagedFolder(place, CONFIG, overwrite=overwrite).require_replaceable((CONFIG, _VERSION))
    return place


def triton_config(model: ir.Model, name: str, max_batch: int = MAX_BATCH) -> str:
    """Return the config.pbtxt of *model*: names, types and dims of its inputs and outputs.

    The server joins requests to batches of up to *max_batch* where the first dimension of all inputs and outputs is one
    and the same open dimension. Else ``max_batch_size`` is 0, and each tensor has its whole shape, −1 for what is open.
    A tensor without further dimensions is a vector of one element to clients, as Triton has no scalars.

    Raises:
        ModelError: Triton has no type for an input or output, or its rank is unknown.
        OutputError: *max_batch* is out of range.
    """
    if parse_int(max_batch, 1, _MOST) is None:
        raise OutputError(f"the largest batch is a whole number from 1 to {_MOST}, not {max_batch}")
    taken = [value for value in model.graph.inputs if value.name not in model.graph.initializers]
    shapes = {value.name: _dims(value) for value in (*taken, *model.graph.outputs)}
    first = {shape[0] if shape else None for shape in shapes.values()}
    is_batched = len(first) == 1 and isinstance(next(iter(first)), str)
    lines = [f"{files.OPERATORS} for Triton Inference Server", f'name: "{name}"', 'backend: "onnxruntime"']
    lines += [f"max_batch_size: {max_batch if is_batched else 0}"]
    for kind, values in (("input", taken), ("output", model.graph.outputs)):
        for value in values:
            shape = shapes[value.name][1:] if is_batched else shapes[value.name]
            lines.append(f"{kind} {{ {_tensor(value, shape)} }}")
    return "\n".join([*lines, *["dynamic_batching { }"] * is_batched, ""])


def _tensor(value: ir.Value, shape: Sequence[int | str | None]) -> str:
    kind = _TYPES.get(value.dtype.name if value.dtype else "")
    if kind is None:
        raise ModelError(f"{value.name!r} is of type {value.dtype}, which Triton cannot send; bake without this tensor")
    dims = ", ".join(str(length if isinstance(length, int) else -1) for length in shape) or "1"
    text = re.sub(r'(["\\])', r"\\\1", value.name or "")
    return f'name: "{text}" data_type: TYPE_{kind} dims: [ {dims} ]' + " reshape { shape: [ ] }" * (not shape)


def _dims(value: ir.Value) -> list[int | str | None]:
    """Return the shape of *value*: lengths, names of open dimensions, and None for those without a name."""
    if value.shape is None:
        raise ModelError(f"the rank of {value.name!r} is unknown, and Triton needs it; write the shape into the file")
    return [one if isinstance(one, int) else one.value for one in value.shape]
