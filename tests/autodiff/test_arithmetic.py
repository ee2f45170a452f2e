"""What the case table of arithmetic cannot say: ties, zeros, training mode, sparse cotangents."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxcam.autodiff import STANDARD, vjp
from onnxcam.autodiff.core import OneHot, backward
from onnxcam.errors import ModelError
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.io import to_proto
from onnxcam.testing import node_model, run
from tests.autodiff.cases import normal
from tests.optional import torch


@pytest.mark.parametrize(
    ("op_type", "function"),
    [("Max", torch.maximum), ("Min", torch.minimum), ("Pow", torch.pow)],
)
def test_ties_and_zeros_as_in_pytorch(op_type: str, function: object) -> None:
    arrays = {
        "a": np.asarray([0, 0, 0, 1, 2], np.float32),
        "b": np.asarray([0, 1, 2, 1, 3], np.float32),
    }
    dy = normal(5)
    tensors = [torch.from_numpy(x).requires_grad_() for x in arrays.values()]
    expected = torch.autograd.grad(function(*tensors), tensors, torch.from_numpy(dy))
    actual = run(vjp(node_model(op_type, arrays)), {**arrays, "y.cotangent": dy})
    for name, gradient in zip(arrays, expected, strict=True):
        np.testing.assert_allclose(actual[f"{name}.gradient"], gradient.numpy(), rtol=1e-5)


@pytest.mark.parametrize("constants", [("ratio", "training"), ("ratio",)])
def test_dropout_in_training_mode_is_refused(constants: tuple[str, ...]) -> None:
    inputs = {"x": normal(2, 3), "ratio": np.asarray(0.5, np.float32), "training": np.asarray(True)}
    model = node_model("Dropout", inputs, {name: inputs[name] for name in constants})
    with pytest.raises(ModelError, match=r"node 'Dropout' \(Dropout\) is in training mode"):
        vjp(model, inputs=["x"])


@pytest.mark.parametrize("op_type", ["Add", "Sum"])
def test_a_sparse_cotangent_through_an_addition_that_broadcasts(op_type: str) -> None:
    graph = onnx.parser.parse_graph(f"g (float[2, 3] a, float[3] b, int64[2] index) => () {{ y = {op_type} (a, b) }}")
    model = ir.Model(ir.serde.deserialize_graph(graph), ir_version=10)
    model.graph.opset_imports[""] = 21
    a, b, index = model.graph.inputs
    (y,) = model.graph.node(0).outputs
    y.type, y.shape = a.type, a.shape
    op = Emitter(model.graph)
    gradients = backward(op, {y: OneHot(index)}, [a, b], STANDARD)
    model.graph.outputs.extend(op.call(g, name) for g, name in zip(gradients, "AB", strict=True))
    op.place(model.graph.outputs)
    for value, like in zip(model.graph.outputs, (a, b), strict=True):
        value.type, value.shape = like.type, like.shape
    got = run(to_proto(model), {"a": normal(2, 3), "b": normal(3), "index": np.asarray([2, 0])})
    np.testing.assert_array_equal(got["A"], [[0, 0, 1], [1, 0, 0]])
    np.testing.assert_array_equal(got["B"], [1, 0, 1])
