"""Effects of rounding: by hand for a linear network, and against runs with one tensor quantised."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnxcam.diagnosis.damage import DamageProbe
from onnxcam.diagnosis.effects import tensor_effects
from onnxcam.diagnosis.mixture import Mixture
from tests.diagnosis.models import linear, linear_float
from tests.runtime import new_runtime

X = np.array([[[[0.1, 0.6], [1.2, -0.4]]]], np.float32)
ROUNDED = np.array([0, 0.5, 1, -0.5])  # in steps of a half
W, W_ROUNDED = np.array([1.25, 2, 3, 3.75]), np.array([1, 2, 3, 4.0])


def mixed() -> Mixture:
    """Return the mixture of the linear network, with its float weights."""
    return Mixture.of(linear(), {"w_real": W.astype(np.float32).reshape(4, 1)})


def test_the_ends_are_the_float_and_the_quantised_network() -> None:
    mixture = mixed()
    effects = tensor_effects(mixture, ["y"])
    run = {name: effects.values({"x": X}, mixture.shares(s))["y"].item() for name, s in (("real", 0.0), ("int8", 1.0))}
    assert run["real"] == pytest.approx(X.ravel() @ W)
    assert run["int8"] == pytest.approx(ROUNDED @ W_ROUNDED)


def test_one_backward_pass_gives_all_effects() -> None:
    """Of a linear network they are exact: ⟨w, Q(x) − x⟩ and ⟨Q(w) − w, x⟩."""
    mixture = mixed()
    found, _ = tensor_effects(mixture, ["y"])({"x": X, "y.cotangent": np.ones((1, 1), np.float32)}, mixture.shares())
    assert [one.kind for one in mixture.quantisers] == ["activation", "weight"]
    np.testing.assert_allclose(found, [W @ (ROUNDED - X.ravel()), (W_ROUNDED - W) @ X.ravel()], rtol=1e-5)


def test_effects_of_the_outputs_are_shares_of_their_change() -> None:
    mixture = mixed()
    probe = DamageProbe(mixture, ["y"], None)
    (damage,) = probe([], {"x": X})
    change = ROUNDED @ W_ROUNDED - X.ravel() @ W
    np.testing.assert_allclose(damage.effects["outputs"][0], W @ (ROUNDED - X.ravel()) / change, rtol=1e-4)
    (measured,) = probe.measured([], {"x": X})
    np.testing.assert_allclose(measured["outputs"], damage.effects["outputs"], rtol=1e-4)
    assert damage.change["outputs"] == pytest.approx(abs(change / (X.ravel() @ W)), rel=1e-4)
    assert damage.accumulated[0] == pytest.approx(damage.effects["outputs"][0], rel=1e-4)
    assert np.isnan(damage.accumulated[1])


def test_weights_without_a_float_original_cannot_be_switched() -> None:
    mixture = Mixture.of(linear())
    assert [one.kind for one in mixture.quantisers] == ["activation"]
    assert [one.kind for one in mixture.fixed] == ["weight"]


def test_a_tensor_that_is_rounded_twice_has_one_share() -> None:
    model = linear()
    model.graph.node[1].output[0] = "first"
    extra = [
        type(model.graph.node[0])(op_type="QuantizeLinear", input=["first", "scale", "zero"], output=["again"]),
        type(model.graph.node[0])(op_type="DequantizeLinear", input=["again", "scale", "zero"], output=["d"]),
    ]
    nodes = [*model.graph.node[:2], *extra, *model.graph.node[2:]]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    mixture = Mixture.of(model)
    assert mixture.repeats == {"again": "q"}
    assert len(mixture.quantisers) == 1


def test_float_original_is_only_for_tests_of_pairs() -> None:
    assert [node.op_type for node in linear_float().graph.node] == ["Flatten", "MatMul"]


@new_runtime
def test_a_network_in_float16_keeps_its_dtype() -> None:
    model = linear()
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    model.graph.node.append(onnx.helper.make_node("QuantizeLinear", ["y", "scale", "zero"], ["y_q"]))
    model.graph.node.append(onnx.helper.make_node("DequantizeLinear", ["y_q", "scale", "zero"], ["z"]))
    model.graph.output[0].name = "z"
    model.opset_import[0].version = 19
    mixture = Mixture.of(model, {"w_real": W.astype(np.float16).reshape(4, 1)})
    feeds = {"x": X.astype(np.float16), "z.cotangent": np.ones((1, 1), np.float32)}
    found, _ = tensor_effects(mixture, ["z"])(feeds, mixture.shares())
    assert found.shape == (3,)
    np.testing.assert_allclose(found[:2], [W @ (ROUNDED - X.ravel()), (W_ROUNDED - W) @ X.ravel()], rtol=0.02)
