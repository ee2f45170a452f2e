"""A method that a user adds: the error messages for one that is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from onnxcam import Explainer
from onnxcam.errors import MethodError
from onnxcam.methods import METHODS, MapContext, ModelQueries, method, procedure
from onnxcam.methods.gradient import gradient
from tests.networks import HAND_X, hand_model


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the method after the test."""
    monkeypatch.setitem(METHODS, "mine", METHODS["gradcam"])
    del METHODS["mine"]


def refuse(says: str) -> None:
    with pytest.raises(MethodError, match=says):
        Explainer(hand_model(), method="mine").attribute(HAND_X)


def test_a_method_without_a_docstring() -> None:
    @method("mine", at_layer=True)
    def mine(context: MapContext) -> Any:
        return context.op.ReduceSum(context.activation(), [1], keepdims=0)

    assert METHODS["mine"].summary == ""
    np.testing.assert_allclose(Explainer(hand_model(), method="mine").attribute(HAND_X), [[[1, 2], [3, 4]]])


@pytest.mark.parametrize(
    ("at_layer", "emit", "says"),
    [
        (True, lambda context: None, "mine returned NoneType; return the map, a tensor that context.op emits"),
        (True, lambda context: context.activation(), r"the map of mine has the shape .*; it must have 3 axes: \[N, "),
        (False, lambda context: context.op.const([1.0]), "it must have 4 axes: the shape of the input"),
    ],
)
def test_a_map_of_another_shape(at_layer: bool, emit: Callable[[MapContext], Any], says: str) -> None:
    method("mine", at_layer=at_layer)(emit)
    refuse(says)


@pytest.mark.parametrize(
    ("at_layer", "run", "says"),
    [
        (False, lambda queries: queries.score, r"has the shape \[\]; it must have the shape of the input, \[1, 2, 2\]"),
        (False, lambda queries: queries.x[:, :1], r"has the shape \[1, 1, 2\]; it must have the shape of the input"),
        (True, lambda queries: queries.x, r"the map of mine has the shape \[1, 2, 2\]; it must have 2 axes of space"),
    ],
)
def test_a_map_of_many_passes_of_another_shape(at_layer: bool, run: Callable[[ModelQueries], Any], says: str) -> None:
    procedure("mine", around=gradient, at_layer=at_layer)(run)
    refuse(says)


def test_a_setting_without_a_default() -> None:
    @method("mine", at_layer=True)
    def mine(context: MapContext, share: float) -> Any:
        return context.activation()

    refuse("the setting share of mine has no default; give its parameter one")
