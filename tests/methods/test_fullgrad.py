"""Which biases the full gradient finds, and what it refuses."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnxcam import Explainer
from onnxcam.autodiff import STANDARD
from onnxcam.autodiff.core import backward
from onnxcam.autodiff.cotangents import full_like
from onnxcam.autodiff.differentiate import add_output
from onnxcam.errors import GradientError, MethodError
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.io import load, to_proto
from onnxcam.methods.fullgrad import _biases
from onnxcam.passes import canonical
from onnxcam.testing import run
from tests.networks import hand_model

NETWORK = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[1, 2, 5, 5] x) => (float[1, 3] logits)
<float[3, 2, 3, 3] w, float[3] b, float[3] scale, float[3] shift, float[3] mean, float[3] var, float[3, 1, 1] c,
 float[1] d, float[4, 3] u, float[4] e, float[4, 3] v>
{
    y1 = Conv(x, w, b)
    y2 = BatchNormalization(y1, scale, shift, mean, var)
    y3 = Add(c, y2)
    a = Relu(y3)
    y4 = Sub(a, d)
    y5 = Sub(d, y4)
    t = Transpose<perm = [0, 2, 3, 1]>(y5)
    k = Transpose<perm = [1, 0]>(u)
    y6 = MatMul(t, k)
    y7 = Add(y6, e)
    r = Relu(y7)
    m = ReduceMean<axes = [1, 2], keepdims = 0>(r)
    logits = Gemm(m, v)
}
"""


def network() -> onnx.ModelProto:
    model, rng = onnx.parser.parse_model(NETWORK), np.random.default_rng(0)
    for weight in model.graph.value_info:
        shape = [dim.dim_value for dim in weight.type.tensor_type.shape.dim]
        sign = 1 if weight.name == "var" else rng.choice([-1, 1], shape)
        array = np.float32(rng.uniform(0.1, 1, shape) * sign)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, weight.name))
    return model


def test_the_input_and_the_biases_add_up_to_the_score() -> None:
    """The score of a network of ReLUs is Σ ∂y/∂x x + Σ ∂y/∂z b over all its biases."""
    model = canonical(load(network()), STANDARD)
    graph = model.graph
    op, image, scores = Emitter(graph), graph.inputs[0], graph.outputs[0]
    biases = list(_biases(op, image))
    assert [z.name for z, _, _ in biases] == ["y1", "y2", "y3", "y4", "y5", "y7"]
    gradients = backward(op, {scores: full_like(op, scores, 1.0)}, [image, *(z for z, _, _ in biases)], STANDARD)
    parts = [op.ReduceSum(op.Mul(g, b)) for g, b in zip(gradients, [image, *(b for _, b, _ in biases)], strict=True)]
    add_output(op, op.total(*(op.Reshape(part, [1]) for part in parts)), "total", shape=[1])
    op.place(graph.outputs)
    found = run(to_proto(model), {"x": np.random.default_rng(1).normal(size=(1, 2, 5, 5)).astype(np.float32)})
    np.testing.assert_allclose(found["total"], found["logits"].sum(keepdims=True)[0], rtol=1e-5)


def test_a_bias_that_cannot_be_seen_is_refused() -> None:
    model = hand_model()
    conv, relu = model.graph.node[:2]
    conv.op_type, conv.domain, conv.name, conv.output[0] = "FusedConv", "com.microsoft", "fused", "a"
    conv.attribute.append(onnx.helper.make_attribute("activation", "Relu"))
    model.graph.node.remove(relu)
    model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    with pytest.raises(MethodError, match=r"does not see the bias inside FusedConv \(node 'fused'\); .* before it was"):
        Explainer(model, method="fullgrad")


def test_a_picture_of_integers_is_refused() -> None:
    model = hand_model()
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
    cast = onnx.helper.make_node("Cast", ["x"], ["real"], to=onnx.TensorProto.FLOAT)
    model.graph.node[0].input[0] = "real"
    model.graph.node.insert(0, cast)
    with pytest.raises(MethodError, match="needs an image of floating point; input 'x' is UINT8"):
        Explainer(model, method="fullgrad")


def test_a_network_of_steps_is_refused() -> None:
    """Where no gradient reaches any layer there is nothing to add up."""
    model = hand_model()
    model.graph.node[-1].output[0] = "linear"
    model.graph.node.append(onnx.helper.make_node("Floor", ["linear"], ["logits"]))
    with pytest.raises(GradientError, match=r"is zero everywhere: node .* passes no gradient"):
        Explainer(model, method="fullgrad")
