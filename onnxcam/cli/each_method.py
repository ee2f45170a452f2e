"""What each of several methods of a command gets: the layers, settings and smoothing that it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, TypedDict

import typer

__all__ = ["MethodOptions", "MethodSettingsOption", "options_of"]

MethodSettingsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Setting of the method, name=value; of one of several methods ID.name=value; repeatable.",
        show_default=False,
    ),
]


class MethodOptions(TypedDict):
    """The arguments of an `onnxcam.Explainer` that differ between methods."""

    method: str
    layer: str
    settings: dict[str, str]
    smooth: str


def options_of(
    methods: Sequence[str], layers: Sequence[str], settings: Mapping[str, str], smooth: str
) -> list[MethodOptions]:
    """Return the options of each method, at each layer if it uses one.

    With several methods, ``name=value`` of *settings* is for those that have the setting, ``ID.name=value`` for the
    method ID, *layers* for those that use a layer, and *smooth* for those that it applies to. An option that no method
    takes is a usage error, or a MethodError.
    """
    from onnxcam.methods.base import AUTO, NONE, SMOOTH, find_method
    from onnxcam.methods.settings import require_layer_is_used

    known = {id: find_method(id) for id in methods if id != AUTO}
    asked = dict(settings) if smooth == NONE else {**settings, SMOOTH: smooth}
    named = [layer for layer in layers if layer != AUTO]
    if named and len(known) == len(methods):
        require_layer_is_used(known.values(), named[0])
    own: dict[str, dict[str, str]] = {id: {} for id in methods}
    for name, value in asked.items():
        id, _, short = name.rpartition(".")
        if id and id not in own:
            raise typer.BadParameter(f"--set {name} is a setting of {id!r}, which is not among {', '.join(own)}")
        takers = [id] if id else [one for one in methods if one not in known or short in known[one].settings]
        for one in takers or methods:  # where no method takes it, the first one says which settings it has
            own[one][short] = value
    found: list[MethodOptions] = []
    for id in methods:
        mine = dict(own[id])
        smoothed = mine.pop(SMOOTH, NONE)
        own_layers = layers if id not in known or known[id].uses_layer else [AUTO]
        found += [MethodOptions(method=id, layer=at, settings=mine, smooth=smoothed) for at in own_layers]
    return found
