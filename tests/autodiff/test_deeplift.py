"""DeepLIFT: the multipliers keep the difference from the reference, through whatever stands between; what has no rule
is refused by name."""

from __future__ import annotations

import re

import hypothesis
import hypothesis.strategies as st
import numpy as np
import onnx
import onnxruntime
import pytest

from onnxcam import Explainer
from onnxcam.engine import Session
from onnxcam.errors import MethodError
from onnxcam.graph.io import load, to_bytes
from onnxcam.methods import explanation_graph, find_method
from onnxcam.model.prepared import PreparedModel
from onnxcam.targets import ClassAim
from tests.autodiff.relevance_networks import BODIES, X, network
from tests.optional import not_before

BETWEEN = {
    **{name: body for name, body in BODIES.items() if name != "fused"},
    "fused": 'z = com.microsoft.FusedConv<pads = [1, 1, 1, 1], activation = "HardSwish">(a, w2, t)',
    "fused clip": 'z = com.microsoft.FusedConv<pads = [1, 1, 1, 1], activation = "Clip",'
    " activation_params = [0.0, 0.7]>(a, w2, t)",
    "smooth": "b = Conv<pads = [1, 1, 1, 1]>(a, w2) d = Mish(b) e = Elu(d) g = Tanh(e) h = Exp(g) i = Softplus(h)"
    " j = Sqrt(i) z = Pow(j, two)",
    "clipped": "b = Conv<pads = [1, 1, 1, 1]>(a, w2) z = Clip(b, step, two)",
    "overlapping pools": "m = MaxPool<kernel_shape = [3, 3], pads = [1, 1, 1, 1], strides = [2, 2]>(c)"
    " z = LeakyRelu(m)",
    "extrema": "b = Conv<pads = [1, 1, 1, 1]>(a, w2) m = Max(a, b) n = Min(b, c) k = Max(n, two) z = Add(m, k)",
    "global": "b = Conv<pads = [1, 1, 1, 1]>(a, w2) m = GlobalMaxPool(b) axes = Constant<value_ints = [2, 3]> ()"
    " n = ReduceMin(b, axes) k = ReduceMax(b, axes) z0 = Add(m, n) z = Sub(z0, k)",
    "products": "b = Conv<pads = [1, 1, 1, 1]>(a, w2) m = Mul(a, b) n = MatMul(m, b) z = Mul(n, n)",
    "quotients": "b = Conv<pads = [1, 1, 1, 1]>(a, w2) h = Softplus(b) m = Div(a, h) n = Div(two, h) z = Add(m, n)",
    "attention": "b = Conv<pads = [1, 1, 1, 1]>(c, w2) o = Softmax(b) q = Mul(o, two) r = Softmax<axis = 1>(q)"
    " z = MatMul(r, c)",
    "layer normalisation": "q = Transpose<perm = [0, 2, 3, 1]>(c) n = LayerNormalization(q, s, t)"
    " k = Transpose<perm = [0, 3, 1, 2]>(n) z = Relu(k)",
    "instance normalisation": "n = InstanceNormalization(c, s, t) z = Relu(n)",
    "softplus spelt out": "b = Conv<pads = [1, 1, 1, 1]>(a, w2) h = Greater(b, step) k = Softplus(b) l = Mul(b, two)"
    " z = Where(h, l, k)",
    "a choice of one number": "h = Less(a, two) z = Where(h, a, c)",
    "a constant choice": "h = Less(w2, step) k = Cast<to = 1>(h) b = Conv<pads = [1, 1, 1, 1]>(a, k) z = Sigmoid(b)",
    "norms": "b = Conv<pads = [1, 1, 1, 1]>(a, w2) one = Constant<value_ints = [1]> () m = ReduceL2(b, one)"
    " k = Max(m, step) d = Div(b, k) q = ReduceSumSquare(a, one) z = Add(d, q)",
    "batch in another axis": "half = Constant<value_ints = [-1, 2, 8, 8]> () q = Reshape(c, half) r = MaxPool"
    "<kernel_shape = [2, 2]>(q) u = Sigmoid(r) back = Constant<value_ints = [-1, 4, 7, 7]> () z = Reshape(u, back)",
}


def difference(model: onnx.ModelProto, x: np.ndarray, baseline: float, target: int) -> np.ndarray:
    session = Session(load(model))
    y, y0 = (session.run({"x": z})["logits"][:, target] for z in (x, np.full_like(x, baseline)))
    return y - y0


@pytest.mark.parametrize("body", BETWEEN)
@pytest.mark.parametrize("baseline", [0.0, 0.4])
def test_the_map_adds_up_to_the_difference(body: str, baseline: float) -> None:
    if body == "fused":
        not_before("onnxruntime", "1.30", "its NCHWc convolution refuses a fused HardSwish")
    model = network(BETWEEN[body])
    raw = Explainer(model, method="deeplift", settings={"baseline": baseline}).attribute(X, target=1)
    assert raw.shape == X.shape
    expected = difference(model, X, baseline, 1)
    assert np.abs(expected).min() > 1e-3
    np.testing.assert_allclose(raw.reshape(2, -1).sum(1), expected, rtol=1e-3)


@hypothesis.given(
    st.lists(st.sampled_from("Relu Sigmoid Tanh Softsign HardSwish Selu Abs Erf Softplus Celu".split()), max_size=4),
    st.integers(0, 2**32 - 1),
    st.floats(-1, 1, width=32),
)
@hypothesis.settings(max_examples=25)
@pytest.mark.slow
def test_the_map_adds_up_on_random_chains(functions: list[str], seed: int, baseline: float) -> None:
    body, value = "", "c"
    for i, function in enumerate(functions):
        body += f"b{i} = Conv<pads = [1, 1, 1, 1]>({value}, w2) f{i} = {function}(b{i}) "
        value = f"f{i}"
    model = network(f"{body} z = Identity({value})")
    x = np.random.default_rng(seed).standard_normal((1, 3, 8, 8)).astype(np.float32)
    raw = Explainer(model, method="deeplift", settings={"baseline": baseline}).attribute(x, target=0)
    scale = float(np.abs(raw).sum())
    assert raw.sum() == pytest.approx(difference(model, x, baseline, 0)[0], abs=1e-4 * scale, rel=1e-3)


@pytest.mark.parametrize("zero", [0, 128])
def test_a_quantised_network_adds_up_but_for_its_last_rounding(zero: int) -> None:
    """A zero point of 0 cuts negative numbers off, as the rectifier does that was fused into it."""
    quantised = f"zp = Constant<value = uint8 {{{zero}}}> () q = QuantizeLinear(c, step, zp)"
    model = network(f"{quantised} z = DequantizeLinear(q, step, zp)")
    raw = Explainer(model, method="deeplift").attribute(X, target=1)
    np.testing.assert_allclose(raw.reshape(2, -1).sum(1), difference(model, X, 0, 1), rtol=1e-3)


def test_an_integer_picture_counts_from_its_baseline() -> None:
    proto = onnx.parser.parse_model("""
    <ir_version: 8, opset_import: ["" : 17]>
    bytes (uint8[n, 1, 2, 2] x) => (float[n, 2] logits) <float[2, 1] v = {1, -1}>
    { c = Cast<to = 1>(x) r = Relu(c) p = GlobalAveragePool(r) f = Flatten(p) logits = Gemm<transB = 1>(f, v) }
    """)
    x = np.array([[[[0, 255], [128, 64]]]], np.uint8)
    raw = Explainer(proto, method="deeplift", settings={"baseline": 64}).attribute(x, target=0)
    np.testing.assert_allclose(raw, (x - 64.0) / 4, rtol=1e-5)


def test_where_nothing_differs_the_multiplier_is_the_gradient() -> None:
    """x is the reference: the map is zero; and a unit without a difference passes the gradient on."""
    model = network("b = Conv<pads = [1, 1, 1, 1]>(a, w2) z = Sigmoid(b)")
    explainer = Explainer(model, method="deeplift", settings={"baseline": 0.25})
    np.testing.assert_allclose(explainer.attribute(np.full_like(X, 0.25), target=0), np.zeros_like(X), atol=1e-6)
    nearly = np.full_like(X, 0.25) + np.float32(1e-3) * X
    gradient = Explainer(model, method="gradient").attribute(np.full_like(X, 0.25), target=0)
    found = explainer.attribute(nearly, target=0)
    np.testing.assert_allclose(found, gradient * (nearly - 0.25), atol=0.05 * float(np.abs(found).max()))


def test_a_constant_reference_is_computed_once_by_the_runtime(tmp_path) -> None:
    """ONNX Runtime folds it when it loads the model: no convolution of the reference is left."""
    subject = PreparedModel.open(network("b = Conv<pads = [1, 1, 1, 1]>(a, w2) d = Relu(b) z = Add(a, d)"))
    explanation_graph(subject, find_method("deeplift"), [], ClassAim())
    counts = []
    for level in ("ORT_DISABLE_ALL", "ORT_ENABLE_BASIC"):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
        options.optimized_model_filepath = str(tmp_path / "folded.onnx")
        options.log_severity_level = 4
        onnxruntime.InferenceSession(to_bytes(subject.model), options, providers=["CPUExecutionProvider"])
        nodes = onnx.load(tmp_path / "folded.onnx").graph.node
        counts.append([node.op_type for node in nodes].count("Conv"))
    assert counts[0] - counts[1] == 2


REFUSED = {
    "h = Less(a, two) g = Cast<to = 1>(h) z = Mul(a, g)": "Mul (node '', output 'z'), whose input 'g' depends on the",
    "b = Conv<pads = [1, 1, 1, 1]>(a, w2) h = Less(a, two) z = Where(h, a, b)": "Where (node '', output 'z'), whose"
    " input 'h' depends on the image by",
    "z = LRN<size = 3>(a)": "LRN (node '', output 'z')",
    "z = Max(a, c, two)": "the largest of more than two activations",
    "z = Pow(a, a)": "with parameters that depend on the image",
    'z = Einsum<equation = "abij,abij,abij->abij">(a, a, c)': "a product of more than two activations",
}


@pytest.mark.parametrize("body", REFUSED)
def test_what_has_no_rule_is_refused_by_name(body: str) -> None:
    with pytest.raises(MethodError, match=re.escape(REFUSED[body])) as caught:
        Explainer(network(body), method="deeplift")
    assert str(caught.value).startswith("deeplift is not defined for ")
    assert str(caught.value).endswith("use --method integrated-gradients")
