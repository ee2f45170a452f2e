"""Integrated gradients' kin, Sobol indices and concepts: what their maths promises, and settings that they refuse."""

from __future__ import annotations

import re
import sys

import numpy as np
import onnx
import pytest

from onnxcam import Explainer
from onnxcam.errors import MethodError
from tests.methods.test_loop import wide_model
from tests.networks import HAND_X, hand_model
from tests.optional import libraries_of


@pytest.mark.parametrize(
    ("method", "settings", "says"),
    [
        ("guided-ig", {"fraction": 0}, "the setting fraction of guided-ig is a share, above 0 and at most 1, not 0"),
        ("guided-ig", {"deviation": -0.1}, "the setting deviation of guided-ig is a share, from 0 to 1, not -0.1"),
        ("sobol", {"designs": 12}, "the setting designs of sobol is a power of two, 2 or more, not 12"),
        ("sobol", {"designs": 1}, "a power of two, 2 or more, not 1"),
        ("dff", {"concepts": 2, "rank": 3}, "the setting rank of dff is at most concepts, 2, not 3"),
        ("dff", {}, "dff finds at most 2 concepts in a layer of 4 positions and 2 channels, not 5; take fewer"),
        ("sobol", {"cells": 200}, "the setting cells of sobol makes 40000 cells, more than 10600; take fewer"),
    ],
)
def test_settings_that_a_method_refuses(method: str, settings: dict[str, object], says: str) -> None:
    libraries_of(method)
    with pytest.raises(MethodError, match=re.escape(says)):
        Explainer(hand_model(), method=method, settings=settings).attribute(HAND_X)


def test_xrai_refuses_volumes() -> None:
    libraries_of("xrai")
    model = onnx.parser.parse_model("""
    <ir_version: 8, opset_import: ["" : 17]>
    volume (float[n, 1, 4, 4, 4] x) => (float[n, 2] logits) <float[1, 2] v = {1, -1}>
    { p = GlobalAveragePool(x) f = Flatten(p) logits = MatMul(f, v) }
    """)
    with pytest.raises(MethodError, match=r"^xrai segments images, not 3 axes of space; use --method kernelshap$"):
        Explainer(model, method="xrai").attribute(np.ones((1, 1, 4, 4, 4), np.float32), target=0)


def test_without_deviation_guided_ig_is_integrated_gradients() -> None:
    """The straight line, with the gradient at the start of each step."""
    model, x = wide_model()
    settings = {"deviation": 0, "steps": 5, "baseline": 0.3}
    found = Explainer(model, method="guided-ig", settings=settings).attribute(x, target=0)
    points = np.concatenate([0.3 + step / 5 * (x - 0.3) for step in range(5)])
    gradients = Explainer(model, method="gradient").attribute(points, target=0)
    np.testing.assert_allclose(found, (x - 0.3) * gradients.mean(0), rtol=1e-5, atol=1e-7)


def test_idgi_is_complete() -> None:
    model, x = wide_model()
    explainer = Explainer(model, method="idgi", settings={"baseline": 0.3})
    scores = explainer.scores(np.concatenate([x, np.full_like(x, 0.3)]), target=0)
    assert explainer.attribute(x, target=0).sum() == pytest.approx(scores[0] - scores[1], rel=1e-4)


def test_concepts_by_rank() -> None:
    """Each channel is a concept; the target of class 1 ranks them the other way round."""
    libraries_of("dff")
    maps = {
        (target, rank): Explainer(hand_model(), method="dff", settings={"concepts": 2, "rank": rank}).attribute(
            HAND_X, target=target
        )
        for target in (0, 1)
        for rank in (1, 2)
    }
    np.testing.assert_allclose(maps[0, 2], [[[0, 0.5], [0, 1]]], atol=1e-6)
    np.testing.assert_allclose(maps[1, 1], maps[0, 2], atol=1e-6)
    np.testing.assert_allclose(maps[1, 2], maps[0, 1], atol=1e-6)


def test_a_layer_of_zeros_has_no_concepts() -> None:
    libraries_of("dff")
    found = Explainer(hand_model(), method="dff", settings={"concepts": 2}).attribute(0 * HAND_X, target=0)
    np.testing.assert_array_equal(found, np.zeros((1, 2, 2)))


def test_dff_without_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.decomposition", None)
    with pytest.raises(MethodError, match=r"^dff is made by .*; pip install 'onnxcam\[concepts\]'$"):
        Explainer(hand_model(), method="dff", settings={"concepts": 2}).attribute(HAND_X)
