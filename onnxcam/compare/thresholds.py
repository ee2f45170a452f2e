"""Requirements such as ``"iou>=0.6, top1>=0.99"``: parse them, and check them against statistics."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn

from onnxcam.compare.agreement import AGREEMENT_METRICS
from onnxcam.compare.tasks.classification import DEFAULTS
from onnxcam.compare.validation import Statistics, Verdict
from onnxcam.errors import MetricError, nearest
from onnxcam.numbers import HUGE, parse_float
from onnxcam.text import pointed

__all__ = ["DEFAULTS", "STATISTICS", "Requirement", "parse"]

STATISTICS = ("mean", "median", "low", "high", "worst")
"""Statistics in requirements: ``iou`` is the mean, ``iou.low`` the lower bound of its 95 % interval."""

_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_CLAUSE = re.compile(r"\s*(?P<metric>\w*)(?:\.(?P<statistic>\w*))?\s*(?P<sign>[<>=!]*)\s*(?P<bound>\S*)\s*")


@dataclass(frozen=True)
class Requirement:
    """Requirement: statistic of a metric, comparison sign and bound."""

    metric: str
    statistic: str
    sign: str
    bound: float

    def __str__(self) -> str:
        tail = "" if self.statistic == "mean" else f".{self.statistic}"
        return f"{self.metric}{tail} {self.sign} {self.bound:g}"

    @property
    def total(self) -> bool:
        """Whether the metric is measured over all images at once."""
        return AGREEMENT_METRICS[self.metric].total

    def verdict(self, summaries: Mapping[str, Statistics]) -> Verdict:
        """Check the requirement; it fails if no image has the metric."""
        found = summaries.get(self.metric)
        value = None if found is None else getattr(found, self.statistic)
        holds = value is not None and _COMPARISONS[self.sign](value, self.bound)
        return Verdict(self.metric, str(self), value, holds)


def parse(words: str) -> list[Requirement]:
    """Parse requirements; raise MetricError, with a mark under the position, if *words* are invalid.

    Example:
        >>> [str(each) for each in parse("iou>=0.6, top1.low>0.9")]
        ['iou >= 0.6', 'top1.low > 0.9']
    """
    if not words.strip():
        raise MetricError("the requirement is empty; give one, such as iou>=0.6, or none for those of the task")
    found, start = [], 0
    for clause in words.split(","):
        found.append(_requirement(words, start, clause))
        start += len(clause) + 1
    return found


def _requirement(words: str, start: int, clause: str) -> Requirement:
    match = _CLAUSE.fullmatch(clause)
    if match is None:
        _fail(words, start + len(clause) - len(clause.lstrip()), "a requirement is metric>=number, such as iou>=0.6")
    metric, statistic, sign = match["metric"], match["statistic"], match["sign"]
    if metric not in AGREEMENT_METRICS:
        what = f"no metric is called {metric!r}" if metric else "a metric is missing here"
        known = f"there are {', '.join(AGREEMENT_METRICS)}.{nearest(metric, AGREEMENT_METRICS)}"
        _fail(words, start + match.start("metric"), f"{what}; {known}")
    if statistic is not None and statistic not in STATISTICS:
        _fail(words, start + match.start("statistic"), f"{statistic!r} is none of {', '.join(STATISTICS)}")
    if statistic not in (None, "mean") and AGREEMENT_METRICS[metric].total:
        _fail(words, start + match.start("statistic"), f"{metric} is one value of all images; write {metric} alone")
    if sign not in _COMPARISONS:
        _fail(words, start + match.start("sign"), f"after {metric} comes one of {' '.join(_COMPARISONS)}")
    better = AGREEMENT_METRICS[metric].better
    if (sign[0] == ">") != (better == "higher"):
        _fail(words, start + match.start("sign"), f"for {metric}, {better} is better: write {_turned(sign)}")
    return Requirement(metric, statistic or "mean", sign, _number(words, start + match.start("bound"), match["bound"]))


def _turned(sign: str) -> str:
    return sign.translate(str.maketrans("<>", "><"))


def _number(words: str, at: int, text: str) -> float:
    if not re.fullmatch(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?", text):
        _fail(words, at, f"{text!r} is no number" if text else "a number is missing here")
    read = parse_float(text)
    return _fail(words, at, f"a number is at most {HUGE:g}") if read is None else read


def _fail(words: str, at: int, why: str) -> NoReturn:
    raise MetricError(f"the requirement does not parse: {why}{pointed(words, at)}")
