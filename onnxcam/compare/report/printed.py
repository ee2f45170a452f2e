"""Numbers and classes as reports print them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from onnxcam.text import visible

if TYPE_CHECKING:
    from onnxcam.compare.validation import Summary, Verdict


class Names:
    """Classes by number → as a person reads them."""

    def __init__(self, labels: Sequence[str] | None) -> None:
        self._labels = labels or ()

    def __getitem__(self, index: int) -> str:
        return visible(self._labels[index], 80) if index < len(self._labels) else f"class {index}"


def digits(metric: str) -> int:
    """Return how many decimals a value of *metric* has: none of yes or no, four of nats, else three."""
    return {"top1": 0, "top5": 0, "mapped": 0, "accuracy": 0, "kl": 4}.get(metric, 3)


def number(metric: str, value: float) -> str:
    """Return *value* of *metric* over many pictures; a mean of yes and no has three decimals, too."""
    return f"{value:.{digits(metric) or 3}f}"


def single(metric: str, value: float) -> str:
    """Return *value* of *metric* of one picture: yes or no, or a number."""
    return number(metric, value) if digits(metric) else ("yes" if value else "no")


def interval(summary: Summary) -> str:
    """Return the interval of a mean, a dash where it has none."""
    if summary.low is None or summary.high is None:
        return "–"
    return f"{number(summary.metric, summary.low)} – {number(summary.metric, summary.high)}"


def value(verdict: Verdict) -> str:
    """Return what was found where something was required."""
    return "not measured" if verdict.value is None else number(verdict.metric, verdict.value)


def count(pictures: int) -> str:
    """Return ``1 picture``, ``2,000 pictures``."""
    return f"{pictures:,} {'picture' if pictures == 1 else 'pictures'}"
