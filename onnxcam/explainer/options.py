"""The options of an `Explainer`: their types, how they are printed, how they are pickled."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import onnx_ir as ir

from onnxcam.graph.io import to_proto
from onnxcam.model.inputs import InputValue
from onnxcam.preprocess import Spec
from onnxcam.progress import Progress
from onnxcam.targets import Target

__all__ = ["Options", "brief", "picklable"]


class Options(TypedDict, total=False):
    """The keyword arguments of `onnxcam.Explainer`, which documents them."""

    method: str
    layer: str | Sequence[str] | None
    target: Target
    provider: str
    preprocess: Spec | None
    labels: str | os.PathLike[str] | Sequence[str] | None
    settings: Mapping[str, Any]
    smooth: str
    signed: bool
    inputs: Mapping[str, InputValue]
    wrt: str | None
    progress: Progress


def brief(kind: str, arguments: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    """Return ``kind('model.onnx', method='gradcam')``: the model, the method, and what differs from *defaults*."""
    shown = {name: value for name, value in arguments.items() if _is_shown(name, value, defaults[name])}
    words = [f"{name}={_short(value)}" for name, value in shown.items()]
    return f"{kind}({', '.join([_model(arguments['model']), *words])})"


def picklable(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return *arguments* as pickle takes them: a model of onnx_ir as a ModelProto, mappings as dicts."""
    plain = {name: dict(value) if isinstance(value, Mapping) else value for name, value in arguments.items()}
    model = arguments["model"]
    return {**plain, "model": to_proto(model) if isinstance(model, ir.Model) else model}


def _is_shown(name: str, value: Any, default: Any) -> bool:
    """Whether `brief` prints the argument *name*: the method always, others where they are not the default."""
    if name in ("model", "progress", "method"):
        return name == "method"
    if isinstance(value, str | Mapping):
        return bool(value) and value != default
    return value is not default


def _model(model: Any) -> str:
    if isinstance(model, str | os.PathLike):
        return _SHORT.repr(os.fspath(model))
    return f"<{len(model)} bytes>" if isinstance(model, bytes) else f"<{type(model).__name__}>"


def _short(value: Any) -> str:
    """Return a value in a few words, on one line."""
    return " ".join(_SHORT.repr(dict(value) if isinstance(value, Mapping) else value).split())


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60
