"""Where a tensor lies in the image tensor: by the graph, and by runs where the graph does not show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np
import onnx_ir as ir

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

__all__ = ["place_by_graph", "place_by_runs"]


def place_by_graph(prepared: PreparedModel, value: ir.Value, layout: Layout, size: Sequence[int]) -> Place | None:
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


def place_by_runs(
    prepared: PreparedModel,
    stated: Place,
    value: ir.Value,
    layout: Layout,
    feeds: Mapping[str, np.ndarray],
    run: ProbeRun,
) -> Place:
    """Return the place of *value* as runs with changed images show it; *stated* where they show nothing.

    *feeds* are the inputs for one image of the size that *stated* is for.
    """
    start, picture = picture_layout(prepared.image), prepared.image.name or ""
    if start is None or picture not in feeds:
        return stated
    with suppress(OnnxcamError), time_limit(probes.SECONDS):
        probe = PictureProbe(run, feeds[picture], start)
        return confirmed(stated, probe.answers(value.name or "", layout), probe.lengths)
    return stated
