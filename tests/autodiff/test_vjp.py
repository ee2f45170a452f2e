"""`vjp`: its contract, its taps, what it prunes, and what it refuses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxcam.autodiff import STANDARD, register, vjp
from onnxcam.autodiff.rules.compose import composed
from onnxcam.errors import GradientError, MethodError, MissingRuleError, ModelError, OnnxcamError
from onnxcam.graph.io import load
from onnxcam.testing import check_grads, evaluate, run
from tests.networks import HAND_X, hand_model


def names(values) -> list[str]:
    return [value.name for value in values]


def parsed(
    body: str, inputs: str = "float[n, 3] x", outputs: str = "float[n, 3] y", opset: int = 21
) -> onnx.ModelProto:
    return onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : {opset}, "my.ops" : 1]> g ({inputs}) => ({outputs}) {{ {body} }}'
    )


def test_inputs_and_outputs_by_contract() -> None:
    gradient = vjp(hand_model())
    assert names(gradient.graph.input) == ["x", "logits.cotangent"]
    assert names(gradient.graph.output) == ["logits", "x.gradient"]
    onnx.checker.check_model(gradient, full_check=True)
    assert {node.domain for node in gradient.graph.node} == {""}


def test_taps_anywhere_and_weights() -> None:
    gradient = vjp(hand_model(), ["p", "logits"], ["a", "w"])
    assert names(gradient.graph.input) == ["x", "p.cotangent", "logits.cotangent"]
    assert names(gradient.graph.output) == ["logits", "a.gradient", "w.gradient"]
    feeds = {
        "x": HAND_X,
        "p.cotangent": np.array([[[[8]], [[0]]]], np.float32),
        "logits.cotangent": np.array([[1, 0]], np.float32),
    }
    results = run(gradient, feeds)
    np.testing.assert_allclose(results["a.gradient"][0, 0], np.full((2, 2), 2.5))  # (2 + 8) / 4
    np.testing.assert_allclose(results["a.gradient"][0, 1], np.full((2, 2), -0.25))
    np.testing.assert_allclose(results["w.gradient"].ravel(), [2.5 * 4, -0.25 * -6])


@pytest.mark.parametrize("kind", ["path", "text path", "bytes", "proto", "ir"])
def test_every_kind_of_model(kind: str, tmp_path: Path) -> None:
    model, path = hand_model(), tmp_path / "m.onnx"
    onnx.save(model, path)
    sources = {
        "path": path,
        "text path": str(path),
        "bytes": model.SerializeToString(),
        "proto": model,
        "ir": ir.serde.deserialize_model(model),
    }
    results = run(vjp(sources[kind]), {"x": HAND_X, "logits.cotangent": np.ones((1, 2), np.float32)})
    np.testing.assert_allclose(results["x.gradient"], [[[[0.5, -0.5], [0.5, -0.5]]]])
    assert model == hand_model()


def test_only_the_nodes_between_are_differentiated() -> None:
    body = "a = Sin(x) b = Cos(a) c = Exp(b) y = Tan(c)"
    forward = {"Sin", "Cos", "Exp", "Tan"}
    head = [node.op_type for node in vjp(parsed(body), ["y"], ["c"]).graph.node]
    middle = [node.op_type for node in vjp(parsed(body), ["c"], ["b"]).graph.node]
    assert set(middle) - forward == {"Mul"}  # dc = dy exp(b)
    assert "Sin" not in head[4:]


def test_no_constant_twice_and_no_dead_nodes() -> None:
    gradient = load(vjp(parsed("a = Sigmoid(x) b = Sigmoid(a) y = Sigmoid(b)")))
    constants = [value.const_value.numpy().tobytes() for value in gradient.graph.initializers.values()]
    assert len(constants) == len(set(constants))
    used = {x for node in gradient.graph for x in node.inputs} | set(gradient.graph.outputs)
    assert all(used.intersection(node.outputs) for node in gradient.graph)
    assert all(value in used for value in gradient.graph.initializers.values())


def test_a_missing_rule_on_the_path_names_all_there_is_to_know() -> None:
    model = parsed("[first] a = Relu(x) [odd] b = my.ops.Crumple(a) y = Relu(b)")
    with pytest.raises(MissingRuleError) as error:
        vjp(model)
    for word in ("my.ops::Crumple", "opset 1", "'odd'", "'a'", "'b'", "docs/add-a-rule.md"):
        assert word in str(error.value)


def test_a_missing_rule_off_the_path_hurts_nobody() -> None:
    model = parsed("a = Relu(x) b = my.ops.Crumple(a) y = Relu(a)")
    assert "x.gradient" in names(vjp(model).graph.output)
    assert "b.gradient" in names(vjp(parsed("b = my.ops.Crumple(x) y = Relu(b)"), ["y"], ["b"]).graph.output)


def test_register_teaches_an_operator() -> None:
    key = ("my.ops", "Twice")
    register("Twice", lambda op, node, dy, x: (op.Mul(dy, 2.0),), domain="my.ops")
    try:
        gradient = vjp(parsed("y = my.ops.Twice(x)"), rules="guided")  # derived tables learn it too
        assert gradient.graph.node[1].op_type == "Mul"
    finally:
        del STANDARD._rows.maps[0][key]


def test_a_rule_set_of_ones_own() -> None:
    rules = STANDARD.replace("silent", {"Relu": lambda op, node, dy, x: (op.Mul(dy, 0.5),)})
    x = np.array([[-1, 0, 2]], np.float32)
    results = run(vjp(parsed("y = Relu(x)"), rules=rules), {"x": x, "y.cotangent": np.ones_like(x)})
    np.testing.assert_allclose(results["x.gradient"], [[0.5, 0.5, 0.5]])


WRONG_RULES: list[tuple[Any, str]] = [
    (lambda op, node, dy, a, b: (dy,), "for Add must return a tuple of 2 gradients .* it returned a tuple of 1"),
    (lambda op, node, dy, a, b: dy, "for Add must return a tuple of 2 gradients .* it returned a Value"),
    (lambda op, node, dy, a: (dy,), "the rule for Add does not take its arguments: .* 5 were given"),
    (lambda op, node, dy, a, b: (op.Mull(dy, a), dy), "ONNX has no operator 'Mull'"),
]


@pytest.mark.parametrize(("rule", "says"), WRONG_RULES)
def test_a_wrong_rule_is_told(rule: Any, says: str) -> None:
    with pytest.raises(OnnxcamError, match=says):
        vjp(parsed("y = Add(x, x)"), rules=STANDARD.replace("wrong", {"Add": rule}))


def test_a_type_error_inside_a_rule_stays_one() -> None:
    with pytest.raises(TypeError, match="of type 'int' has no len"):
        vjp(parsed("y = Relu(x)"), rules=STANDARD.replace("wrong", {"Relu": lambda op, node, dy, x: (len(1),)}))


@pytest.mark.parametrize(
    ("forward", "says"),
    [
        (lambda op, node: op.Tanh(node.inputs[0]), "the rule for Twice does not take its arguments"),
        (lambda op, node, x: None, "gradient of its output 'y': the rule does not return that output"),
    ],
)
def test_a_wrong_composition_is_told(monkeypatch: pytest.MonkeyPatch, forward: Any, says: str) -> None:
    monkeypatch.setitem(STANDARD._rows.maps[0], ("my.ops", "Twice"), None)  # restores the row
    monkeypatch.setitem(STANDARD.compositions, ("my.ops", "Twice"), forward)
    composed("Twice", domain="my.ops")(forward)
    with pytest.raises(OnnxcamError, match=says):
        vjp(parsed("y = my.ops.Twice(x)"))


def test_an_unknown_rule_set() -> None:
    with pytest.raises(MethodError, match="Did you mean 'guided'"):
        vjp(hand_model(), rules="giuded")


def test_an_unknown_tensor() -> None:
    with pytest.raises(ModelError, match=r"no tensor called 'logit'. Did you mean 'logits'"):
        vjp(hand_model(), ["logit"])


def test_a_disconnected_input_is_an_error_that_says_where() -> None:
    model = parsed("[step] s = Floor(x) y = Mul(s, s)")
    with pytest.raises(GradientError, match=r"'x' is zero everywhere: node 'step' \(Floor\) passes no gradient"):
        vjp(model)
    model = parsed("y = Relu(x) z = Relu(w)", "float[n, 3] x, float[n, 3] w", "float[n, 3] y, float[n, 3] z")
    with pytest.raises(GradientError, match="the target does not depend on it"):
        vjp(model, ["y"], ["w"])
    assert names(vjp(model, ["y"]).graph.output) == ["y", "z", "x.gradient"]  # by default: those that connect


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("[here] r = RandomNormalLike(x) y = Mul(r, r)", r"node 'here' (RandomNormalLike) passes"),
        ("[here] r = Bernoulli(x) y = Mul(r, r)", "node 'here' (Bernoulli) passes"),
        ("[here] a = Cast<to = 6>(x) y = Cast<to = 1>(a)", "node 'here' (Cast) passes"),
        ("[here] a = ArgMax(x) y = Cast<to = 1>(a)", "node 'here' (ArgMax) passes"),
        ("[here] a = Floor(x) s = Shape(x) y = Reshape(a, s)", "node 'here' (Floor) passes"),  # not Shape
        ("[here] y = Floor(x) z = Ceil(x)", "node 'here' (Floor) passes"),  # not what is off the way
        ("a = Sin(x) [here] b = Sign(a) c = Exp(b) y = Floor(c)", "node 'here' (Sign) passes"),
    ],
)
def test_where_a_path_breaks(body: str, says: str) -> None:
    """The node on the way at which what depends on x ends is named, be it by a row None or by its rule."""
    with pytest.raises(GradientError, match=re.escape(f"with respect to 'x' is zero everywhere: {says} no gradient")):
        vjp(parsed(body, outputs="float[n, m] y"), ["y"], ["x"])


def test_integers_only() -> None:
    with pytest.raises(GradientError, match="no floating output"):
        vjp(parsed("y = Add(x, x)", "int64[n] x", "int64[n] y"))


STRINGS = ("[spell] t = Cast<to = 8>(x) y = Relu(x)", "float[n, 3] x, string[n] s", "float[n, 3] y, string[n, 3] t")


def test_strings() -> None:
    with pytest.raises(
        ModelError, match=r"'t' is a tensor of strings \(node 'spell', Cast\) and has no gradient; name a"
    ):
        vjp(parsed(*STRINGS), ["t"])
    with pytest.raises(ModelError, match="'s' is a tensor of strings and has no gradient; name a tensor of numbers"):
        vjp(parsed(*STRINGS), ["y"], ["s"])
    assert names(vjp(parsed(*STRINGS)).graph.output) == ["y", "t", "x.gradient"]


def test_one_name_in_place_of_a_list() -> None:
    with pytest.raises(ModelError, match=r"the outputs to differentiate are a list of names: give \['y'\] in place of"):
        vjp(parsed(*STRINGS), "y")
    with pytest.raises(ModelError, match=r"the inputs to differentiate are a list of names: give \['x'\] in place of"):
        vjp(parsed(*STRINGS), ["y"], "x")


def test_a_sequence_has_a_sequence_as_its_gradient() -> None:
    body = "t = Exp(x) s = SequenceConstruct(x, t) y = ConcatFromSequence<axis = 0>(s)"
    gradient = load(vjp(parsed(body), ["s"]))
    assert gradient.graph.inputs[1].name == "s.cotangent"
    assert gradient.graph.inputs[1].type == ir.SequenceType(ir.TensorType(ir.DataType.FLOAT))
    gradient = load(vjp(parsed(body), ["y"], ["s"]))
    assert gradient.graph.outputs[1].type == ir.SequenceType(ir.TensorType(ir.DataType.FLOAT))


def test_a_tensor_used_many_times_and_shared_inputs() -> None:
    model = parsed("a = Mul(x, x) b = Add(a, x) c = Mul(b, a) y = Sum(c, a, x)")
    x = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)
    check_grads(model, {"x": x}, order=3)


def test_an_output_that_is_an_input() -> None:
    model = parsed("y = Identity(x)")
    gradient = vjp(model, ["x"], ["x"])
    seed = np.ones((1, 3), np.float32)
    np.testing.assert_allclose(run(gradient, {"x": seed, "x.cotangent": 3 * seed})["x.gradient"], 3 * seed)


def test_functions_are_inlined() -> None:
    model = onnx.parser.parse_model("""
    <ir_version: 10, opset_import: ["" : 21, "local" : 1]>
    g (float[2] x) => (float[2] y) { y = local.f(x) }
    <domain: "local", opset_import: ["" : 21]>
    f (a) => (b) { c = Sigmoid(a) b = Mul(a, c) }
    """)
    check_grads(model, {"x": np.array([0.3, -2], np.float32)})


@pytest.mark.parametrize("opset", [7, 8, 9, 10, 11, 12, 13, 15, 17, 18, 19, 20, 21, 22, 23, 24])
def test_every_opset_from_7(opset: int) -> None:
    softmax = "Softmax<axis = 1>(c)"
    model = parsed(f"c = Relu(x) y = {softmax}", opset=opset)
    x = np.array([[0.5, -1, 2], [1, 3, -0.2]], np.float32)
    results = run(vjp(model), {"x": x, "y.cotangent": np.array([[1, 0, 0], [0, 1, 0]], np.float32)})
    y = results["y"]
    expected = np.array([y[0, 0] * ((np.arange(3) == 0) - y[0]), y[1, 1] * ((np.arange(3) == 1) - y[1])])
    np.testing.assert_allclose(results["x.gradient"], expected * (x > 0), rtol=1e-5, atol=1e-7)


def test_gradients_of_gradients() -> None:
    hessian = vjp(vjp(parsed("y = Tanh(x)")), ["x.gradient"], ["x"])
    x = np.array([[0.1, 0.2, 0.3]], np.float32)
    feeds = {"x": x, "y.cotangent": np.ones_like(x), "x.gradient.cotangent": np.ones_like(x)}
    values = evaluate(hessian, feeds)
    second = next(value for name, value in values.items() if name.startswith("x.gradient_"))
    np.testing.assert_allclose(second, -2 * np.tanh(x) * (1 - np.tanh(x) ** 2), rtol=1e-5)


def test_a_long_chain_does_not_recurse() -> None:
    body = " ".join(f"v{i + 1} = Sin(v{i})" for i in range(3000))
    gradient = vjp(parsed(f"v0 = Identity(x) {body} y = Identity(v3000)"))
    assert len(gradient.graph.node) < 3 * 3002
