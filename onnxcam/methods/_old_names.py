"""Names of 0.1 that docs/add-a-method.md gave: for one release they warn and give what they are called now."""

from __future__ import annotations

import importlib
from typing import Any

from onnxcam._moved import warn

_NEW = {
    "Scene": "onnxcam.methods.context.MapContext",
    "Passes": "onnxcam.methods.queries.ModelQueries",
    "Pictures": "onnxcam.methods.settings.ImageSet",
    "read_settings": "onnxcam.methods.settings.read_settings",
}


def found(module: str, name: str) -> Any:
    """Return what *name* of *module* is called now, with a DeprecationWarning; AttributeError where it never was."""
    if name not in _NEW:
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    home, _, new = _NEW[name].rpartition(".")
    warn(f"{module}.{name}", _NEW[name])
    return getattr(importlib.import_module(home), new)
