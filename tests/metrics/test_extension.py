"""A metric that a user adds: its group, and the error messages for one that is wrong."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxcam.errors import OnnxcamError
from onnxcam.metrics import METRICS, evaluate
from onnxcam.metrics.base import metric

ASSETS = Path(str(resources.files("onnxcam") / "assets"))


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the metric after the test."""
    monkeypatch.setitem(METRICS, "mine", METRICS["sparseness"])


def measured(function: Callable[..., Any]) -> float:
    metric("mine", higher=True, takes=lambda case: (case.shown,))(function)
    found = evaluate(str(ASSETS / "shapes.onnx"), [str(ASSETS / "shapes_1.png")], metrics=["mine"])
    return found.rows[0].values["mine"]


def test_a_metric_may_return_any_number() -> None:
    assert measured(lambda heat: np.max(heat)) == 1
    assert measured(lambda heat: True) == 1


def test_the_group_is_the_name_of_the_file_also_of_a_script() -> None:
    def mine(heat: Any) -> float:
        return 1.0

    mine.__module__ = "__main__"
    metric("mine", higher=True, takes=lambda case: (case.shown,))(mine)
    assert METRICS["mine"].group == "test_extension"


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda heat: None, "the metric mine returned NoneType; it must return a number or a Curve"),
        (lambda heat: heat, r"the metric mine returned an array \[288, 288\]; it must return a number"),
        (lambda heat, x: 1, "the metric mine does not take its arguments: .* missing 1 required positional argument"),
        (lambda heat, *, level: 1, "the setting level of mine has no default; give its parameter one"),
    ],
)
def test_a_wrong_metric_is_told(function: Callable[..., Any], says: str) -> None:
    with pytest.raises(OnnxcamError, match=says):
        measured(function)
