"""Places: which part of the image a tensor of the network covers, axis by axis, and in which direction.

Each spatial axis of a tensor is a `Span`: an affine map from its cells to the pixels of the image tensor, computed from
the operators between the two. Convolutions and pools that cover their input, whatever their padding and stride, spread
their cells evenly over it; what crops, pads or mirrors is followed exactly (docs/decisions/0012-place.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam.graph.operators import Trait, operators
from onnxcam.structure.follow import FOLLOW, join, same
from onnxcam.structure.layout import GridLayout, Layout, picture_layout
from onnxcam.structure.span import Span, Tracked

__all__ = ["Place", "place"]


@dataclass(frozen=True)
class Place:
    """Where the cells of a map lie in the image tensor.

    Attributes:
        spans: One for each axis of the map, in the map's order.
        warning: Why the place may be wrong; empty where it is sure.
        measured: Why the place was measured by runs, and is not exact; empty where it was computed.
        varies: A run on one image does not show the place: it depends on the content, or is one of several.
    """

    spans: tuple[Span, ...]
    warning: str = ""
    varies: bool = False
    measured: str = ""

    @classmethod
    def whole(cls, size: Sequence[int]) -> Place:
        """Return the place of a map that covers an image tensor of *size* evenly."""
        return cls(tuple(Span(axis, 0.0, float(n), n, (0.0, float(n))) for axis, n in enumerate(size)))

    def is_plain(self, size: Sequence[int]) -> bool:
        """Whether the map covers the image tensor of *size* evenly, in its own order and direction."""
        return (
            not self.warning
            and not self.measured
            and all(
                (span.source, *span.ends) == (axis, 0, length)
                for axis, (span, length) in enumerate(zip(self.spans, size, strict=True))
            )
        )

    def upright(self, cells: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the map *cells* [*space] with the image's order of axes and directions."""
        turned = cells[tuple(slice(None, None, -1 if start > end else 1) for start, end in self._ends)]
        return np.ascontiguousarray(turned.transpose(np.argsort([span.source for span in self.spans])))

    def turned(self, upright: NDArray[Any]) -> NDArray[Any]:
        """Return an upright map in the order of axes and the directions of the cells: the inverse of `upright`."""
        cells = upright.transpose([span.source for span in self.spans])
        return cells[tuple(slice(None, None, -1 if start > end else 1) for start, end in self._ends)]

    @property
    def intervals(self) -> list[tuple[float, float]]:
        """The interval of pixels that the upright map covers, for each axis of the image."""
        return [(min(span.ends), max(span.ends)) for span in self._sorted]

    @property
    def seen(self) -> list[tuple[float, float]]:
        """The interval of pixels that the network sees, for each axis of the image."""
        return [span.seen for span in self._sorted]

    @property
    def _ends(self) -> list[tuple[float, float]]:
        return [span.ends for span in self.spans]

    @property
    def _sorted(self) -> list[Span]:
        return sorted(self.spans, key=lambda span: span.source)


_IGNORED = operators(Trait.MEASURES)


def place(graph: ir.Graph, image: ir.Value, value: ir.Value, layout: Layout, size: Sequence[int]) -> Place | None:
    """Return where the cells of *value*, whose axes are *layout*, lie in an image tensor of *size*.

    None where *image* has no spatial axes, or *value* does not depend on it.
    """
    start = picture_layout(image)
    if start is None or len(start.space) != len(size):
        return None
    spans = [Span.whole(source, axis, n) for source, (axis, n) in enumerate(zip(start.space, size, strict=True))]
    found = {image: Tracked(tuple(spans))}
    for node in graph:
        if value in found:
            break
        if node.op_type not in _IGNORED:
            _follow(node, found)
    tracked = found.get(value)
    return None if tracked is None else _placed(tracked, layout)


def _follow(node: ir.Node, found: dict[ir.Value, Tracked]) -> None:
    """Add the outputs of *node* to *found*."""
    if not any(x in found for x in node.inputs if x is not None):
        return
    joined = join(node, found)
    follow = FOLLOW.get(node.op_type, same)
    for position, y in enumerate(node.outputs):
        made = follow(node, position, joined, found)
        is_new = made.lost != joined.lost and node.op_type in FOLLOW
        steered = is_new and _is_steered(node, found)
        found[y] = replace(made, varies=made.varies or steered, warped=made.warped or is_new)


def _is_steered(node: ir.Node, found: Mapping[ir.Value, Tracked]) -> bool:
    """Whether the image's content decides how *node* crops or warps."""
    return node.op_type != "Concat" and any(x in found for x in node.inputs[1:] if x is not None)


def _placed(tracked: Tracked, layout: Layout) -> Place | None:
    """Return the spans of *tracked* in the order of the axes of *layout*."""
    spans = list(tracked.spans)
    by_axis = {span.axis: span for span in spans}
    if isinstance(layout, GridLayout) and all(axis in by_axis for axis in layout.space):
        spans = [by_axis[axis] for axis in layout.space]
    count = len(layout.space if isinstance(layout, GridLayout) else layout.grid)
    if len(spans) != count:
        return None
    return Place(tuple(replace(span, axis=None) for span in spans), tracked.lost, tracked.varies)
