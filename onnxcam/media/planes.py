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

__all__ = ["Plane", "PlaneView", "greyed", "overlay", "peak", "stacked"]

_LONGEST = 320  # pixels of the longest side of the volume
_GAP, _CAPTION = 6, 22  # pixels between slices, and below them
_MARK = 9  # pixels around the largest value that the lines leave free
_WHITE, _GREY = (255, 255, 255), (150, 150, 150)
_ENDS = (("L", "R"), ("P", "A"), ("I", "S"))
"""The letters of the low and the high end of the axes to the right, to the front and to the head."""


@dataclass(frozen=True)
class Plane:
    """A slice: its name, its axis, and the axes of its rows and columns; with letters these run downwards."""

    name: str
    axis: int
    rows: int
    columns: int


_PLANES = (Plane("axial", 2, 1, 0), Plane("coronal", 1, 2, 0), Plane("sagittal", 0, 2, 1))
_AXES = (Plane("axis 0", 0, 1, 2), Plane("axis 1", 1, 0, 2), Plane("axis 2", 2, 0, 1))


@dataclass(frozen=True)
class PlaneView:
    """Three planes through one voxel.

    Attributes:
        size: Lengths of the volume.
        at: The voxel.
        order: The volume's axis of each axis that is drawn.
        backwards: Whether it runs in the other direction.
        scales: Pixels of a voxel along each axis that is drawn.
        is_placed: Whether the position in the scanner is known.
    """

    size: tuple[int, ...]
    at: tuple[int, ...]
    order: tuple[int, ...]
    backwards: tuple[bool, ...]
    scales: tuple[float, ...]
    is_placed: bool

    @classmethod
    def through(cls, at: Sequence[int], size: Sequence[int], affine: NDArray[np.float64] | None) -> PlaneView:
        """Return the planes through voxel *at* of a volume of *size*; *affine* as for `overlay`."""
        order, backwards, spacing = ([0, 1, 2], [False] * 3, [1.0] * 3) if affine is None else _directions(affine)
        lengths = [size[axis] for axis in order]
        scale = _LONGEST / max(n * length for n, length in zip(lengths, spacing, strict=True))
        turned = [size[axis] - 1 - at[axis] if back else at[axis] for axis, back in zip(order, backwards, strict=True)]
        scales = tuple(length * scale for length in spacing)
        return cls(tuple(lengths), tuple(turned), tuple(order), tuple(backwards), scales, affine is not None)

    @property
    def planes(self) -> tuple[Plane, ...]:
        """The three planes."""
        return _PLANES if self.is_placed else _AXES

    def cut(self, volume: NDArray[Any], plane: Plane, *, smooth: bool = True) -> NDArray[Any]:
        """Return the slice of *volume* in *plane* at the size at which it is drawn, [h, w] or, of colours, [h, w, 3].

        The volume may have another resolution than `size`. *smooth*: values between two cells are interpolated.
        """
        import cv2

        found = _turned(volume, self.order, self.backwards)
        found = found.take(self.at[plane.axis] * found.shape[plane.axis] // self.size[plane.axis], plane.axis)
        upright = found if plane.rows < plane.columns else found.swapaxes(0, 1)
        upright = np.ascontiguousarray(upright[::-1, ::-1] if self.is_placed else upright)
        height, width = self.shape(plane)
        method = cv2.INTER_NEAREST
        if smooth:
            method = cv2.INTER_AREA if height < upright.shape[0] else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(upright, (width, height), interpolation=method), volume.dtype)

    def shape(self, plane: Plane) -> tuple[int, int]:
        """Return height and width at which *plane* is drawn."""
        height, width = (max(1, round(self.size[axis] * self.scales[axis])) for axis in (plane.rows, plane.columns))
        return height, width

    def panel(self, drawn: NDArray[np.uint8], plane: Plane) -> NDArray[np.uint8]:
        """Return the slice *drawn* of *plane* with a cross at the voxel, letters on the edges, and its caption."""
        import cv2

        drawn = drawn.copy()
        height, width = drawn.shape[:2]
        at = [(self.at[axis] + 0.5) * self.scales[axis] for axis in (plane.rows, plane.columns)]
        y, x = (round(n - one if self.is_placed else one) for one, n in zip(at, (height, width), strict=True))
        _cross(drawn, x, y)
        if self.is_placed:
            _letters(drawn, plane)
        text = f"{plane.name} {self.at[plane.axis] + 1}/{self.size[plane.axis]}"
        panel = np.pad(drawn, ((0, _CAPTION), (0, max(0, 110 - width)), (0, 0)))
        return np.asarray(
            cv2.putText(panel, text, (3, height + 15), cv2.FONT_HERSHEY_SIMPLEX, 0.42, _WHITE, 1, cv2.LINE_AA), np.uint8
        )


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
    grey, view = greyed(data), PlaneView.through(peak(heat), data.shape, affine)
    panels = []
    for plane in view.planes:
        warm = np.asarray(view.cut(heat, plane), np.float32)
        panels.append(view.panel(heatmap.overlay(view.cut(grey, plane), warm, opacity, colormap), plane))
    height = max(len(panel) for panel in panels)
    row = [np.pad(panel, ((height - len(panel), 0), (0, _GAP), (0, 0))) for panel in panels]
    return np.ascontiguousarray(np.concatenate(row, axis=1)[:, :-_GAP])


def stacked(panels: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Return *panels* one below the other."""
    width = max(panel.shape[1] for panel in panels)
    column = [np.pad(panel, ((0, _GAP), (0, width - panel.shape[1]), (0, 0))) for panel in panels]
    return np.ascontiguousarray(np.concatenate(column)[:-_GAP])


def greyed(data: NDArray[Any]) -> NDArray[np.uint8]:
    """Return *data* [D, H, W] in grey, uint8 [D, H, W, 3]: black to white is its 1st to 99th percentile."""
    low, high = np.percentile(data, (1, 99))
    grey = np.clip((data.astype(np.float64) - low) / max(high - low, 1e-12) * 255, 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=3)


def peak(heat: NDArray[Any]) -> tuple[int, ...]:
    """Return the voxel of the largest magnitude."""
    return tuple(int(i) for i in np.unravel_index(int(np.argmax(np.abs(heat))), heat.shape))


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
    return array.transpose(*order, *range(3, array.ndim))[steps]


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


def _letters(drawn: NDArray[np.uint8], plane: Plane) -> None:
    """Write the directions of the edges, in place."""
    import cv2

    height, width = drawn.shape[:2]
    (bottom, top), (right, left) = _ENDS[plane.rows], _ENDS[plane.columns]
    places = {top: (width // 2 - 5, 14), bottom: (width // 2 - 5, height - 5)}
    places |= {left: (4, height // 2 + 5), right: (width - 15, height // 2 + 5)}
    for letter, place in places.items():
        for colour, thickness in (((0, 0, 0), 3), (_WHITE, 1)):
            cv2.putText(drawn, letter, place, cv2.FONT_HERSHEY_SIMPLEX, 0.48, colour, thickness, cv2.LINE_AA)
