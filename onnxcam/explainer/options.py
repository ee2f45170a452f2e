"""The arguments of an `Explainer`: their types; how they are fixed, printed and pickled."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import FrozenInstanceError, fields
from typing import Any, NoReturn, TypedDict

import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam.graph.io import to_proto
from onnxcam.model.inputs import InputValue
from onnxcam.preprocess import Spec
from onnxcam.progress import Progress
from onnxcam.targets import Target

__all__ = ["FixedArguments", "Options", "brief", "picklable"]


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
    task: str | None
    scores_output: str | None
    boxes_output: str | None
    letters: str | None
    progress: Progress
    features: bool
    spin: bool
    cache: str | os.PathLike[str] | None
    text_model: str | os.PathLike[str] | None
    tokenizer: str | os.PathLike[str] | None
    rate: float | None
    start: int | str | None
    resample: bool
    window: Sequence[int] | None
    overlap: float | None
    frames: int | str | None


class FixedArguments:
    """A dataclass whose arguments are fixed after `fix`: assignment raises, and pickling builds the object again."""

    def fix(self) -> None:
        """Refuse assignments from now on."""
        vars(self)["_fixed"] = True

    def arguments(self) -> dict[str, Any]:
        """Return the arguments by name."""
        return {one.name: getattr(self, one.name) for one in fields(self)}  # type: ignore[arg-type]

    def __setattr__(self, name: str, value: object) -> None:
        if "_fixed" in vars(self):
            self._refuse(name, f"explainer.replace({name}=…)")
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        self._refuse(name, "explainer.replace(…)")

    def __repr__(self) -> str:
        defaults = {one.name: one.default for one in fields(self)}  # type: ignore[arg-type]
        return brief(type(self).__name__, self.arguments(), defaults)

    def __reduce__(self) -> tuple[Any, ...]:
        return _build, (type(self), picklable(self.arguments()))

    def _refuse(self, name: str, instead: str) -> NoReturn:
        raise FrozenInstanceError(
            f"{type(self).__name__}.{name} is fixed once it is built; use {instead} to get another explainer"
        )


def _build(kind: type[FixedArguments], arguments: Mapping[str, Any]) -> FixedArguments:
    return kind(**arguments)


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


class _Brief(reprlib.Repr):
    """Short words for values; an array is its type and shape."""

    def repr_ndarray(self, array: NDArray[Any], _: int) -> str:
        return f"<{array.dtype} {list(array.shape)}>"


_SHORT = _Brief()
_SHORT.maxstring = _SHORT.maxother = 60
