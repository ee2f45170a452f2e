"""The canonical form: what each pass changes, and what it keeps."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxcam.autodiff import STANDARD, vjp
from onnxcam.errors import ModelError
from onnxcam.graph.infer import same
from onnxcam.graph.io import all_tensors, load, to_proto
from onnxcam.passes import canonical
from onnxcam.testing import check_grads, run
from tests.networks import HAND_X, hand_model


def raised(model: onnx.ModelProto) -> onnx.ModelProto:
    return to_proto(canonical(load(model), STANDARD))


def test_weights_that_are_listed_as_inputs_are_constants() -> None:
    model = hand_model()
    model.ir_version = 3
    for weight in model.graph.initializer:
        model.graph.input.append(onnx.helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims))
    twin = raised(model)
    assert [value.name for value in twin.graph.input] == ["x"]
    np.testing.assert_array_equal(run(twin, {"x": HAND_X})["logits"], [[0.5, 4.5]])


READER = """
<ir_version: 7, opset_import: ["" : 12]>
reader (float[N, 4, 6] x) => (float[N, T, 5] y)
<int64[1] zero = {0}, int64[1] one = {1}, int64[2] rest = {4, -1}> {
    shape = Shape(x)
    n = Slice(shape, zero, one, zero)
    to = Concat<axis = 0>(n, rest)
    s = Reshape(x, to)
    l = MatMul(s, w)
    y = KIND<axis = AXIS>(l)
}
"""


@pytest.mark.parametrize("kind", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize(("axis", "restored"), [(2, True), (1, False)])
def test_a_softmax_of_unknown_rank_is_restored_along_the_last_axis(kind: str, axis: int, restored: bool) -> None:
    model = onnx.parser.parse_model(READER.replace("KIND", kind).replace("AXIS", str(axis)))
    w = np.random.default_rng(0).standard_normal((6, 5)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(w, "w"))
    twin = raised(model)
    assert (twin.graph.node[-1].op_type == kind) is restored
    assert twin.graph.node[-1].output == ["y"]
    x = np.random.default_rng(1).standard_normal((2, 4, 6)).astype(np.float32)
    np.testing.assert_allclose(run(twin, {"x": x})["y"], run(model, {"x": x})["y"], rtol=1e-5)


def test_open_dimensions_of_minus_one() -> None:
    model = hand_model()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1
    assert raised(model).graph.input[0].type.tensor_type.shape.dim[0].dim_value == 0
    assert run(vjp(model), {"x": HAND_X, "logits.cotangent": np.ones((1, 2), np.float32)})["x.gradient"].any()


@pytest.mark.parametrize(
    ("declared", "expected"),
    [("n, 3, 4, 4", ["n", 3, 16]), ("n, 3, h, 4", ["n", 3, None]), ("?, 3, 4, 4", [None, 3, None])],
)
def test_what_a_flattening_leaves_open_is_counted(declared: str, expected: list[str | int | None]) -> None:
    """PyTorch's older exporter writes ``flatten(2)`` so; a batch without a name may be another one behind it."""
    model = onnx.parser.parse_model(f"""
    <ir_version: 8, opset_import: ["" : 18]>
    flatten (float[{declared}] x) => (float[a, b, c] y)
    <int64[1] zero = {{0}}, int64[1] two = {{2}}, int64[1] rest = {{-1}}>
    {{
        shape = Shape(x)
        front = Slice(shape, zero, two)
        whole = Concat<axis = 0>(front, rest)
        cells = Reshape(x, whole)
        y = Relu(cells)
    }}
    """)
    (cells,) = (node.outputs[0] for node in canonical(load(model), STANDARD).graph if node.op_type == "Reshape")
    assert cells.shape is not None
    for length, known in zip(cells.shape, expected, strict=True):
        assert length == known if known is not None else not isinstance(length, int)


def test_a_shape_cut_at_a_computed_place_is_known() -> None:
    """PyTorch's older exporter writes ``unflatten`` so."""
    text = """
    <ir_version: 8, opset_import: ["" : 18]>
    unflatten (float[2, 3, 8] x, float[2, 2] w) => (float[2, 3, 4, 2] y)
    <int64[1] zero = {0}, int64 last = {-1}, int64 axes = {3}, int64[1] one = {1}, int64[2] sizes = {4, 2}>
    {
        shape = Shape(x)
        place = Mod(last, axes)
        end = Reshape(place, one)
        front = Slice(shape, zero, end)
        whole = Concat<axis = 0>(front, sizes)
        parts = Reshape(x, whole)
        p = Softmax<axis = 3>(parts)
        y = MatMul(p, w)
    }
    """
    rng = np.random.default_rng(0)
    feeds = {"x": rng.standard_normal((2, 3, 8), np.float32), "w": rng.standard_normal((2, 2), np.float32)}
    check_grads(onnx.parser.parse_model(text), feeds)


def test_raising_keeps_names_metadata_and_weights() -> None:
    model = hand_model()
    model.metadata_props.add(key="preprocess", value="unit")
    for i, node in enumerate(model.graph.node):
        node.name = f"node{i}"
        node.metadata_props.add(key="pkg.torch.onnx.name_scopes", value=f"['', 'layer{i}', 'x']")
    twin = raised(model)
    assert twin.opset_import[0].version == 18
    assert [node.output[0] for node in twin.graph.node] == [node.output[0] for node in model.graph.node]
    assert twin.metadata_props[0].value == "unit"
    scopes = [{p.key: p.value for p in node.metadata_props}["pkg.torch.onnx.name_scopes"] for node in twin.graph.node]
    assert scopes == [f"['', 'layer{i}', 'x']" for i in range(5)]
    np.testing.assert_array_equal(run(twin, {"x": HAND_X})["logits"], run(model, {"x": HAND_X})["logits"])


def test_newer_opsets_stay() -> None:
    model = hand_model()
    model.opset_import[0].version = 22
    assert raised(model).opset_import[0].version == 22


def test_functions_are_inlined_but_those_with_a_rule() -> None:
    model = onnx.parser.parse_model("""
    <ir_version: 10, opset_import: ["" : 21, "local" : 1]>
    g (float[2] x) => (float[2] y) { z = local.outer(x) y = local.kept(z) }
    <domain: "local", opset_import: ["" : 21, "local" : 1]> outer (a) => (b) { c = Sigmoid(a) b = local.inner(c) }
    <domain: "local", opset_import: ["" : 21]> inner (a) => (b) { b = Exp(a) }
    <domain: "local", opset_import: ["" : 21]> kept (a) => (b) { b = Neg(a) }
    """)
    rules = STANDARD.replace("with kept", {("local", "kept"): lambda op, node, dy, x: (op.Neg(dy),)})
    twin = canonical(load(model), rules)
    assert [node.op_type for node in twin.graph] == ["Sigmoid", "Exp", "kept"]


def test_functions_that_call_themselves_are_refused() -> None:
    model = onnx.parser.parse_model("""
    <ir_version: 10, opset_import: ["" : 21, "local" : 1]>
    g (float[2] x) => (float[2] y) { y = local.f(x) }
    <domain: "local", opset_import: ["" : 21, "local" : 1]> f (a) => (b) { c = Relu(a) b = local.f(c) }
    """)
    with pytest.raises(ModelError, match=r"function 'f' .* calls itself"):
        raised(model)


def test_an_operator_that_no_opset_has_any_more() -> None:
    model = hand_model()
    model.opset_import[0].version = 7
    model.graph.node[1].op_type = "ImageScaler"
    with pytest.raises(ModelError, match=r"is no valid ONNX model|cannot be raised from opset 7 to 18"):
        raised(model)


@pytest.mark.parametrize("opset", [7, 9, 11, 13])
def test_operators_whose_spelling_changed(opset: int) -> None:
    """Squeeze, Unsqueeze, Clip, Pad and Slice took attributes once; they compute the same after raising."""
    old = opset < 11
    clip = "Clip<min = -1.0, max = 2.0>(x)" if old else "Clip(x, low, high)"
    pad = "Pad<pads = [0, 1, 0, 1]>(c)" if old else "Pad(c, pads)"
    cut = "Slice<axes = [1], starts = [1], ends = [4]>(p)" if opset < 10 else "Slice(p, starts, ends, axes)"
    up = "Unsqueeze<axes = [0]>(s)" if opset < 13 else "Unsqueeze(s, zero)"
    constants = "float low = {-1}, float high = {2}, int64[4] pads = {0, 1, 0, 1}, int64[1] starts = {1}"
    model = onnx.parser.parse_model(f"""
    <ir_version: 8, opset_import: ["" : {opset}]>
    g (float[2, 3] x) => (float[1, 2, 3] y)
    <{constants}, int64[1] ends = {{4}}, int64[1] axes = {{1}}, int64[1] zero = {{0}}>
    {{ c = {clip} p = {pad} s = {cut} y = {up} }}
    """)
    x = np.array([[-3, 0.5, 1], [5, 1.5, -0.5]], np.float32)
    results = run(vjp(model), {"x": x, "y.cotangent": np.arange(1, 7, dtype=np.float32).reshape(1, 2, 3)})
    np.testing.assert_array_equal(results["y"], np.clip(x, -1, 2)[None])
    np.testing.assert_array_equal(results["x.gradient"], [[0, 2, 3], [0, 5, 6]])


@pytest.mark.parametrize(
    ("declared", "step", "expected"),
    [
        ("float[] a) => (bool on, float[] c", "c = Sin(a)", [2, 3]),  # an axis that a step leaves as it is
        ("float[] a) => (bool on, float[] c", "c = Concat<axis = 0>(a, x)", [None, 3]),
        ("float[] a) => (bool on, float[] c", "c = Concat<axis = 1>(a, a)", [2, None]),
        ("float[2, 3] a) => (bool on, float[4, 3] c", "c = Concat<axis = 0>(a, x)", [None, 3]),  # of the first step
        ("float[2, 3] a) => (bool on, float[2, 3] c", "c = Sin(a)", [2, 3]),
        ("float[] a) => (bool on, float[] c", "z = Constant<value = int64[1] {0}>() c = Unsqueeze(a, z)", None),
    ],
)
def test_shapes_of_what_a_loop_carries(declared: str, step: str, expected: list[int | None] | None) -> None:
    model = onnx.parser.parse_model(f"""<ir_version: 8, opset_import: ["": 18]>
    g (float[2, 3] x, int64 n) => (float[] y) {{
        y = Loop<body = b (int64 i, bool go, {declared}) {{ on = Identity(go) {step} }}>(n, , x)
    }}""")
    body = canonical(load(model), STANDARD).graph[0].attributes["body"].as_graph()
    before, after = body.inputs[2].shape, body.outputs[1].shape
    if expected is None:
        assert before is None
        return
    assert before is not None
    assert after is not None
    assert [dim if isinstance(dim, int) else None for dim in before] == expected
    assert [same(a, b) for a, b in zip(before, after, strict=True)] == [dim is not None for dim in expected]


def test_elements_of_a_list_are_not_all_as_those_at_the_start_of_a_loop() -> None:
    model = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["": 18]>
    g (float[2, 3] x, int64 n) => (float[N, 3] y) {
        e = SequenceConstruct(x)
        s = Loop<body = b (int64 i, bool go, seq(float[?, 3]) a) => (bool on, seq(float[?, 3]) c) {
            on = Identity(go) u = SequenceAt(a, i) v = Concat<axis = 0>(u, u) c = SequenceInsert(a, v)
        }>(n, , e)
        last = Constant<value = int64 {-1}>() first = Constant<value = int64 {0}>()
        p = SequenceAt(s, last) q = SequenceAt(s, first) y = Concat<axis = 0>(p, q)
    }""")
    tensors = all_tensors(canonical(load(model), STANDARD).graph)
    assert tensors["s"].type == ir.SequenceType(ir.TensorType(ir.DataType.FLOAT))
    p, q = tensors["p"].shape, tensors["q"].shape
    assert p is None or q is None or not same(p[0], q[0])
