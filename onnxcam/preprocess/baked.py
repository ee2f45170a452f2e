"""Read what `bake` wrote of the preprocessing into a model (docs/web.md), into the fields of `parser.build`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_REST = ("interpolation", "order", "layout", "range", "mean", "std")


def baked(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return how a picture becomes the model's own tensor, as the stamp *told*.

    The arithmetic may be inside the file: `extras.load_bare` makes the tensor the input again.
    """
    fields = {name: _tuple(told[name]) for name in ("crop", "letterbox") if told[name] is not None}
    if "letterbox" not in fields:
        fields["resize"] = _tuple(told["resize"])
    return fields | {name: _tuple(told[name]) for name in _REST}


def _tuple(stated: Any) -> Any:
    return tuple(stated) if isinstance(stated, list) else stated
