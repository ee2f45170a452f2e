"""The settings of a method: given words and values -> checked values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from onnxcam import numbers as values
from onnxcam.errors import MethodError, nearest
from onnxcam.methods.base import Method
from onnxcam.paths import shown

__all__ = ["ImageSet", "read_settings"]


@dataclass(frozen=True)
class ImageSet:
    """A setting that is a set of images: the default of its parameter. A procedure gets their tensors [B, …].

    *source* is a folder, a file, a list of files or uint8 arrays [H, W, 3], or the tensors themselves, an array
    [B, …] of the model's input; None for no images, of which the tensors are [0, …].
    """

    source: Any = None

    def __str__(self) -> str:
        return "none" if self.source is None else str(self.source)


def read_settings(method: Method, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of *method*: *given*, as words or values, else the defaults; MethodError for a wrong one."""
    known = method.settings
    for name in given:
        if name not in known:
            there = ", ".join(f"{key}={value}" for key, value in known.items()) or "none"
            raise MethodError(f"{method.id} has no setting {name!r}; there are {there}.{nearest(name, known)}")
    return {name: _read(method, name, given.get(name, default), default) for name, default in known.items()}


def _read(method: Method, name: str, value: Any, default: Any) -> Any:
    kind = type(default)
    if kind is str:
        return _word(method, name, value)
    if kind is ImageSet:
        return value if isinstance(value, ImageSet) else ImageSet(value)
    read, words = values.setting(name, value, default, min(default, 1) if kind is int else -values.HUGE)
    if read is None:
        raise MethodError(f"the setting {name} of {method.id} is {words}, not {shown(repr(value))}")
    return read


def _word(method: Method, name: str, value: Any) -> str:
    words = method.choices(name)
    if value not in words:
        *most, last = words
        raise MethodError(f"the setting {name} of {method.id} is {', '.join(most)} or {last}, not {value!r}")
    return str(value)
