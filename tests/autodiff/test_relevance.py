"""Relevance: what is shared out adds up, gates take nothing, and what has no meaning is refused by name."""

from __future__ import annotations

import re

import numpy as np
import onnx_ir as ir
import pytest

from onnxcam import Explainer
from onnxcam.autodiff import STANDARD, RuleSet
from onnxcam.autodiff.relevance import EXCITATION, LRP, LRP_EPSILON, LRP_GAMMA
from onnxcam.engine import Session
from onnxcam.errors import MethodError
from onnxcam.graph.io import load
from tests.autodiff.relevance_networks import BODIES, X, network
from tests.bake.baked import SHAPES

SETS = (LRP, LRP_EPSILON, LRP_GAMMA, EXCITATION)


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("rules", SETS, ids=lambda rules: rules.name)
def test_without_biases_relevance_adds_up(rules: RuleSet, body: str) -> None:
    """To the score in LRP; to 1, the winner's probability, in excitation backprop."""
    model = network(BODIES[body])
    winner = rules is EXCITATION
    raw = Explainer(model, method=rules.name, layer="a" if winner else None).attribute(X, target=1)
    score = Session(load(model)).run({"x": X})["logits"][:, 1]
    np.testing.assert_allclose(raw.reshape(2, -1).sum(1), np.ones(2) if winner else score, rtol=1e-3)
    if winner:
        assert raw.min() >= 0


@pytest.mark.parametrize("body", ["residual", "pools", "moves", "strided", "transposed", "scaled"])
def test_epsilon_is_the_input_times_the_gradient_where_all_is_piecewise_linear(body: str) -> None:
    model = network(BODIES[body])
    gradient = Explainer(model, method="gradient").attribute(X, target=0)
    raw = Explainer(model, method="lrp-epsilon").attribute(X, target=0)
    np.testing.assert_allclose(raw, X * gradient, rtol=1e-2, atol=1e-4 * float(np.abs(raw).max()))


@pytest.mark.parametrize(("method", "summed"), [("lrp", True), ("lrp-gamma", True), ("lrp-epsilon", False)])
def test_channels_are_summed_where_relevance_is_what_is_shown(method: str, summed: bool) -> None:
    image = np.random.default_rng(0).integers(0, 255, (96, 96, 3), np.uint8)
    found = Explainer(SHAPES, method=method)(image, "star")
    assert found.raw.shape == (3, 96, 96)
    flat = np.maximum(found.raw.sum(0), 0) if summed else np.abs(found.raw).max(0)
    np.testing.assert_allclose(found.map, flat / flat.max(), atol=1e-5)


@pytest.mark.parametrize("method", ["lrp", "lrp-epsilon", "lrp-gamma"])
def test_quantised_networks(method: str) -> None:
    scale = "q = QuantizeLinear(a, step, zero) d = DequantizeLinear(q, step, zero) z = Identity(d)"
    plain = Explainer(network("z = Identity(a)"), method=method).attribute(X, target=0)
    rounded = Explainer(network(scale), method=method).attribute(X, target=0)
    assert np.corrcoef(plain.ravel(), rounded.ravel())[0, 1] > 0.99


REFUSED = {
    "m = MatMul(a, a) z = Relu(m)": "MatMul (node '', output 'm')",
    "m = Mul(a, a) z = Relu(m)": "of which neither is a gate",
    "g = Sigmoid(a) z = Div(g, a)": "Div (node",
    "m = Conv(a, k) z = Relu(m)": "a product of two activations",
    "z = InstanceNormalization(a, s, t)": "InstanceNormalization (node",
    "z = com.microsoft.SkipLayerNormalization(a, a, g8)": "SkipLayerNormalization (node",
}


@pytest.mark.parametrize("rules", SETS, ids=lambda rules: rules.name)
def test_an_operator_without_a_meaning_is_refused_by_name(rules: RuleSet) -> None:
    for body, says in REFUSED.items():
        if "k)" in body:
            body = "k0 = Slice(a, start, end) k = Reshape(k0, kernel) " + body
        with pytest.raises(MethodError, match=re.escape(says)) as caught:
            Explainer(network(body), method=rules.name, layer="a" if rules is EXCITATION else None)
        assert str(caught.value).startswith(f"{rules.name} is not defined for ")
        assert str(caught.value).endswith("use --method gradcam or gradient")


def test_an_operator_that_was_registered_with_a_gradient_is_refused() -> None:
    """Its rule is a derivative; what relevance means for it nobody said."""
    rows = STANDARD.replace("more", {("my.ops", "Scale"): lambda op, node, dy, x: (dy,)})
    node = ir.node("Scale", [ir.Value(name="x")], domain="my.ops", name="scale1")
    rows.find(node)
    with pytest.raises(MethodError, match="lrp is not defined for Scale"):
        LRP.find(node)
