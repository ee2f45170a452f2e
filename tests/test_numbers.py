"""Settings are read in one place, for methods and for metrics: what is not a finite number in bounds is refused."""

from __future__ import annotations

from typing import Any

import pytest

from onnxcam.errors import MethodError, MetricError, OnnxcamError
from onnxcam.methods import find_method, read_settings
from onnxcam.metrics.base import METRICS
from onnxcam.metrics.base import read_settings as read_metric_settings
from onnxcam.numbers import parse_float, parse_int

WRONG = ["inf", "-inf", "nan", float("inf"), float("nan"), "1e999", "much", None, [], "9" * 400, 10**400]


@pytest.mark.parametrize("value", WRONG, ids=lambda value: str(value)[:10])
def test_a_setting_that_is_no_finite_number_is_refused(value: Any) -> None:
    with pytest.raises(MethodError, match=r"the setting samples of rise is a whole number from 1 to \d+, not "):
        read_settings(find_method("rise"), {"samples": value})
    with pytest.raises(MethodError, match="the setting baseline of occlusion is a number from "):
        read_settings(find_method("occlusion"), {"baseline": value})
    for metric, name in (("deletion", "steps"), ("road-morf", "noise")):
        with pytest.raises(MetricError, match=f"the setting {name} of {metric} is a .*number from "):
            read_metric_settings(metric, METRICS[metric].function, {name: value})


@pytest.mark.parametrize("value", WRONG, ids=lambda value: str(value)[:10])
def test_no_value_is_a_number_and_none_a_traceback(value: Any) -> None:
    assert parse_float(value) is None
    assert parse_int(value, 0, 10) is None


def test_both_name_the_settings_that_there_are() -> None:
    wrong: list[tuple[type[OnnxcamError], Any]] = [
        (MethodError, lambda: read_settings(find_method("rise"), {"sample": 3})),
        (MetricError, lambda: read_metric_settings("deletion", METRICS["deletion"].function, {"step": 3})),
    ]
    for error, read in wrong:
        with pytest.raises(error, match=r"has no setting '\w+'; there are .*=.*\. Did you mean '\w+s'"):
            read()
