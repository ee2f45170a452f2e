"""Draw a volume and its map: the axial, coronal and sagittal slices through the map's largest value.

Slices are drawn in millimetres and as radiologists see them: the patient's right on the left, the head and the front
above. Letters on the edges name the directions. Where the position in the scanner is not known, they are slices of the
three axes of the array, without letters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxcam.media import heatmap

__all__ = ["overlay"]

_LONGEST = 320  # pixels of the longest side of the volume
_GAP, _CAPTION = 6, 22  # pixels between slices, and below them
_MARK = 9  # pixels around the largest value that the lines leave free
_WHITE, _GREY = (255, 255, 255), (150, 150, 150)
_ENDS = (("L", "R"), ("P", "A"), ("I", "S"))
"""The letters of the low and the high end of the axes to the right, to the front and to the head."""


@dataclass(frozen=True)
class _Plane:
    """A slice: its name, its axis, and the axes of its rows and columns; with letters these run downwards."""

    name: str
    axis: int
    rows: int
    columns: int


_PLANES = (_Plane("axial", 2, 1, 0), _Plane("coronal", 1, 2, 0), _Plane("sagittal", 0, 2, 1))
_AXES = (_Plane("axis 0", 0, 1, 2), _Plane("axis 1", 1, 0, 2), _Plane("axis 2", 2, 0, 1))


def overlay(
    data: NDArray[Any],
    heat: NDArray[np.float32],
    affine: NDArray[np.float64] | None,
    opacity: heatmap.Opacity,
    colormap: str | None,
) -> NDArray[np.uint8]:
    """Return three slices of *data* [D, H, W] side by side, with *heat* over them, uint8 RGB [h, w, 3].

    *affine*, [4, 4], says in which direction the axes run, and how long a voxel is; None: it is not known.
    """
    low, high = np.percentile(data, (1, 99))
    grey = np.clip((data.astype(np.float64) - low) / max(high - low, 1e-12) * 255, 0, 255).astype(np.uint8)
    spacing: Sequence[float] = (1.0, 1.0, 1.0)
    if affine is not None:
        order, backwards, spacing = _directions(affine)
        grey, heat = (_turned(one, order, backwards) for one in (grey, heat))
    peak = [int(i) for i in np.unravel_index(int(np.argmax(np.abs(heat))), heat.shape)]
    scale = _LONGEST / max(n * length for n, length in zip(heat.shape, spacing, strict=True))
    scales = [length * scale for length in spacing]
    planes = _AXES if affine is None else _PLANES
    panels = [_panel(plane, grey, heat, peak, scales, affine is not None, opacity, colormap) for plane in planes]
    height = max(len(panel) for panel in panels)
    row = [np.pad(panel, ((height - len(panel), 0), (0, _GAP), (0, 0))) for panel in panels]
    return np.ascontiguousarray(np.concatenate(row, axis=1)[:, :-_GAP])


def _directions(affine: NDArray[np.float64]) -> tuple[list[int], list[bool], list[float]]:
    """Return for each direction to the right, front and head the array's axis, whether it runs back, and its spacing.

    An oblique axis has the direction that it is closest to.
    """
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    lengths = np.where(lengths > 0, lengths, 1.0)
    cosines = affine[:3, :3] / lengths
    rest, order = np.abs(cosines) + 1e-9, [0, 0, 0]
    for _ in range(3):
        direction, axis = np.unravel_index(int(rest.argmax()), rest.shape)
        order[int(direction)] = int(axis)
        rest[direction], rest[:, axis] = 0, 0
    backwards = [bool(cosines[direction, axis] < 0) for direction, axis in enumerate(order)]
    return order, backwards, [float(lengths[axis]) for axis in order]


def _turned(array: NDArray[Any], order: Sequence[int], backwards: Sequence[bool]) -> NDArray[Any]:
    """Return *array* with its axes to the right, the front and the head."""
    steps = tuple(slice(None, None, -1 if back else 1) for back in backwards)
    return array.transpose(order)[steps]


def _panel(
    plane: _Plane,
    grey: NDArray[np.uint8],
    heat: NDArray[np.float32],
    peak: Sequence[int],
    scales: Sequence[float],
    is_placed: bool,
    opacity: heatmap.Opacity,
    colormap: str | None,
) -> NDArray[np.uint8]:
    """Return one slice with its caption."""
    import cv2

    def cut(volume: NDArray[Any]) -> NDArray[Any]:
        found = volume.take(peak[plane.axis], plane.axis)
        upright = found if plane.rows < plane.columns else found.T
        return upright[::-1, ::-1] if is_placed else upright

    height, width = (max(1, round(heat.shape[axis] * scales[axis])) for axis in (plane.rows, plane.columns))
    shown, warm = (
        cv2.resize(np.ascontiguousarray(cut(one)), (width, height), interpolation=_interpolation(one, height, plane))
        for one in (grey, heat)
    )
    picture = np.repeat(np.asarray(shown, np.uint8)[..., None], 3, axis=2)
    drawn = heatmap.overlay(picture, np.asarray(warm, np.float32), opacity, colormap)
    at = [(peak[axis] + 0.5) * scales[axis] for axis in (plane.rows, plane.columns)]
    y, x = (round(length - one if is_placed else one) for one, length in zip(at, (height, width), strict=True))
    _cross(drawn, x, y)
    if is_placed:
        _letters(drawn, plane)
    text = f"{plane.name} {peak[plane.axis] + 1}/{heat.shape[plane.axis]}"
    panel = np.pad(drawn, ((0, _CAPTION), (0, max(0, 110 - width)), (0, 0)))
    return np.asarray(
        cv2.putText(panel, text, (3, height + 15), cv2.FONT_HERSHEY_SIMPLEX, 0.42, _WHITE, 1, cv2.LINE_AA), np.uint8
    )


def _interpolation(array: NDArray[Any], height: int, plane: _Plane) -> int:
    """Return OpenCV's filter: means of areas where a slice is shrunk."""
    import cv2

    return int(cv2.INTER_AREA if height < array.shape[plane.rows] else cv2.INTER_LINEAR)


def _cross(drawn: NDArray[np.uint8], x: int, y: int) -> None:
    """Draw lines through (*x*, *y*) that leave its surroundings free, half transparent, in place."""
    height, width = drawn.shape[:2]
    x, y = min(x, width - 1), min(y, height - 1)
    for part in (
        (slice(0, max(y - _MARK, 0)), slice(x, x + 1)),
        (slice(y + _MARK, height), slice(x, x + 1)),
        (slice(y, y + 1), slice(0, max(x - _MARK, 0))),
        (slice(y, y + 1), slice(x + _MARK, width)),
    ):
        drawn[part] = drawn[part] // 2 + np.uint8(_GREY[0] // 2)


def _letters(drawn: NDArray[np.uint8], plane: _Plane) -> None:
    """Write the directions of the edges, in place."""
    import cv2

    height, width = drawn.shape[:2]
    (bottom, top), (right, left) = _ENDS[plane.rows], _ENDS[plane.columns]
    places = {top: (width // 2 - 5, 14), bottom: (width // 2 - 5, height - 5)}
    places |= {left: (4, height // 2 + 5), right: (width - 15, height // 2 + 5)}
    for letter, place in places.items():
        for colour, thickness in (((0, 0, 0), 3), (_WHITE, 1)):
            cv2.putText(drawn, letter, place, cv2.FONT_HERSHEY_SIMPLEX, 0.48, colour, thickness, cv2.LINE_AA)
