"""Relevance: what is shared out adds up, gates take nothing, and what has no meaning is refused by name."""

from __future__ import annotations

import re

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxcam import Explainer
from onnxcam.autodiff import STANDARD, RuleSet
from onnxcam.autodiff.relevance import EXCITATION, LRP, LRP_EPSILON, LRP_GAMMA
from onnxcam.engine import Session
from onnxcam.errors import MethodError
from onnxcam.graph.io import load

SETS = (LRP, LRP_EPSILON, LRP_GAMMA, EXCITATION)
X = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)


RANDOM = np.random.default_rng(1)
WEIGHTS = {
    "w": RANDOM.standard_normal((4, 3, 3, 3)),
    "w2": RANDOM.standard_normal((4, 4, 3, 3)),
    "v": RANDOM.uniform(0.5, 1.5, (4, 2)),
    "s": RANDOM.uniform(0.5, 1.5, 4),
    "t": RANDOM.standard_normal(4),
    "g8": RANDOM.standard_normal(8),
    "two": np.asarray(2.0),
    "step": np.asarray(0.05),
}


def network(body: str) -> onnx.ModelProto:
    """A convolution, *body* from `a` [n, 4, 8, 8] to `z` with 4 channels, and a pooled head; no biases."""
    model = onnx.parser.parse_model(f"""
    <ir_version: 8, opset_import: ["" : 18, "com.microsoft" : 1]>
    net (float[n, 3, 8, 8] x) => (float[n, 2] logits)
    <int64[1] start = {{0}}, int64[1] end = {{1}}, int64[4] kernel = {{16, 4, 2, 2}}, uint8 zero = {{0}}>
    {{
        c = Conv<pads = [1, 1, 1, 1]>(x, w)
        a = Relu(c)
        {body}
        p = GlobalAveragePool(z)
        f = Flatten(p)
        logits = MatMul(f, v)
    }}
    """)
    weights = {name: value.astype(np.float32) for name, value in WEIGHTS.items()}
    model.graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in weights.items())
    return model


BODIES = {
    "residual": "b = Conv<pads = [1, 1, 1, 1]>(a, w2) d = Relu(b) z = Add(a, d)",
    "pools": "m = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(a) z = AveragePool<kernel_shape = [2, 2]>(m)",
    "moves": "q = Transpose<perm = [0, 1, 3, 2]>(a)"
    " r, l = Split<axis = 1, num_outputs = 2>(q) z = Concat<axis = 1>(l, r)",
    "strided": "b = Conv<strides = [2, 2], pads = [1, 1, 1, 1]>(a, w2) z = Relu(b)",
    "transposed": "b = ConvTranspose<strides = [2, 2]>(a, w2) z = Relu(b)",
    "scaled": "b = Mul(a, two) z = Div(b, two)",
    "gate": "p0 = GlobalAveragePool(a) g = Sigmoid(p0) z = Mul(a, g)",
    "hard sigmoid": "h = Add(a, two) i = Clip(h, , two) g = Div(i, two) z = Mul(g, a)",
    "swish": "b = Conv<pads = [1, 1, 1, 1]>(a, w2) g = Sigmoid(b) z = Mul(b, g)",
    "fused": 'z = com.microsoft.FusedConv<pads = [1, 1, 1, 1], activation = "Relu">(a, w2)',
}


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
