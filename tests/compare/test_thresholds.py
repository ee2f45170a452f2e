"""Requirements: what they say, when they hold, and where they do not parse."""

from __future__ import annotations

import pytest

from onnxcam.compare.thresholds import DEFAULTS, parse
from onnxcam.compare.validation import Statistics
from onnxcam.errors import MetricError

FOUND = {"iou": Statistics("iou", 0.6, 0.5, 0.7, 0.61, 0.1, "a.png", 9, 1)}


def test_what_they_say() -> None:
    assert [str(each) for each in parse(" iou>=0.6,top1.low > .9 ,kl<1e-1")] == [
        "iou >= 0.6",
        "top1.low > 0.9",
        "kl < 0.1",
    ]
    assert [each.metric for each in parse(DEFAULTS)] == ["top1", "mapped", "pearson", "iou"]


@pytest.mark.parametrize(
    ("words", "value", "holds"),
    [
        ("iou>=0.6", 0.6, True),
        ("iou>0.6", 0.6, False),
        ("iou.low>=0.51", 0.5, False),
        ("iou.worst>=0.1", 0.1, True),
        ("pearson>=0", None, False),  # no image has it
    ],
)
def test_when_they_hold(words: str, value: float | None, holds: bool) -> None:
    (requirement,) = parse(words)
    verdict = requirement.verdict(FOUND)
    assert (verdict.value, verdict.holds, verdict.words) == (value, holds, str(requirement))


@pytest.mark.parametrize(
    ("words", "why", "at"),
    [
        ("iou>=0.6,topp1>=1", "no metric is called 'topp1'; there are top1, top5", 9),
        ("iou", "after iou comes one of >= <= > <", 3),
        ("iou=0.6", "after iou comes one of >= <= > <", 3),
        ("iou>=", "a number is missing here", 5),
        ("iou >= much", "'much' is no number", 7),
        ("iou>=nan", "'nan' is no number", 5),
        ("iou>=1e999", "a number is at most 1e+09", 5),
        ("top1>=1,iou>=" + "9" * 400, "a number is at most 1e+09", 13),
        ("iou>=0.6,", "a metric is missing here", 9),
        ("iou<=0.6", "for iou, higher is better: write >=", 3),
        ("kl>0.1", "for kl, lower is better: write <", 2),
        ("iou.best>=0.6", "'best' is none of mean, median, low, high, worst", 4),
        ("iou>=0.6 top1>=1", "a requirement is metric>=number, such as iou>=0.6", 0),
    ],
)
def test_where_they_do_not_parse(words: str, why: str, at: int) -> None:
    with pytest.raises(MetricError) as caught:
        parse(words)
    first, shown, mark = str(caught.value).split("\n")
    assert first.startswith(f"the requirement does not parse: {why}")
    assert shown == f"  {words}" or (len(words) > 200 and shown.startswith(f"  {words[:100]}") and shown.endswith("9…"))
    assert mark == f"  {' ' * at}^"


@pytest.mark.parametrize("words", ["", "  "])
def test_an_empty_requirement_has_its_own_message(words: str) -> None:
    with pytest.raises(MetricError, match=r"the requirement is empty; give one, such as iou>=0\.6") as caught:
        parse(words)
    assert "\n" not in str(caught.value)
