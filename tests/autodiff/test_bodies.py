"""Operators that ONNX defines by a body: the node stays, the gradient is that of the body."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxcam.autodiff import STANDARD, vjp
from onnxcam.autodiff.rules.bodies import by_body
from onnxcam.autodiff.table import COMPOSITIONS
from onnxcam.errors import MissingRuleError
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.io import load, to_proto
from onnxcam.testing import check_grads, evaluate, node_model, run
from tests.autodiff.cases import ints, normal

ATTENTION = """
<ir_version: 10, opset_import: ["" : 23]>
g (float[N, 3, 8] x, float[8, 8] w) => (float[N, 3, 8] y) {
    q = MatMul(x, w)
    a = Attention<q_num_heads = 2, kv_num_heads = 2>(q, x, x)
    y = Add(a, x)
}
"""


def composition(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model of one node with what it is composed of in its place."""
    model = load(proto)
    (node,) = model.graph
    op = Emitter(model.graph)
    _, ys = COMPOSITIONS.compose(op, node)
    own = [output.name for output in model.graph.outputs]
    made = dict(zip((y.name for y in node.outputs), ys, strict=True))
    model.graph.outputs[:] = [op.alias(made[name]) for name in own]
    for old, new in zip(node.outputs, model.graph.outputs, strict=True):
        new.type, new.shape = old.type, old.shape
    op.place(model.graph.outputs)
    model.graph.remove(node, safe=True)
    return to_proto(model)


def assert_composed(proto: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> onnx.ModelProto:
    spelt = composition(proto)
    expected, actual = evaluate(proto, feeds), evaluate(spelt, feeds)
    for wanted, got in zip(expected.values(), actual.values(), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)
    return spelt


def test_the_forward_half_stays_as_it_was_deployed() -> None:
    model = onnx.parser.parse_model(ATTENTION)
    twin = vjp(model, inputs=["x"])
    assert [node.op_type for node in twin.graph.node[:3]] == ["MatMul", "Attention", "Add"]
    assert [list(node.input) for node in twin.graph.node[:3]] == [list(node.input) for node in model.graph.node]
    assert "Attention" not in {node.op_type for node in twin.graph.node[3:]}
    x, w = normal(2, 3, 8), normal(8, 8)
    results = run(twin, {"x": x, "w": w, "y.cotangent": np.ones_like(x)})
    np.testing.assert_array_equal(results["y"], run(model, {"x": x, "w": w})["y"])


def test_outputs_of_the_node_serve_the_gradient() -> None:
    """The last product of the body is the node's own output, and is not computed again."""
    spelt = composition(node_model("Attention", HEADS, opset=23))
    forward = sum(node.op_type == "MatMul" for node in spelt.graph.node)
    twin = vjp(node_model("Attention", HEADS, opset=23), inputs=["q"])
    assert forward == 2
    assert sum(node.op_type == "MatMul" for node in twin.graph.node) == 1 + 2  # scores again, then two gradients


HEADS = {"q": normal(1, 2, 3, 4), "k": normal(1, 2, 5, 4), "v": normal(1, 2, 5, 4, seed=1)}


def test_a_body_that_depends_on_the_node() -> None:
    tokens = {name: normal(2, 3, 8, seed=i) for i, name in enumerate("qkv")}
    for feeds, attributes in ((HEADS, {"is_causal": 1}), (tokens, {"q_num_heads": 2, "kv_num_heads": 2})):
        assert_composed(node_model("Attention", feeds, opset=23, **attributes), feeds)


def test_an_attribute_left_out_has_its_default() -> None:
    feeds = {"x": normal(4, 3), "t": ints(0, 2, 1, 2)}
    spelt = assert_composed(node_model("SoftmaxCrossEntropyLoss", feeds, opset=18), feeds)
    (loss,) = [node for node in spelt.graph.node if node.op_type == "NegativeLogLikelihoodLoss"]
    assert [(a.name, a.s) for a in loss.attribute] == [("reduction", b"mean")]  # ignore_index has none


def test_outputs_left_out() -> None:
    """Attention's present keys and values are left out, its scores are not."""
    model = onnx.parser.parse_model("""
    <ir_version: 10, opset_import: ["" : 23]>
    g (float[1, 2, 3, 4] q, float[1, 2, 5, 4] k, float[1, 2, 5, 4] v) => (float[1, 2, 3, 4] y, float[1, 2, 3, 5] z)
    { y, , , z = Attention(q, k, v) }
    """)
    check_grads(model, HEADS)
    twin = vjp(model)
    assert twin.graph.node[0].output[:] == ["y", "", "", "z"]


SEQUENCE_MAP = """
<ir_version: 10, opset_import: ["" : 18]>
g (seq(float[n]) s, float[n] w) => (seq(float[n]) y)
{ y = SequenceMap<body = b (float[n] x) => (float[n] z) { a = Mul(x, w) z = Add(a, x) }>(s) }
"""


def test_a_body_with_a_graph_inside() -> None:
    """It becomes a Loop, with constants inside, that still takes w from outside."""
    model = onnx.parser.parse_model(SEQUENCE_MAP)
    spelt = composition(model)
    assert [node.op_type for node in spelt.graph.node if node.op_type.startswith(("Loop", "SequenceMap"))] == ["Loop"]
    feeds = {"s": [normal(3), normal(3, seed=1)], "w": normal(3, seed=2)}
    expected, actual = (next(iter(run(proto, feeds).values())) for proto in (model, spelt))  # type: ignore[arg-type]
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


def test_inputs_of_unknown_type() -> None:
    x = ir.Value(name="x")
    node = ir.Node("", "Attention", [x, x, x], name="here")
    graph = ir.Graph([x], node.outputs, nodes=[node], opset_imports={"": 23})
    with pytest.raises(MissingRuleError, match=r"'here' .*Attention\) has no .* inputs of unknown types"):
        by_body(Emitter(graph), node, x, x, x)


def test_an_opset_in_which_there_is_no_body() -> None:
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT))
    node = ir.Node("", "Exp", [x], name="here")
    graph = ir.Graph([x], node.outputs, nodes=[node], opset_imports={"": 18})
    with pytest.raises(MissingRuleError, match="with opset 18, where ONNX defines no body for it"):
        by_body(Emitter(graph), node, x)


def test_a_rule_of_ones_own_comes_first() -> None:
    rules = STANDARD.replace("mine", {"Attention": lambda op, node, dy, q, k, v: (dy, None, None)})
    model = node_model("Attention", HEADS, opset=23)
    assert len(vjp(model, inputs=["q"], rules=rules).graph.node) == 2
    with pytest.raises(Exception, match=r"passes no gradient"):
        vjp(model, inputs=["q"], rules=STANDARD.replace("none", {"Attention": None}))
