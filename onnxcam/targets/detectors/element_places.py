"""Where the elements of the scores of candidates may be in their tensors, known before the graph runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from onnxcam.autodiff.window_elements import KnownPlace
from onnxcam.targets.detectors.candidates import Candidates

__all__ = ["element_places"]

_MOST = 4_000_000
"""So many pairs of candidate and class are looked at; of a larger head nothing is known."""


def element_places(seen: Sequence[Candidates], rows: NDArray[np.int64] | None = None) -> list[list[KnownPlace]]:
    """Return the places of the elements in each tensor, for the candidates *rows*, default all.

    *seen* are the candidates of a few images. Nothing is known where the elements depend on the image.
    """
    count, classes = seen[0].scores.shape
    own = np.arange(count) if rows is None else rows
    found: list[list[KnownPlace]] = [[] for _ in seen[0].aim.tensors]
    if not 0 < len(own) * classes <= _MOST or any(one.scores.shape != (count, classes) for one in seen):
        return found
    pairs = np.repeat(own, classes), np.tile(np.arange(classes), len(own))
    elements = [one.aim.elements(*pairs) for one in seen]
    first = [(one.tensor, np.broadcast_to(one.index, pairs[0].shape)) for one in elements[0]]
    for other in elements[1:]:
        if any((one.index != index).any() for one, (_, index) in zip(other, first, strict=True)):
            return found
    for number, (_, shape) in enumerate(seen[0].aim.tensors):
        at = [np.unravel_index(index.astype(np.int64), shape) for tensor, index in first if tensor == number]
        for place in at:
            bounds = [(int(axis.min()), int(axis.max())) for axis in place]
            same = [bool((a == b).all()) for a, b in zip(place, at[0], strict=True)]
            found[number].append(KnownPlace(bounds, same))
    return found
