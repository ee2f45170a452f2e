"""An evaluation as a notebook shows it: one row for each metric, one column for each method."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnxcam import markup
from onnxcam.paths import left_out

if TYPE_CHECKING:
    from onnxcam.metrics.results import Evaluation, Summary

__all__ = ["html"]

_ARROWS = {"higher": "↑", "lower": "↓"}


def html(found: Evaluation) -> markup.Markup:
    """Return the means with their 95 % intervals, the verdicts of the checks, and the warnings, as HTML."""
    cells = {(one.metric, one.method): one for one in found.summary()}
    rows = [
        (f"{metric} {_ARROWS[better]}", *(_mean(cells.get((metric, method))) for method in found.methods))
        for metric, better in found.better.items()
        if any((metric, method) in cells for method in found.methods)
    ]
    pictures = len({row.image for row in found.rows})
    checks = [(one.check, one.method, "passed" if one.passed else "failed", one.verdict) for one in found.checks]
    left = left_out(found.unreadable)
    return markup.block(
        markup.table(rows, ("metric", *found.methods)),
        f"mean and 95 % interval over {pictures} images",
        markup.table(checks, ("check", "method", "", "verdict")) if checks else "",
        markup.warned([*found.warnings, *left]),
    )


def _mean(one: Summary | None) -> str:
    if one is None:
        return ""
    return f"{one.mean:.3f}" + ("" if one.low is None or one.high is None else f" [{one.low:.3f}, {one.high:.3f}]")
