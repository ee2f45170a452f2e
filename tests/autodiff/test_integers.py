"""Quantised networks stay integers: ONNX Runtime fuses the forward half of a gradient graph as it fuses the file."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest

from onnxcam.autodiff import vjp
from onnxcam.engine import optimised
from onnxcam.graph.io import load
from onnxcam.testing import run
from tests.autodiff.integer_networks import CHANNELS, ENDS, MIDDLES, SIDE, is_clear, network, straight_through

NAMES = [*MIDDLES, *ENDS]
each = pytest.mark.parametrize("name", NAMES)
of_dtype = pytest.mark.parametrize("dtype", [np.uint8, np.int8])


def example(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((1, CHANNELS, SIDE, SIDE)).astype(np.float32)


def cotangent(model: onnx.ModelProto) -> np.ndarray:
    y = run(model, {"x": example()})["y"]
    return np.random.default_rng(1).standard_normal(y.shape).astype(np.float32)


def fused(model: onnx.ModelProto) -> Counter[str]:
    """Count the operators on integers in *model* as ONNX Runtime runs it."""
    return Counter(
        node.op_type for node in optimised(load(model)).graph if node.op_type.startswith(("QLinear", "QGemm"))
    )


@each
@of_dtype
def test_the_gradient_is_that_of_the_straight_through_rule(name: str, dtype: type[np.integer]) -> None:
    model = network(name, dtype)
    x = next(x for seed in range(500) if is_clear(model, x := example(seed)))
    u = cotangent(model)
    expected = straight_through(model, x, u)
    actual = run(vjp(model), {"x": x, "y.cotangent": u})["x.gradient"]
    assert np.abs(expected).max() > 0
    apart = np.linalg.norm(actual - expected) / np.linalg.norm(expected)
    curved = name in ("HardSwish", "Sigmoid")  # their slopes tell codes apart that rounding at half a step moves
    assert apart < (5e-3 if curved else 1e-5), f"{apart:.2g}"


@each
@of_dtype
def test_the_forward_half_is_the_file_bit_for_bit(name: str, dtype: type[np.integer]) -> None:
    model = network(name, dtype)
    gradient, u = vjp(model), cotangent(model)
    for seed in range(8):
        x = example(seed) * 2
        np.testing.assert_array_equal(run(gradient, {"x": x, "y.cotangent": u})["y"], run(model, {"x": x})["y"])


@each
@of_dtype
def test_every_operator_that_is_fused_in_the_file_is_fused_beside_the_gradient(
    name: str, dtype: type[np.integer]
) -> None:
    model = network(name, dtype)
    alone, beside = fused(model), fused(vjp(model))
    assert alone == beside
    assert dtype == np.int8 or alone.total() >= 1
