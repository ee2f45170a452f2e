"""The settings of a method: given words and values -> checked values."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onnxcam import numbers
from onnxcam.errors import MethodError
from onnxcam.methods.base import AUTO, Method

__all__ = ["ImageSet", "read_settings", "require_layer_is_used", "require_share"]


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

    def read(name: str, value: Any, default: Any) -> tuple[Any, str]:
        if isinstance(default, str):
            *most, last = words = method.choices(name)
            return value if value in words else None, f"{', '.join(most)} or {last}"
        if isinstance(default, ImageSet):
            return value if isinstance(value, ImageSet) else ImageSet(value), ""
        return numbers.parse_setting(
            name, value, default, min(default, 1) if isinstance(default, int) else -numbers.HUGE
        )

    return numbers.read_settings(method.id, method.settings, given, read, MethodError)


def require_layer_is_used(methods: Collection[Method], layer: str | Sequence[str] | None) -> None:
    """Raise MethodError where a *layer* is named, and none of *methods* uses a layer that can be chosen."""
    if layer not in (None, AUTO) and not any(method.uses_layer for method in methods):
        named = ", ".join(method.id for method in methods)
        raise MethodError(
            f"{named} {'uses' if len(methods) == 1 else 'use'} no layer that can be chosen; leave out layer= "
            "(--layer), or take a method at a layer, such as gradcam or layercam"
        )


def require_share(method: str, **settings: float) -> None:
    """Raise MethodError unless each of *settings* is a share, above 0 and at most 1."""
    for name, value in settings.items():
        if not 0 < value <= 1:
            raise MethodError(f"the setting {name} of {method} is a share, above 0 and at most 1, not {value:g}")
