"""Plot the curves of an evaluation with matplotlib, as PNG and PDF in the style of a paper."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from onnxcam.errors import OutputError
from onnxcam.metrics.map_sources import BASELINES

if TYPE_CHECKING:
    from onnxcam.metrics.bootstrap import Interval
    from onnxcam.metrics.results import Evaluation
    from onnxcam.metrics.sanity import CheckResult

__all__ = ["ACROSS", "COLOURS", "DPI", "GREY", "LEGEND", "PANEL", "STYLE", "draw", "drawable", "require"]

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe-Ito palette, safe for colour-blind readers."""
GREY = "#8c8c8c"
STYLE: dict[Any, Any] = {  # rcParams; matplotlib types them one by one
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "pdf.fonttype": 42,  # embed text as text
}
PANEL = (2.7, 2.35)  # width and height in inches
ACROSS = 4  # maximum panels per row
DPI = 300
LEGEND = 3  # legend entries per panel width

_TITLES = {
    "insertion": ("Insertion ↑", "pixels inserted"),
    "deletion": ("Deletion ↓", "pixels deleted"),
    "road-morf": ("ROAD, most relevant first ↓", "pixels imputed"),
    "road-lerf": ("ROAD, least relevant first ↑", "pixels imputed"),
    "sanity-cascading": ("Cascading randomisation ↓", "weights random down to"),
    "sanity-independent": ("Independent randomisation ↓", "weights random of"),
}
_STAGES = 12  # maximum stages with names on the axis


def require() -> None:
    """Raise OutputError if matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise OutputError(
            "the curves are drawn by matplotlib, which is not installed; pip install 'onnxcam[evaluate]'"
        ) from None


def drawable(evaluation: Evaluation) -> bool:
    """Whether there is anything to plot."""
    return bool(evaluation.curves) or bool(_staged(evaluation))


def draw(evaluation: Evaluation, path: Path) -> list[Path]:
    """Plot all curves of *evaluation* to the PNG *path* and a PDF of the same name; return both paths."""
    import matplotlib
    from matplotlib.figure import Figure

    staged = _staged(evaluation)
    panels = [*evaluation.curves, *staged]
    down = math.ceil(len(panels) / ACROSS)
    across = math.ceil(len(panels) / down)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(PANEL[0] * across, PANEL[1] * down + 0.3), layout="constrained")
        grid = np.atleast_1d(figure.subplots(down, across, squeeze=False)).ravel()
        for axes, name in zip(grid, panels, strict=False):
            if name in staged:
                _draw_stages(axes, name, staged[name], evaluation)
            else:
                _draw_curves(axes, name, evaluation)
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        lines, names = grid[0].get_legend_handles_labels()
        figure.legend(lines, names, loc="outside lower center", ncols=LEGEND * across, frameon=False)
        paths = [path, path.with_suffix(".pdf")]
        figure.savefig(paths[0], dpi=DPI)
        figure.savefig(paths[1], metadata={"CreationDate": None})
    return paths


def _staged(evaluation: Evaluation) -> dict[str, list[CheckResult]]:
    """Return the check results with more than one stage, by check."""
    found: dict[str, list[CheckResult]] = {}
    for result in evaluation.checks:
        if len(result.stages) > 1:
            found.setdefault(result.check, []).append(result)
    return found


def _draw_curves(axes: Any, name: str, evaluation: Evaluation) -> None:
    for method, curves in evaluation.curves[name].items():
        found = evaluation.interval(method, [curve.probability for curve in curves])
        _line(axes, 100 * curves[0].share, found, method, evaluation.methods)
    _labels(axes, name, "probability of the class", 0)
    axes.set_xlim(0, 100)
    axes.xaxis.set_major_formatter("{x:.0f} %")


def _draw_stages(axes: Any, name: str, results: Sequence[CheckResult], evaluation: Evaluation) -> None:
    places, lowest = np.arange(len(results[0].stages)), 0.0
    for result in results:
        found = evaluation.interval(result.method, result.similarity.T)
        _line(axes, places, found, result.method, evaluation.methods, marker=".")
        lowest = min(lowest, float((found.mean if found.low is None else found.low).min()))
    _labels(axes, name, "rank correlation", lowest - 0.05)
    axes.axhline(0, color="black", linewidth=0.4, zorder=0)
    names = [_short(stage) for stage in results[0].stages]
    if len(names) <= _STAGES:
        axes.set_xticks(places, names, rotation=45, ha="right", rotation_mode="anchor")


def _short(stage: str) -> str:
    """Return a short axis label: the last layer of a group, the end of a long name."""
    name = stage.rpartition(" … ")[2]
    return name if len(name) <= 18 else f"…{name[-17:]}"


def _line(axes: Any, x: Any, found: Interval, method: str, methods: Sequence[str], marker: str | None = None) -> None:
    """Draw a mean and its confidence band; baselines are grey."""
    if method in BASELINES:
        colour, style = GREY, (":", "--")[BASELINES.index(method)]
    else:
        number = [name for name in methods if name not in BASELINES].index(method)
        colour, style = COLOURS[number % len(COLOURS)], ("-", "-.")[number // len(COLOURS) % 2]
    axes.plot(x, found.mean, color=colour, linestyle=style, linewidth=1.2, label=method, marker=marker)
    if found.low is not None and found.high is not None:
        axes.fill_between(x, found.low, found.high, color=colour, alpha=0.15, linewidth=0)


def _labels(axes: Any, name: str, vertical: str, bottom: float) -> None:
    title, horizontal = _TITLES.get(name, (name, ""))
    axes.set_title(title, loc="left")
    axes.set_xlabel(horizontal)
    axes.set_ylabel(vertical)
    axes.set_ylim(bottom, 1.05)
