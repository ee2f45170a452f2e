"""AttnLRP: what each operator's rule keeps, and where relevance goes that does not reach the image."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnxcam import Explainer
from onnxcam.autodiff import vjp
from onnxcam.autodiff.attnlrp import FUNCTIONS, attnlrp_rules
from onnxcam.errors import MethodError
from onnxcam.testing import node_model, run
from tests.methods.replica_networks import Transformer
from tests.networks import export, hand_model
from tests.optional import torch

RULES = attnlrp_rules("epsilon", 0, 0)
rng = np.random.default_rng(0)


def graph(body: str, **shapes: list[int]) -> onnx.ModelProto:
    """The nodes of *body*, from inputs of these shapes to y, of the shape of the first."""
    inputs = ", ".join(f"float{shape} {name}" for name, shape in shapes.items())
    return onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : 20]> g ({inputs}) => (float{next(iter(shapes.values()))} y) {{ {body} }}'
    )


def relevances(model: onnx.ModelProto, feeds: dict[str, np.ndarray], r: np.ndarray) -> dict[str, np.ndarray]:
    """Return the relevance of each input, for the relevance *r* of y."""
    y = run(model, feeds)[model.graph.output[0].name]
    found = run(vjp(model, rules=RULES), {**feeds, f"{model.graph.output[0].name}.cotangent": r / y})
    return {name: x * found.get(f"{name}.gradient", np.zeros_like(x)) for name, x in feeds.items()}


def array(*shape: int) -> np.ndarray:
    return rng.uniform(0.55, 0.9, shape).astype(np.float32)


@pytest.mark.parametrize("operator", [*sorted(FUNCTIONS - {"Pow", "Acosh"}), "tanh Gelu"])
def test_a_function_of_one_number_keeps_its_relevance(operator: str) -> None:
    x, r = array(2, 5), array(2, 5)
    *_, name = operator.split()
    model = node_model(name, {"x": x}, opset=24, **({"approximate": "tanh"} if name != operator else {}))
    np.testing.assert_allclose(relevances(model, {"x": x}, r)["x"], r, rtol=1e-5)


# The relevance of y that reaches x and z, as shares.
PRODUCTS = {
    "y = Mul(x, z)": (0.5, 0.5),
    "y = Mul(x, x) w = Identity(z)": (1, 0),
    "g = Sigmoid(z) y = Mul(x, g)": (0.5, 0.5),  # a gate made of something else
    "g = Sigmoid(x) s = Mul(x, g) y = Mul(s, z)": (0.5, 0.5),  # SwiGLU
    "g = Sigmoid(x) y = Mul(g, x) w = Identity(z)": (1, 0),
    "u = Div(x, two) e = Erf(u) f = Add(e, one) p = Mul(x, f) y = Mul(p, half) w = Identity(z)": (1, 0),
    "u = Add(x, two) c = Clip(u, one, two) y = Mul(x, c) w = Identity(z)": (1, 0),
    "y = Div(x, z)": (1, 0),
    "s = Reciprocal(z) y = Mul(x, s)": (1, 0),
    "s = Pow(z, minus) h = Mul(s, half) y = Mul(h, x)": (1, 0),
    "s = Sqrt(z) d = Div(one, s) y = Mul(x, d)": (1, 0),
    "y = Div(one, x) w = Identity(z)": (1, 0),
    "y = Einsum<equation = \"ab,ab->ab\">(x, z)": (0.5, 0.5),
}  # fmt: skip
CONSTANTS = "".join(
    f"{name} = Constant<value_float = {value}> () "
    for name, value in {"one": 1.0, "two": 2.0, "half": 0.5, "minus": -0.5}.items()
)


@pytest.mark.parametrize("body", PRODUCTS)
def test_a_product_is_halved_unless_one_factor_scales_the_other(body: str) -> None:
    feeds, r = {"x": array(2, 5), "z": array(2, 5)}, array(2, 5)
    found = relevances(graph(CONSTANTS + body, x=[2, 5], z=[2, 5]), feeds, r)
    for name, share in zip(feeds, PRODUCTS[body], strict=True):
        np.testing.assert_allclose(found[name], share * r, rtol=1e-4)


def test_a_matrix_product_is_halved_and_one_with_weights_is_not() -> None:
    x, z, r = array(4, 4), array(4, 4), array(4, 4)
    found = relevances(graph("y = MatMul(x, z)", x=[4, 4], z=[4, 4]), {"x": x, "z": z}, r)
    np.testing.assert_allclose([found["x"].sum(), found["z"].sum()], [r.sum() / 2] * 2, rtol=1e-5)
    weights = graph("w = Constant<value = float[2, 2] {1, -2, 3, 4}> () y = MatMul(x, w)", x=[2, 2])
    r = array(2, 2)
    np.testing.assert_allclose(relevances(weights, {"x": array(2, 2)}, r)["x"].sum(), r.sum(), rtol=1e-4)


NORMS = {
    "y = LayerNormalization(x, s)": "layer",
    "y = InstanceNormalization(x, s, z)": "layer",
    "y = GroupNormalization<num_groups = 1>(x, s, z)": "group",
    "y = RMSNormalization(x, s)": "rms",
    "y = LpNormalization(x)": "norm",
    "y = LpNormalization<p = 1>(x)": "absolute",
}


@pytest.mark.parametrize("body", NORMS)
def test_the_scale_of_a_normalisation_is_a_constant(body: str) -> None:
    """The cotangent is that of (x − μ) / σ with σ a number."""
    x, c = 10 * array(2, 1, 6), array(2, 1, 6)
    channel = "InstanceNorm" in body or "GroupNorm" in body
    s = "{2}" if channel else "{1, 2, 3, 4, 5, 6}"
    size = 1 if channel else 6
    made = f"s = Constant<value = float[{size}] {s}> () z = Constant<value = float[1] {{0}}> () {body}"
    model = graph(made, x=[2, 1, 6])
    model.opset_import[0].version = 23
    found = run(vjp(model, rules=RULES), {"x": x, "y.cotangent": c})["x.gradient"]
    scale = np.full(6, 2.0) if channel else np.arange(1, 7.0)
    g = c * scale if NORMS[body] not in ("norm", "absolute") else c
    sigma = {
        "rms": np.sqrt((x**2).mean(-1, keepdims=True)),
        "norm": np.linalg.norm(x, axis=-1, keepdims=True),
        "absolute": np.abs(x).sum(-1, keepdims=True),
    }.get(NORMS[body], x.std(-1, keepdims=True))
    centred = g - g.mean(-1, keepdims=True) if NORMS[body] in ("layer", "group") else g
    np.testing.assert_allclose(found, centred / sigma, rtol=1e-3)


QUANTISED = {  # weights, operator, shape
    "products": ("w = Constant<value = uint8[3, 3] {9, 1, 7, 3, 2, 8, 4, 6, 5}> ()", "MatMulInteger", [4, 3]),
    "convolutions": (
        "w = Constant<value = uint8[1, 1, 3, 3] {9, 1, 7, 3, 2, 8, 4, 6, 5}> ()",
        "ConvInteger<pads = [1, 1, 1, 1]>",
        [1, 1, 5, 5],
    ),
}


@pytest.mark.parametrize(
    ("kind", "first"), [("products", "epsilon"), *(("convolutions", rule) for rule in ("epsilon", "gamma", "flat"))]
)
def test_dynamic_quantisation_keeps_relevance(kind: str, first: str) -> None:
    """Its scale, computed from x, is no factor that takes half; what it rounds to zero gets nothing."""
    weights, operator, shape = QUANTISED[kind]
    layers = "".join(
        f"{y}q, {y}s, {y}z = DynamicQuantizeLinear({x}) {y}m = {operator}({y}q, w, {y}z) {y}f = Cast<to = 1>({y}m) "
        f"{y}k = Mul({y}s, half) {y} = Mul({y}f, {y}k) "
        for x, y in (("x", "u"), ("u", "v"), ("v", "y"))
    )
    model = graph(CONSTANTS + weights + layers, x=shape)
    x, r = array(*shape), array(*shape)
    x.flat[0] = 1e-3
    y = run(model, {"x": x})["y"]
    found = x * run(vjp(model, rules=attnlrp_rules(first, 0.15, 0)), {"x": x, "y.cotangent": r / y})["x.gradient"]
    np.testing.assert_allclose(found.sum(), r.sum(), rtol=0.05)
    assert abs(found.flat[0]) < 0.01 * r.sum()


BODIES = {  # a convolution, a rectifier and a convolution, of float weights and of integers with a bias of their own
    "float": "h = Conv<pads = [1, 1, 1, 1]>(x, w, b) r = Relu(h) y = Conv<pads = [1, 1, 1, 1]>(r, w, b)",
    "integers": "".join(
        f"{y}q, {y}s, {y}z = DynamicQuantizeLinear({x}) {y}m = ConvInteger<pads = [1, 1, 1, 1]>({y}q, w, {y}z, w0) "
        f"{y}f = Cast<to = 1>({y}m) {y}p = Mul({y}f, {y}s) {y} = Add({y}p, b) {after} "
        for x, y, after in (("x", "h", "r = Relu(h)"), ("r", "y", ""))
    ),
}


@pytest.mark.parametrize(("first", "strength"), [("flat", 0.15), ("gamma", 0.15), ("epsilon", 0)])
def test_a_convolution_on_integers_has_the_bias_that_is_added_behind_it(first: str, strength: float) -> None:
    weights = "{4, -1, 2, -2, -3, 3, -1, 1, 5}"
    codes = "w = Constant<value = uint8[1, 1, 3, 3] {9, 4, 7, 3, 2, 8, 4, 6, 10}> () "
    constants = {
        "float": f"w = Constant<value = float[1, 1, 3, 3] {weights}> () b = Constant<value = float[1] {{-2}}> () ",
        "integers": codes + "w0 = Constant<value = uint8 {5}> () b = Constant<value = float[1, 1, 1, 1] {-2}> () ",
    }
    x, r = array(1, 1, 5, 5), array(1, 1, 5, 5)
    x.flat[0] = 1
    feeds, maps = {"x": np.rint(x * 255).astype(np.float32) / 255}, []
    for kind, body in BODIES.items():
        model = graph(constants[kind] + body, x=[1, 1, 5, 5])
        rules = attnlrp_rules(first, strength, 0)
        maps.append(run(vjp(model, rules=rules), {**feeds, "y.cotangent": r})["x.gradient"])
    np.testing.assert_allclose(maps[1], maps[0], atol=0.02 * abs(maps[0]).max())


@pytest.mark.parametrize("class_token", [True, False])
def test_without_biases_the_score_is_what_the_image_and_the_constants_of_softmax_get(class_token: bool) -> None:
    torch.manual_seed(0)
    net = Transformer(class_token).eval()
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if "bias" in name or name == "place":
                parameter.zero_()
    x = torch.randn(1, 3, 15, 15)
    if class_token:
        net.start.data.zero_()
    model = export(net, x)
    softmaxes = [node for node in model.graph.node if node.op_type == "Softmax"]
    tensors = ["x", *(name for node in softmaxes for name in (node.output[0], node.input[0]))]
    cotangents = vjp(model, ["logits"], tensors, rules=RULES)
    del model.graph.output[1:]
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in tensors[1:])
    values = {"x": x.numpy(), **run(model, {"x": x.numpy()})}
    seed = np.eye(5, dtype=np.float32)[2:3]
    found = run(cotangents, {"x": values["x"], "logits.cotangent": seed})
    image, *rest = ((values[name] * found[f"{name}.gradient"]).sum() for name in tensors)
    constants = sum(after - before for after, before in zip(rest[::2], rest[1::2], strict=True))
    score = values["logits"][0, 2]
    np.testing.assert_allclose(image + constants, score, rtol=1e-4)
    assert abs(constants) > 1e-4 * abs(score)  # softmax is not linear


def test_a_gamma_below_zero_is_refused() -> None:
    with pytest.raises(MethodError, match="the setting dense of attnlrp is a number from 0 on, not -1"):
        Explainer(hand_model(), method="attnlrp", settings={"dense": -1})
