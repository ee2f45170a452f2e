"""What a validation must reach: ``"iou>=0.6, top1>=0.99"``, read, and held against what was found."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn

from onnxcam.compare.pairs import METRICS
from onnxcam.compare.validation import Summary, Verdict
from onnxcam.errors import MetricError, nearest
from onnxcam.numbers import HUGE, real
from onnxcam.text import pointed

DEFAULTS = "top1>=0.9, mapped>=0.95, pearson>=0.8, iou>=0.5"
"""What is asked for where nobody says.

They are for a quantised network beside its float reference. Post-training int8 keeps a sound classifier within about
1 % of its accuracy (2004.09602); a top class that changes in more than a picture of ten is no rounding. Two maps whose
Pearson correlation is 0.8 share 64 % of their variance; with an IoU of 0.5 the hot spots share two thirds of their
pixels, where those of two random maps share a fifth. A candidate whose gradient dies shows nothing: `mapped` tells.
"""

STATISTICS = ("mean", "median", "low", "high", "worst")
"""What of a metric may be asked for: ``iou`` is the mean, ``iou.low`` the lower end of its 95 % interval."""

_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_CLAUSE = re.compile(r"\s*(?P<metric>\w*)(?:\.(?P<statistic>\w*))?\s*(?P<sign>[<>=!]*)\s*(?P<bound>\S*)\s*")


@dataclass(frozen=True)
class Requirement:
    """One of them: a statistic of a metric, how it is compared, and with what."""

    metric: str
    statistic: str
    sign: str
    bound: float

    def __str__(self) -> str:
        tail = "" if self.statistic == "mean" else f".{self.statistic}"
        return f"{self.metric}{tail} {self.sign} {self.bound:g}"

    def verdict(self, summaries: Mapping[str, Summary]) -> Verdict:
        """Return whether it holds; it does not where no picture has the metric."""
        found = summaries.get(self.metric)
        value = None if found is None else getattr(found, self.statistic)
        holds = value is not None and _COMPARISONS[self.sign](value, self.bound)
        return Verdict(self.metric, str(self), value, holds)


def parse(words: str) -> list[Requirement]:
    """Return what *words* ask for; MetricError with a mark under the place where they do not parse.

    Example:
        >>> [str(each) for each in parse("iou>=0.6, top1.low>0.9")]
        ['iou >= 0.6', 'top1.low > 0.9']
    """
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
    if metric not in METRICS:
        what = f"no metric is called {metric!r}" if metric else "here is no metric"
        known = f"there are {', '.join(METRICS)}.{nearest(metric, METRICS)}"
        _fail(words, start + match.start("metric"), f"{what}; {known}")
    if statistic is not None and statistic not in STATISTICS:
        _fail(words, start + match.start("statistic"), f"{statistic!r} is none of {', '.join(STATISTICS)}")
    if sign not in _COMPARISONS:
        _fail(words, start + match.start("sign"), f"after {metric} stands one of {' '.join(_COMPARISONS)}")
    better = METRICS[metric].better
    if (sign[0] == ">") != (better == "higher"):
        _fail(words, start + match.start("sign"), f"{metric} is the better the {better}: write {_turned(sign)}")
    return Requirement(metric, statistic or "mean", sign, _number(words, start + match.start("bound"), match["bound"]))


def _turned(sign: str) -> str:
    return sign.translate(str.maketrans("<>", "><"))


def _number(words: str, at: int, text: str) -> float:
    if not re.fullmatch(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?", text):
        _fail(words, at, f"{text!r} is no number" if text else "here a number is missing")
    read = real(text)
    return _fail(words, at, f"a number is at most {HUGE:g}") if read is None else read


def _fail(words: str, at: int, why: str) -> NoReturn:
    raise MetricError(f"the requirement does not parse: {why}{pointed(words, at)}")
