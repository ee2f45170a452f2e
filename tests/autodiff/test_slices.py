"""A cotangent of a few positions passes through the operators as a few positions, and is right."""

import numpy as np
import onnx
import pytest

from onnxcam.autodiff import vjp
from onnxcam.testing import check_grads
from tests.autodiff.cases import normal

TOKENS, WIDTH, HEADS = 7, 8, 2

BLOCK = """
    n = LayerNormalization <axis = -1> (x, scale, bias)
    qkv = MatMul (n, wqkv)
    apart = Reshape (qkv, apart_shape)
    turned = Transpose <perm = [2, 0, 3, 1, 4]> (apart)
    q = Gather <axis = 0> (turned, zero)
    k = Gather <axis = 0> (turned, one)
    v = Gather <axis = 0> (turned, two)
    kt = Transpose <perm = [0, 1, 3, 2]> (k)
    scores = MatMul (q, kt)
    weights = Softmax <axis = -1> (scores)
    heads = MatMul (weights, v)
    back = Transpose <perm = [0, 2, 1, 3]> (heads)
    joint = Reshape (back, joint_shape)
    o = MatMul (joint, wo)
    s = Add (x, o)
    m = LayerNormalization <axis = -1> (s, scale, bias)
    h = MatMul (m, w1)
    g = Tanh (h)
    p = MatMul (g, w2)
    z = Add (s, p)
"""
"""A block of a vision transformer: tokens x to tokens z."""

PICKS = {
    "class token": "t = Gather <axis = 1> (z, zero) y = Gemm (t, head)",
    "last token": "t = Gather <axis = 1> (z, last) y = Gemm (t, head)",
    "tokens 2 and 3": "t = Slice (z, starts, ends, axes) y = MatMul (t, head)",
    "all but the first": "t = Slice (z, from_one, to_end, axes) y = MatMul (t, head)",
}
NUMBERS = {
    "apart_shape": [1, TOKENS, 3, HEADS, WIDTH // HEADS],
    "joint_shape": [1, TOKENS, WIDTH],
    "starts": [2],
    "ends": [4],
    "axes": [1],
    "from_one": [1],
    "to_end": [2**31],
}


def network(pick: str, rank: int = 2) -> onnx.ModelProto:
    """Return the block with the part *pick* of its tokens before the classifier."""
    shape = f"[1, {'T, ' if rank > 2 else ''}5]"
    model = onnx.parser.parse_model(f"""<ir_version: 10, opset_import: ["" : 20]>
        g (float[1, {TOKENS}, {WIDTH}] x) => (float{shape} y) {{ {BLOCK} {pick} }}""")
    sizes = {"wqkv": (WIDTH, 3 * WIDTH), "wo": (WIDTH, WIDTH), "w1": (WIDTH, 16), "w2": (16, WIDTH), "head": (WIDTH, 5)}
    weights = {name: 0.3 * normal(*size, seed=i).astype(np.float32) for i, (name, size) in enumerate(sizes.items())}
    weights |= {"scale": normal(WIDTH, seed=8).astype(np.float32), "bias": normal(WIDTH, seed=9).astype(np.float32)}
    numbers = {name: np.asarray(value) for name, value in NUMBERS.items()}
    numbers |= {name: np.asarray(value) for name, value in (("zero", 0), ("one", 1), ("two", 2), ("last", -1))}
    used = {name for node in model.graph.node for name in node.input}
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(value, name) for name, value in (weights | numbers).items() if name in used
    )
    return model


@pytest.mark.parametrize("name", PICKS)
def test_the_gradient_of_some_tokens(name: str) -> None:
    model = network(PICKS[name], 2 if "Gemm" in PICKS[name] else 3)
    check_grads(model, {"x": normal(1, TOKENS, WIDTH).astype(np.float32)}, order=1)


def test_a_class_token_takes_one_row() -> None:
    """Behind the values and keys of the attention no product has more than one row."""
    model = vjp(network(PICKS["class token"]), ["y"], ["x"])
    inferred = onnx.shape_inference.infer_shapes(model)
    typed = inferred.graph.value_info
    shapes = {value.name: [d.dim_value for d in value.type.tensor_type.shape.dim] for value in typed}
    products = [node for node in model.graph.node if node.op_type == "MatMul" and node.name.startswith("onnxcam")]
    rows = [shapes[node.output[0]][-2] for node in products if node.output[0] in shapes]
    assert rows[:3] == [1, 1, 1]  # the perceptron, and the output of the attention
    assert rows.count(TOKENS) <= 3  # values, keys, and what both come from


def test_parts_that_cover_a_tensor_are_joined_without_zeros() -> None:
    model = vjp(network(PICKS["class token"]), ["y"], ["x"])
    kinds = [node.op_type for node in model.graph.node if node.name.startswith("onnxcam")]
    assert kinds.count("Concat") == 1
    assert "Sum" not in kinds


def test_a_pointwise_operator_with_a_row_for_all_positions() -> None:
    """What was broadcast along the axis gets the sum over the positions."""
    model = onnx.parser.parse_model("""<ir_version: 10, opset_import: ["" : 20]>
        g (float[1, 5, 3] x, float[1, 1, 3] a, float[5, 1] b, float[3] c) => (float[1, 2, 3] y)
        <int64[1] starts = {1}, int64[1] ends = {3}, int64[1] axes = {1}>
        { p = Mul (x, a) q = Add (p, b) r = Div (q, c) s = Tanh (r) y = Slice (s, starts, ends, axes) }""")
    shapes = {"x": (1, 5, 3), "a": (1, 1, 3), "b": (5, 1), "c": (3,)}
    check_grads(model, {name: normal(*shape, seed=i) + 2 for i, (name, shape) in enumerate(shapes.items())})
