"""Format numbers and class labels for reports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from onnxcam.text import visible

if TYPE_CHECKING:
    from onnxcam.compare.validation import Statistics, Verdict

__all__ = ["ClassLabels", "count", "digits", "interval", "number", "single", "value"]


class ClassLabels:
    """Printable labels of classes, by class index."""

    def __init__(self, labels: Sequence[str] | None) -> None:
        self._labels = labels or ()

    def __getitem__(self, index: int) -> str:
        return visible(self._labels[index], 80) if index < len(self._labels) else f"class {index}"


def digits(metric: str) -> int:
    """Return the number of decimals of *metric*: 0 for yes or no, 4 for nats, otherwise 3."""
    return {"top1": 0, "top5": 0, "mapped": 0, "accuracy": 0, "kl": 4}.get(metric, 3)


def number(metric: str, value: float) -> str:
    """Format *value* of *metric* over many images; a mean of yes and no has three decimals."""
    return f"{value:.{digits(metric) or 3}f}"


def single(metric: str, value: float) -> str:
    """Format *value* of *metric* for one image: yes or no, or a number."""
    return number(metric, value) if digits(metric) else ("yes" if value else "no")


def interval(summary: Statistics) -> str:
    """Format the confidence interval, a dash if there is none."""
    if summary.low is None or summary.high is None:
        return "–"
    return f"{number(summary.metric, summary.low)} – {number(summary.metric, summary.high)}"


def value(verdict: Verdict) -> str:
    """Format the measured value of a requirement."""
    return "not measured" if verdict.value is None else number(verdict.metric, verdict.value)


def count(pictures: int) -> str:
    """Return ``1 image``, ``2,000 images``."""
    return f"{pictures:,} {'image' if pictures == 1 else 'images'}"
