"""Format numbers and class labels for reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnxcam.compare.agreement import AGREEMENT_METRICS

if TYPE_CHECKING:
    from onnxcam.compare.validation import Statistics, Verdict

__all__ = ["capital", "count", "digits", "interval", "number", "single", "value"]


def capital(text: str) -> str:
    """Return *text* with a capital first letter."""
    return text[:1].upper() + text[1:]


def digits(metric: str) -> int:
    """Return the number of decimals of *metric*: 0 for yes or no."""
    return AGREEMENT_METRICS[metric].digits


def number(metric: str, value: float) -> str:
    """Format *value* of *metric* over many images; a mean of yes and no has three decimals."""
    return f"{value:.{digits(metric) or 3}f}"


def single(metric: str, value: float) -> str:
    """Format *value* of *metric* for one image: yes or no, or a number."""
    if digits(metric) or value not in (0, 1):
        return number(metric, value)
    return "yes" if value else "no"


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
