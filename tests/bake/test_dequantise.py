"""The float twin of a quantised model: the same weights, activations that nothing rounds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxcam.bake.dequantise import dequantise
from onnxcam.errors import ModelError
from onnxcam.graph.io import to_proto


def network(weight: np.ndarray, integer: str = "") -> onnx.ModelProto:
    """y = Q(flatten(DQ(Reshape(Q(x)))) · DQ(w)), in steps of a half."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "half", "zero"], ["q"]),
        helper.make_node("Reshape", ["q", "flat"], ["r"]),
        helper.make_node("DequantizeLinear", ["r", "half", "zero"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "half", "zero"], ["v"]),
        helper.make_node("MatMul", ["d", "v"], ["m"]),
        helper.make_node("QuantizeLinear", ["m", "half", "zero"], ["y"]),
    ]
    if integer:
        nodes[1:5] = [helper.make_node(integer, ["q", "w"], ["m"], name="sum")]
    constants = {"half": np.float32(0.5), "zero": np.int8(0), "flat": np.array([1, 4]), "w": weight}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 2])],
        [helper.make_tensor_value_info("y", TensorProto.INT8, [1, 3])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    return np.asarray(onnxruntime.InferenceSession(model.SerializeToString()).run(["y"], {"x": x})[0])


def test_weights_stay_rounded_activations_do_not() -> None:
    w = np.arange(12, dtype=np.int8).reshape(4, 3)
    x = np.array([[[0.1, 0.2], [0.3, 0.4]]], np.float32)
    twin = to_proto(dequantise(network(w)))
    onnx.checker.check_model(twin, full_check=True)
    np.testing.assert_allclose(run(twin, x), x.reshape(1, 4) @ (w * np.float32(0.5)), rtol=1e-6)
    assert not np.allclose(run(network(w), x) * 0.5, run(twin, x), atol=0.1)  # 0.1 and 0.2 had been rounded to zero
    assert [node.op_type for node in twin.graph.node] == ["Reshape", "MatMul"]


def test_what_the_integers_cut_off_stays_cut_off() -> None:
    """Quantisers drop a ReLU where the integers begin at zero."""
    model = network(np.full((4, 3), -127, np.int8))  # a half, as the zero is -128
    at = [tensor.name for tensor in model.graph.initializer].index("zero")
    model.graph.initializer[at].CopyFrom(numpy_helper.from_array(np.int8(-128), "zero"))
    x = np.array([[[-5, 0.1], [1.2, 500]]], np.float32)
    np.testing.assert_allclose(run(to_proto(dequantise(model)), x), np.full((1, 3), (0.1 + 1.2 + 127.5) / 2), rtol=1e-6)


def test_scales_of_each_channel() -> None:
    w = np.arange(12, dtype=np.int8).reshape(4, 3)
    model = network(w)
    scale = np.float32([0.5, 1, 2])
    model.graph.initializer.extend(
        [numpy_helper.from_array(scale, "s"), numpy_helper.from_array(np.int8([0, 1, 2]), "z")]
    )
    weight = next(node for node in model.graph.node if node.input[0] == "w")
    weight.input[:] = ["w", "s", "z"]
    weight.attribute.append(helper.make_attribute("axis", 1))
    x = np.ones((1, 2, 2), np.float32)
    found = run(to_proto(dequantise(model)), x)
    np.testing.assert_allclose(found, ((w - [0, 1, 2]) * scale).sum(0)[None], rtol=1e-6)


def test_what_it_cannot_undo() -> None:
    w = np.ones((4, 3), np.int8)
    with pytest.raises(
        ModelError, match=r"operator MatMulInteger \(node 'sum'\) quantises with a scale.*run time.*quantize_static"
    ):
        dequantise(network(w, "MatMulInteger"))
    channels = network(w)
    channels.graph.initializer.append(numpy_helper.from_array(np.float32([1, 2]), "two"))
    channels.graph.node[2].input[1] = "two"
    with pytest.raises(ModelError, match=r"the activation of node '.*' has a scale for each channel"):
        dequantise(channels)
    twin = dequantise(network(w))
    with pytest.raises(ModelError, match=r"no activation of the model is quantised, nor a weight.*QDQ form"):
        dequantise(twin)


@pytest.mark.parametrize(
    "name", ["vww_mobilenet_96_qdq", "vww_mobilenet_96_qlinear_ortext", "mobilenet_v2_224_qdq_nchw_int8"]
)
def test_real_ones(real: Path, name: str) -> None:
    file = real / "models" / f"{name}.onnx"
    twin = to_proto(dequantise(file))
    onnx.checker.check_model(twin, full_check=True)
    sessions = [onnxruntime.InferenceSession(model) for model in (file.read_bytes(), twin.SerializeToString())]
    given = sessions[0].get_inputs()[0]
    shape = [1, *given.shape[1:]]
    x = np.random.default_rng(0).integers(-60, 60, shape).astype(np.int8)
    whole, twin_y = (np.asarray(session.run(None, {given.name: x})[0]) for session in sessions)
    last = next(node for node in onnx.load(file).graph.node if node.output[0] == twin.graph.output[0].name)
    known = {one.name: numpy_helper.to_array(one) for one in onnx.load(file).graph.initializer}
    scale, zero = known[last.input[1]].item(), known[last.input[2]].item()
    assert twin_y.dtype == np.float32
    assert np.corrcoef((whole.astype(float) - zero).ravel() * scale, twin_y.ravel())[0, 1] > 0.9
