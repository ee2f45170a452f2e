"""Where a tensor lies in the image tensor: by the graph, and by runs where the graph does not show it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeAlias

import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam.autodiff import STANDARD
from onnxcam.engine import time_limit
from onnxcam.errors import OnnxcamError
from onnxcam.model import probes
from onnxcam.model.prepared import PreparedModel
from onnxcam.structure.confirm import confirmed
from onnxcam.structure.layout import Layout, picture_layout
from onnxcam.structure.place import Place, place
from onnxcam.structure.probing import PictureProbe, ProbeRun
from onnxcam.structure.propagate import layouts

__all__ = ["Places"]

_Feeds: TypeAlias = Mapping[str, NDArray[Any]]


class Places:
    """The places of a model's tensors in image tensors, each found once.

    *feeds* gives the inputs for the first probe image, *run* the tensors of the given names for inputs.
    """

    def __init__(self, feeds: Callable[[], _Feeds], run: Callable[[_Feeds, Sequence[str]], _Feeds]) -> None:
        self._feeds, self._run = feeds, run
        self._found: dict[tuple[str, tuple[int, ...]], Place | None] = {}

    def find(self, prepared: PreparedModel, value: ir.Value, layout: Layout, size: tuple[int, ...]) -> Place | None:
        """Return where the cells of *value*, a tensor of *prepared*, lie in an image tensor of *size*.

        None where they cover all of it evenly.
        """
        key = value.name or "", size
        if key not in self._found:
            found = _place_by_graph(prepared, value, layout, size)
            if found is not None and found.warning and not found.varies:
                found = self._by_runs(found, prepared, value, layout, size)
            self._found[key] = None if found is None or found.is_plain(size) else found
        return self._found[key]

    def _by_runs(
        self, stated: Place, prepared: PreparedModel, value: ir.Value, layout: Layout, size: tuple[int, ...]
    ) -> Place:
        """Return the place that runs show; for another size than the probe images' only whether *stated* holds."""
        feeds, start, name = self._feeds(), picture_layout(prepared.image), prepared.image.name or ""
        space = () if start is None else tuple(feeds[name].shape[axis] for axis in start.space)
        at_probe = stated if space == size else _place_by_graph(prepared, value, layout, space)
        if at_probe is None:
            return stated

        def run(x: NDArray[Any], names: Sequence[str]) -> _Feeds:
            return self._run({**feeds, name: x}, names)

        found = _place_by_runs(prepared, at_probe, value, layout, feeds, run)
        if space == size:
            return found
        return stated if found.warning or found.measured else replace(stated, warning="")


def _place_by_graph(prepared: PreparedModel, value: ir.Value, layout: Layout, size: Sequence[int]) -> Place | None:
    """Return where the cells of *value* lie in an image tensor of *size*, with a warning where the graph is unsure.

    None where it does not depend on the image, or the image has no spatial axes.
    """
    graph, image = prepared.model.graph, prepared.image
    found = place(graph, image, value, layout, size)
    if found is None or found.warning:
        return found
    before, now = image.shape, value.shape
    if layout.batch is not None and before is not None and now is not None and len(now) == layout.rank:
        pictures, rows = before[0], now[layout.batch]
        if isinstance(pictures, int) and isinstance(rows, int) and rows > pictures:
            return replace(found, warning=f"it makes {rows} images of one, and the map shows the first", varies=True)
    if value not in layouts(graph, image, STANDARD):
        return replace(found, warning=f"the axes of {value.name!r} were found by runs")
    return found


def _place_by_runs(
    prepared: PreparedModel,
    stated: Place,
    value: ir.Value,
    layout: Layout,
    feeds: _Feeds,
    run: ProbeRun,
) -> Place:
    """Return the place of *value* as runs with changed images show it; *stated* where they show nothing.

    *feeds* are the inputs for one image of the size of *stated*.
    """
    start, picture = picture_layout(prepared.image), prepared.image.name or ""
    if start is None or picture not in feeds:
        return stated
    with suppress(OnnxcamError), time_limit(probes.SECONDS):
        probe = PictureProbe(run, feeds[picture], start)
        return confirmed(stated, probe.answers(value.name or "", layout), probe.lengths)
    return stated
