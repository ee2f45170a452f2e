"""Confirm places by runs: compare the stated place of each cell with the changes of the image that it answers to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from onnxcam.structure.place import Place
from onnxcam.structure.probing import ProbeAnswers
from onnxcam.structure.span import Span

__all__ = ["confirmed"]

_Array: TypeAlias = NDArray[Any]

_SHIFT = 0.08
"""The largest mean distance of the answers from the stated place, as a share of the image."""

_STRAIGHT = 0.06
"""The largest standard deviation of the answers from a straight line, as a share of the image."""

_SHRINKS = 0.6
"""How much closer together than the cells answers may lie, where each cell sees a large part of the image."""

_LEAST = 0.15
"""The least part of the image along which the cells of a measured axis are spread."""


def confirmed(stated: Place, answers: Sequence[ProbeAnswers], size: Sequence[int]) -> Place:
    """Return the place of a tensor: the *stated* one, that of its answers, or the *stated* one with its warning.

    *answers* are one for each axis of the image, of *size* pixels.
    """
    profiles = [[_profile(each.centres, axis) for axis in range(each.centres.ndim)] for each in answers]
    if all(
        _agrees(span, profiles[span.source][axis], answers[span.source].width, size)
        for axis, span in enumerate(stated.spans)
    ):
        return replace(stated, warning="")
    for sources in permutations(range(len(answers))):
        pairs = list(zip(sources, stated.spans, strict=True))
        lines = [_line(profiles[source][axis]) for axis, (source, _) in enumerate(pairs)]
        spans = tuple(
            Span(source, line[0] * size[source], line[1] * size[source], span.length, (0.0, float(size[source])))
            for line, (source, span) in zip(lines, pairs, strict=True)
            if line is not None
        )
        if len(spans) == len(answers):
            return replace(stated, spans=spans, warning="", measured=stated.warning)
    return stated


def _profile(centre: _Array, axis: int) -> _Array:
    """Return the median of *centre* at each position along *axis*."""
    return np.asarray(np.median(np.moveaxis(centre, axis, 0).reshape(centre.shape[axis], -1), axis=1))


def _agrees(span: Span, found: _Array, width: float, size: Sequence[int]) -> bool:
    """Whether the *found* places lie where *span* says.

    A cell that sees a large part of the image, *width*, answers at an edge from one side alone, so that the places lie
    closer together.
    """
    start, end = (pixel / size[span.source] for pixel in span.ends)
    stated = np.clip(start + (np.arange(len(found)) + 0.5) / len(found) * (end - start), 0, 1)
    if abs(float(found.mean() - stated.mean())) > _SHIFT:
        return False
    if len(found) < 3 or stated.std() < _STRAIGHT:
        return len(found) == 1 or abs(float(np.abs(found - stated).mean())) < 2 * _SHIFT
    ratio = float(found.std() / stated.std())
    least = min(0.9, max(_SHRINKS, 1 - 2 * width))
    return bool(least < ratio < 1 / least and np.corrcoef(found, stated)[0, 1] > 0.95)


def _line(found: _Array) -> tuple[float, float] | None:
    """Return where the straight line of the *found* places begins and ends; None where they are on none."""
    if len(found) < 3:
        return None
    at = (np.arange(len(found)) + 0.5) / len(found)
    slope, start = np.polyfit(at, found, 1)
    if abs(slope) < _LEAST or float(np.std(found - start - slope * at)) > _STRAIGHT:
        return None
    return float(start), float(start + slope)
