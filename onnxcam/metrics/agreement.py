"""Methods beside each other on the same images: how long each takes, how much their maps agree, what each assumes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxcam.errors import GradientError, MethodError, MissingRuleError, OnnxcamError
from onnxcam.explainer.explainer import CONCEPTS, Explainer
from onnxcam.explainer.grid import ExplanationGrid, explain_grid
from onnxcam.methods import Method, find_method
from onnxcam.methods.settings import require_layer_is_used
from onnxcam.metrics.sanity import rank_correlation
from onnxcam.progress import Progress, quiet
from onnxcam.targets import Target

__all__ = ["COMPARED", "MethodComparison", "MethodRow", "assumptions", "compare_methods"]

COMPARED = (
    "gradcam",
    "gradcam++",
    "hirescam",
    "layercam",
    "eigencam",
    "gradient-x-input",
    "guided-backprop",
    "integrated-gradients",
    "lrp",
    "occlusion",
)
"""The methods that are compared where none is named: of each family some."""

_CELLS = 24
"""Maps are compared as means over so many cells a side: what a method says of a place, not of a pixel."""


@dataclass(frozen=True)
class MethodRow:
    """What is found of one method.

    Attributes:
        method: Its id.
        seconds: The time that an image takes, without what is needed once: imports, sessions and their first run.
        agreement: The mean rank correlation of its maps with those of the other methods; None where there are none.
        nearest: The method whose maps agree most; None where there is none.
        assumes: What it assumes, in words.
        refused: Why it does not apply; empty where it does.
    """

    method: str
    seconds: float | None
    agreement: float | None
    nearest: str | None
    assumes: str
    refused: str = ""


@dataclass(frozen=True)
class MethodComparison:
    """Methods on the same images.

    Attributes:
        rows: What is found of each method, in the order that they were named.
        methods: Those that apply.
        agreement: The rank correlation of their maps, the mean over images and targets, float64 [M, M].
        grid: Their explanations.
    """

    rows: Sequence[MethodRow]
    methods: Sequence[str]
    agreement: NDArray[np.float64]
    grid: ExplanationGrid

    def __repr__(self) -> str:
        """Return one line: the methods and their mean agreement, without maps."""
        said = ", ".join(row.method + ("" if row.agreement is None else f" {row.agreement:.2f}") for row in self.rows)
        return f"MethodComparison({len(self.grid.names)} images: {said})"

    def as_dict(self) -> dict[str, Any]:
        """Return the table, and the agreement of each two methods."""
        return {
            "methods": [vars(row) for row in self.rows],
            "agreement": {
                one: dict(zip(self.methods, map(float, line), strict=True))
                for one, line in zip(self.methods, self.agreement, strict=True)
            },
        }


def compare_methods(
    explainer: Explainer,
    names: Sequence[str],
    methods: Sequence[str] = COMPARED,
    targets: Sequence[Target] = (None,),
    *,
    strict: bool = False,
    progress: Progress = quiet,
) -> MethodComparison:
    """Explain the images by each method, and compare the maps.

    Agreement is Spearman's rank correlation of two maps of one image and target, as means over 24 × 24 cells of what
    the network sees. A method that does not apply to the model is a row that says why.

    Args:
        explainer: The model; its method and its layer are of no importance.
        names: Image files.
        methods: The methods' ids.
        targets: What is explained.
        strict: Raise the first error of an image.
        progress: Wraps the images of each method.

    Raises:
        MethodError: fewer than two methods, one of unknown name, none that applies, or a layer that none uses.
    """
    if len(set(methods)) < 2:
        raise MethodError(f"there is nothing to compare {' '.join(map(repr, methods))} with; name two methods or more")
    require_layer_is_used([find_method(method) for method in methods], explainer.layer)
    grids: dict[str, tuple[ExplanationGrid, float]] = {}
    refused: dict[str, str] = {}
    for method in dict.fromkeys(methods):
        try:
            grids[method] = _timed(explainer, method, names, targets, strict=strict, progress=progress)
        except (MethodError, GradientError, MissingRuleError) as error:
            refused[method] = str(error)
    if not grids:
        raise MethodError(f"none of the methods applies; the first: {next(iter(refused.values()), 'there is none')}")
    order = list(grids)
    joined = _joined([grid for grid, _ in grids.values()])
    matrix = _agreement(joined)
    rows = []
    for method in dict.fromkeys(methods):
        if method in refused:
            rows.append(MethodRow(method, None, None, None, assumptions(find_method(method)), refused[method]))
            continue
        at = order.index(method)
        others = [(float(matrix[at, k]), name) for k, name in enumerate(order) if k != at]
        mean = float(np.mean([value for value, _ in others])) if others else None
        nearest = max(others)[1] if others else None
        rows.append(MethodRow(method, grids[method][1], mean, nearest, assumptions(find_method(method))))
    return MethodComparison(rows, order, matrix, joined)


def assumptions(method: Method) -> str:
    """Return what *method* assumes of the model, in words."""
    parts = ["scores only" if method.black_box else "gradients" if not method.class_independent else "activations"]
    if method.uses_layer:
        parts.append("a layer with places")
    if method.pooled:
        parts.append("one weight for each channel")
    if method.class_independent:
        parts.append("the target does not matter")
    if method.needs_attention:
        parts.append("attention")
    if method.sensitivity:
        parts.append("a change of a pixel is its importance")
    if not method.in_graph:
        parts.append("many passes")
    return ", ".join(parts)


def _timed(
    explainer: Explainer,
    method: str,
    names: Sequence[str],
    targets: Sequence[Target],
    *,
    strict: bool,
    progress: Progress,
) -> tuple[ExplanationGrid, float]:
    """Return the explanations by *method*, and the seconds for an image."""
    settings = {"rank": 1} if method == CONCEPTS else {}
    layer = explainer.layer if find_method(method).uses_layer else None
    own = explainer.replace(method=method, settings=settings, layer=layer)
    if len(names) == 1 and find_method(method).in_graph:  # of methods of many passes, the first is no matter
        explain_grid([own], names, targets, strict=strict)
    starts: list[float] = []

    def ticked(items: Any, total: int) -> Any:
        for item in progress(items, total):
            starts.append(time.perf_counter())
            yield item

    grid = explain_grid([own], names, targets, strict=strict, progress=ticked)
    steps = np.diff([*starts, time.perf_counter()])
    return grid, float(np.median(steps[1:] if len(steps) > 1 else steps))


def _joined(grids: Sequence[ExplanationGrid]) -> ExplanationGrid:
    """Return one grid of several methods; an image that one of them left out is left out."""
    names, explainers = grids[0].names, [grid.explainers[0] for grid in grids]
    rows = [[grid.found[at][0] if grid.found[at] else [] for grid in grids] for at in range(len(names))]
    failed = dict(pair for grid in grids for pair in grid.failed)
    whole = [row if all(row) else [] for row in rows]
    if not any(whole):
        raise OnnxcamError("there is no image that all methods explain; compare fewer methods (--method)")
    return ExplanationGrid(names, explainers, whole, list(failed.items()))


def _agreement(grid: ExplanationGrid) -> NDArray[np.float64]:
    """Return the mean rank correlation of each two methods, [M, M]."""
    count = len(grid.explainers)
    found = []
    for row in filter(None, grid.found):
        for at in range(min(map(len, row))):
            cells = [_cells(cell[at]) for cell in row]
            found.append([[rank_correlation(a, b) if a is not b else 1.0 for b in cells] for a in cells])
    matrix: NDArray[np.float64] = np.nan_to_num(np.asarray(found, np.float64)).mean(axis=0).reshape(count, count)
    return matrix


def _cells(one: Any) -> NDArray[np.float32]:
    """Return the map as means over a few cells of what the network sees; of a signal or a volume over its axes."""
    heat = one.map
    if heat.ndim == 2 and one.seen is not None:
        height, width = heat.shape
        x1, y1, x2, y2 = (round(min(max(at, 0), end)) for at, end in zip(one.seen, (width, height) * 2, strict=True))
        heat = heat[y1:y2, x1:x2]
    for axis in range(heat.ndim):
        parts = np.array_split(heat, min(_CELLS, heat.shape[axis]), axis=axis)
        heat = np.concatenate([part.mean(axis=axis, keepdims=True) for part in parts], axis=axis)
    return np.asarray(heat, np.float32)
