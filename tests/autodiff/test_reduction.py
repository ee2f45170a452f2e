"""What the case table of reductions cannot say: ties, zeros, unknown ranks."""

import numpy as np
import onnx
import pytest

from onnxcam.autodiff import vjp
from onnxcam.testing import check_grads, node_model, run
from tests.autodiff.cases import ints, normal
from tests.optional import torch

TIES = np.asarray([[1, 3, 3, 2], [5, 0, -1, 5], [2, 2, 2, 2]], np.float32)
ZEROS = np.asarray([[1, 0, 3, 2], [5, 0, 0, 5], [2, -2, 2, 2]], np.float32)


@pytest.mark.parametrize(
    ("op_type", "function", "x"),
    [
        ("ReduceMax", torch.amax, TIES),
        ("ReduceMin", torch.amin, TIES),
        ("ReduceProd", torch.prod, ZEROS),
        ("ReduceL1", lambda x, dim: torch.linalg.vector_norm(x, 1, dim), ZEROS),
        ("ReduceL2", lambda x, dim: torch.linalg.vector_norm(x, 2, dim), np.zeros((2, 3), np.float32)),
    ],
)
def test_ties_and_zeros_as_in_pytorch(op_type: str, function: object, x: np.ndarray) -> None:
    model = vjp(node_model(op_type, {"x": x, "axes": ints(1)}, {"axes": ints(1)}, keepdims=0))
    dy = normal(len(x))
    tensor = torch.from_numpy(x).requires_grad_()
    expected = torch.autograd.grad(function(tensor, 1), tensor, torch.from_numpy(dy))[0]
    actual = run(model, {"x": x, "y.cotangent": dy})["x.gradient"]
    np.testing.assert_allclose(actual, expected.numpy(), rtol=1e-6)


def test_a_tensor_of_unknown_rank() -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 10, opset_import: ["": 21]>
        unknown (float[A, B, C] x, int64[K] axes) => (float y) {
          s = ReduceMean <keepdims = 0> (x, axes)
          q = Mul (s, s)
          y = ReduceSumSquare <keepdims = 0> (q)
        }""")
    for axes in (ints(1), ints(-1, 0), ints(0, 1, 2)):
        check_grads(model, {"x": normal(2, 3, 4), "axes": axes})
