"""Layer names from the operation names of a TensorFlow graph, such as ``model/conv1/BiasAdd``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

__all__ = ["layers_by_scope"]

_NUMBER = re.compile(r"_\d+$")


def layers_by_scope(operations: Iterable[str]) -> dict[str, str]:
    """Return the layer name of each scope of the *operations*, enclosing scopes included.

    The common prefix (the model) is removed. Keras 3 opens a layer's scope twice, to build and to call it, so graphs
    contain ``conv1_1`` for ``conv1``: if the model and all its direct layers end in a number, the number is removed.
    """
    paths = list(dict.fromkeys(tuple(name.split("/")[:-1]) for name in operations if "/" in name))
    outer = {path[:end] for path in paths for end in range(1, len(path))}
    root = _common([path[:-1] for path in paths if path not in outer])
    directly = [path[len(root)] for path in paths if len(path) > len(root)]
    numbered = bool(root) and all(_NUMBER.search(part) for part in (root[-1], *directly))
    found: dict[str, str] = {}
    for path in paths:
        around = ""
        for end in range(len(root) + 1, len(path) + 1):
            scope = "/".join(path[:end])
            if scope not in found:
                named = around + (_NUMBER.sub("", path[end - 1]) if numbered else path[end - 1])
                found[scope] = named if named not in found.values() else around + path[end - 1]
            around = found[scope] + "/"
    return found


def _common(paths: Sequence[Sequence[str]]) -> list[str]:
    """Return the longest common prefix of *paths*."""
    shared: list[str] = []
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return shared
