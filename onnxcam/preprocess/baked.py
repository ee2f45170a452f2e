"""Read the preprocessing that `bake` wrote into a model's metadata (docs/web.md), as fields of `parser.build`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["baked", "guess_in"]

_REST = ("interpolation", "order", "layout", "range", "mean", "std")


def baked(stamp: Mapping[str, Any]) -> dict[str, Any]:
    """Return the preprocessing of the model's own tensor from the metadata *stamp*.

    If its arithmetic is inside the file, `onnxcam.metadata.reserved.load_bare` makes the tensor the input again.
    """
    fields = {name: _tuple(stamp[name]) for name in ("crop", "letterbox") if stamp[name] is not None}
    if "letterbox" not in fields:
        fields["resize"] = _tuple(stamp["resize"])
    fields |= {name: stamp[name] for name in ("longest", "fill", "anchor") if stamp.get(name) is not None}
    return fields | {name: _tuple(stamp[name]) for name in _REST}


def guess_in(stamp: Any) -> str:
    """Return why the preprocessing in *stamp* was guessed when the model was baked; empty where it was not."""
    why = stamp.get("guess") if isinstance(stamp, dict) else None
    return why if isinstance(why, str) else ""


def _tuple(stated: Any) -> Any:
    return tuple(stated) if isinstance(stated, list) else stated
