"""What the case table of activations cannot say: kinks and large arguments."""

import numpy as np
import pytest

from onnxcam.autodiff import vjp
from onnxcam.testing import node_model, run
from tests.optional import functional, torch

KINKS = np.asarray([-6, -3, -1, -0.5, 0, 0.5, 1, 3, 6], np.float32)
LARGE = np.asarray([-1e4, -100, -30, -10, 10, 30, 100, 1e4], np.float32)
BOUNDS = {"low": np.asarray(-1, np.float32), "high": np.asarray(3, np.float32)}


def gradients(op_type: str, inputs: dict, constants: dict | None = None, **attributes: object) -> dict:
    model = vjp(node_model(op_type, inputs, constants, opset=24 if op_type == "Swish" else 21, **attributes))
    feeds = {name: x for name, x in inputs.items() if name not in (constants or {})}
    return run(model, {**feeds, "y.cotangent": np.ones_like(inputs["x"])})


@pytest.mark.parametrize(
    ("op_type", "function", "attributes"),
    [
        ("Relu", torch.relu, {}),
        ("LeakyRelu", functional.leaky_relu, {}),
        ("LeakyRelu", lambda x: functional.leaky_relu(x, 2.0), {"alpha": 2.0}),
        ("Abs", torch.abs, {}),
        ("Elu", functional.elu, {}),
        ("Elu", lambda x: functional.elu(x, 0.5), {"alpha": 0.5}),
        ("Selu", functional.selu, {}),
        ("Celu", lambda x: functional.celu(x, 0.5), {"alpha": 0.5}),
        ("HardSigmoid", functional.hardsigmoid, {"alpha": 1 / 6}),
        ("Shrink", functional.hardshrink, {}),
        ("ThresholdedRelu", lambda x: functional.threshold(x, 1.0, 0.0), {}),
    ],
)
def test_kinks_as_in_pytorch(op_type: str, function: object, attributes: dict) -> None:
    x = torch.from_numpy(KINKS).requires_grad_()
    expected = torch.autograd.grad(function(x).sum(), x)[0]
    actual = gradients(op_type, {"x": KINKS}, **attributes)["x.gradient"]
    np.testing.assert_allclose(actual, expected.numpy(), rtol=1e-5, atol=1e-6)


def test_clip_passes_on_its_bounds() -> None:
    actual = gradients("Clip", {"x": KINKS, **BOUNDS}, BOUNDS)["x.gradient"]
    np.testing.assert_array_equal(actual, [0, 0, 1, 1, 1, 1, 1, 1, 0])


def test_each_bound_of_clip_gets_what_it_holds_back() -> None:
    actual = gradients("Clip", {"x": KINKS, **BOUNDS})
    assert (actual["low.gradient"], actual["high.gradient"]) == (2, 1)


@pytest.mark.parametrize(
    ("op_type", "function", "attributes"),
    [
        ("Softplus", functional.softplus, {}),
        ("Mish", functional.mish, {}),
        ("Gelu", functional.gelu, {}),
        ("Gelu", lambda x: functional.gelu(x, approximate="tanh"), {"approximate": "tanh"}),
        ("Swish", functional.silu, {}),
        ("Sigmoid", torch.sigmoid, {}),
        ("Tanh", torch.tanh, {}),
        ("Softsign", functional.softsign, {}),
        ("Elu", functional.elu, {}),
        ("HardSwish", functional.hardswish, {}),
    ],
)
def test_large_arguments_as_in_pytorch(op_type: str, function: object, attributes: dict) -> None:
    x = torch.from_numpy(LARGE).requires_grad_()
    expected = torch.autograd.grad(function(x).sum(), x)[0]
    actual = gradients(op_type, {"x": LARGE}, **attributes)["x.gradient"]
    np.testing.assert_allclose(actual, expected.numpy(), rtol=1e-5, atol=1e-6)
