"""Layer names in graphs that carry no others than those of their operations, such as ``model/conv1/BiasAdd``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_NUMBER = re.compile(r"_\d+$")


def layers_by_scope(operations: Iterable[str]) -> dict[str, str]:
    """Return the layer of each scope, and of each scope around it, in which one of the *operations* is.

    What all share, the model itself, is taken off. Keras 3 opens the scope of a layer twice, to build and to call it,
    so its graphs say ``conv1_1`` for ``conv1``: where the model and all layers directly in it end so, the number goes.
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
    """Return the longest beginning that all *paths* share."""
    shared: list[str] = []
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return shared
