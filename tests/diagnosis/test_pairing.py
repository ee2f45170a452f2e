"""A float model and its quantised form, whoever made it: all tensors are paired, or it is said why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxcam.diagnosis.moved_biases import MovedBias, moved_words
from onnxcam.diagnosis.pairing import Pairing, pair
from onnxcam.errors import DiagnosisError
from onnxcam.graph.fold import constant
from tests.quantisers import convolutional, network, pictures, quantised

quantization = pytest.importorskip("onnxruntime.quantization")

X = pictures()[2]
Feeds = dict[str, np.ndarray]


def assert_pairs(candidate: onnx.ModelProto, real: onnx.ModelProto, feeds: Feeds | None = None) -> Pairing:
    """Assert that each tensor of *candidate* has one of *real*, and that both compute the same without rounding."""
    found = pair(candidate, real, feeds or {"x": X})
    assert found.difference < 1e-3
    assert list(found.unmatched) == []
    assert {one.tensor for one in (*found.mixture.quantisers, *found.mixture.fixed)} == set(found.names)
    assert not found.mixture.fixed  # all weights can be switched
    return found


WAYS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({}, {}),
    "each channel": ({}, {"per_channel": True}),
    "QOperator": ({}, {"quant_format": quantization.QuantFormat.QOperator}),
    "symmetric": ({}, {"extra_options": {"ActivationSymmetric": True}}),
    "16 bits": ({}, {"activation_type": quantization.QuantType.QInt16}),
    "4 bits": ({}, {"weight_type": quantization.QuantType.QInt4}),
    "float weights": ({}, {"extra_options": {"AddQDQPairToWeight": True}}),
    "normalised": ({"normalised": True}, {}),
    "normalised, folded": ({"normalised": True}, {"prepared": True}),
    "constants": ({"normalised": True, "constants": True}, {}),
    "constants, folded": ({"normalised": True, "constants": True}, {"prepared": True, "per_channel": True}),
}


@pytest.mark.parametrize("way", WAYS)
def test_onnx_runtime(tmp_path: Path, way: str) -> None:
    build, settings = WAYS[way]
    real = convolutional(**build)
    found = assert_pairs(quantised(real, tmp_path, **settings), real)
    activations = [found.names[one.tensor] for one in found.mixture.quantisers if one.kind == "activation"]
    assert {"x", "r1", "r2", "a", "g", "y"} <= set(activations)


def small(weights: str = "w", bias: str = "b", shift: float = 0.0) -> onnx.ModelProto:
    """x → Conv → BatchNormalization → ReLU6 → mean → y, as a float network."""
    lines: list[tuple[str, str, str, dict[str, Any]]] = [
        ("Conv", f"x {weights} {bias}", "c", {"pads": [1, 1, 1, 1]}),
        ("BatchNormalization", "c gamma beta mean variance", "n", {}),
        ("Clip", "n zero six", "r", {}),
        ("GlobalAveragePool", "r", "y", {}),
    ]
    return network(lines, {**PARTS, weights: W, bias: B + shift}, (1, 3, 8, 8), (1, 6, 1, 1))


RNG = np.random.default_rng(3)
W, B = RNG.standard_normal((6, 3, 3, 3)) * 0.3, RNG.standard_normal(6) * 0.2
GAMMA, BETA = RNG.uniform(0.5, 2, 6), RNG.standard_normal(6) * 0.2
MEAN, VARIANCE = RNG.standard_normal(6) * 0.2, RNG.uniform(0.5, 2, 6)
SLOPE = GAMMA / np.sqrt(VARIANCE + 1e-5)
PARTS = {
    "gamma": GAMMA,
    "beta": BETA,
    "mean": MEAN,
    "variance": VARIANCE,
    "zero": np.float32(0),
    "six": np.float32(6),
    "sx": np.float32(0.03),
    "zx": np.uint8(120),
    "sr": np.float32(6 / 127),
    "zr": np.uint8(0),
    "most": np.uint8(127),
    "none": np.int8(0),
}
FOLDED = W * SLOPE.reshape(6, 1, 1, 1)
STEPS = np.abs(FOLDED).max((1, 2, 3)) / 127


def test_fake_quantisation_of_pytorch() -> None:
    """Float weights that include the normalisation, which is undone behind the convolution; 7 bits by a Clip."""
    lines: list[tuple[str, str, str, dict[str, Any]]] = [
        ("Identity", "zr", "zr2", {}),
        ("QuantizeLinear", "x sx zx", "/act0/QuantizeLinear_output_0", {}),
        ("DequantizeLinear", "/act0/QuantizeLinear_output_0 sx zx", "d", {}),
        ("QuantizeLinear", "onnx::QuantizeLinear_1 sw zw", "/c1/QuantizeLinear_output_0", {"axis": 0}),
        ("DequantizeLinear", "/c1/QuantizeLinear_output_0 sw zw", "dw", {"axis": 0}),
        ("Conv", "d dw", "c", {"pads": [1, 1, 1, 1]}),
        ("Div", "c slope", "v", {}),
        ("BatchNormalization", "v gamma beta mean variance", "n", {}),
        ("Clip", "n zero six", "r", {}),
        ("QuantizeLinear", "r sr zr2", "q", {}),
        ("Clip", "q zr most", "/act1/Clip_output_0", {}),
        ("DequantizeLinear", "/act1/Clip_output_0 sr zr2", "dr", {}),
        ("GlobalAveragePool", "dr", "y", {}),
    ]
    arrays = {**PARTS, "mean": MEAN - B, "onnx::QuantizeLinear_1": FOLDED, "slope": SLOPE.reshape(6, 1, 1)}
    arrays |= {"sw": STEPS, "zw": np.zeros(6, np.int8)}
    found = assert_pairs(network(lines, arrays, (1, 3, 8, 8), (1, 6, 1, 1)), small())
    assert found.names["/c1/QuantizeLinear_output_0"] == "w"
    assert found.names["q"] == "r"


def test_reference_modules_of_pytorch() -> None:
    """A Cast before each DequantizeLinear; zero points by ConstantOfShape; the normalisation is folded."""
    folded_bias = (B - MEAN) * SLOPE + BETA
    lines: list[tuple[str, str, str, dict[str, Any]]] = [
        ("ConstantOfShape", "six_of_them", "zeros", {"value": helper.make_tensor("v", TensorProto.INT64, [1], [0])}),
        ("Cast", "zeros", "zw", {"to": TensorProto.INT8}),
        ("Cast", "zeros", "zb", {"to": TensorProto.INT32}),
        ("QuantizeLinear", "x sx zx", "q", {}),
        ("Cast", "q", "/c1/Cast_output_0", {"to": TensorProto.UINT8}),
        ("DequantizeLinear", "/c1/Cast_output_0 sx zx", "d", {}),
        ("DequantizeLinear", "/c1/Constant_output_0 sw zw", "dw", {"axis": 0}),
        ("DequantizeLinear", "/c1/Constant_6_output_0 sb zb", "db", {"axis": 0}),
        ("Conv", "d dw db", "c", {"pads": [1, 1, 1, 1]}),
        ("Clip", "c zero six", "r", {}),
        ("QuantizeLinear", "r sr zr", "/c1/QuantizeLinear_output_0", {}),
        ("DequantizeLinear", "/c1/QuantizeLinear_output_0 sr zr", "dr", {}),
        ("GlobalAveragePool", "dr", "y", {}),
    ]
    arrays = {**PARTS, "six_of_them": np.int64([6]), "sw": STEPS, "sb": STEPS * 0.03}
    arrays["/c1/Constant_output_0"] = np.rint(FOLDED / STEPS.reshape(6, 1, 1, 1)).astype(np.int8)
    arrays["/c1/Constant_6_output_0"] = np.rint(folded_bias / (STEPS * 0.03)).astype(np.int32)
    found = assert_pairs(network(lines, arrays, (1, 3, 8, 8), (1, 6, 1, 1)), small())
    assert found.names["/c1/Constant_6_output_0"] == "beta"


def test_moved_biases_are_listed() -> None:
    """NNCF and AIMET move the biases, which stay floats."""
    lines: list[tuple[str, str, str, dict[str, Any]]] = [
        ("QuantizeLinear", "x sx zx", "q_output_x_1", {}),
        ("DequantizeLinear", "q_output_x_1 sx zx", "dq_output_x_1", {}),
        ("DequantizeLinear", "q_output_w_1 sw none", "dq_output_w_1", {}),
        ("Conv", "dq_output_x_1 dq_output_w_1 b", "c", {"pads": [1, 1, 1, 1]}),
        ("BatchNormalization", "c gamma beta mean variance", "n", {}),
        ("Clip", "n zero six", "r", {}),
        ("QuantizeLinear", "r sr zr", "q_output_r_1", {}),
        ("DequantizeLinear", "q_output_r_1 sr zr", "dq_output_r_1", {}),
        ("GlobalAveragePool", "dq_output_r_1", "y", {}),
    ]
    step = np.abs(W).max() / 127
    arrays = {**PARTS, "b": B + 0.002, "sw": np.float32(step), "q_output_w_1": np.rint(W / step).astype(np.int8)}
    candidate = network(lines, arrays, (1, 3, 8, 8), (1, 6, 1, 1))
    found = pair(candidate, small(), {"x": X})
    assert (list(found.unmatched), [one.name for one in found.moved]) == ([], ["b"])
    (moved,) = found.moved
    assert moved.change == pytest.approx(0.002, rel=1e-3)
    assert moved.steps == pytest.approx(0.002 / (6 / 127), rel=1e-3)
    assert moved_words(found.moved) == (
        "1 bias differs from the float model, as if a tool corrected it: b by 0.042 steps of its output"
    )
    assert found.difference < 1e-5
    plain = network(lines, {**arrays, "b": B}, (1, 3, 8, 8), (1, 6, 1, 1))
    assert not assert_pairs(plain, small()).moved


def test_many_moved_biases_are_named_by_size() -> None:
    found = [MovedBias(f"b{at}", np.zeros(1), 1.0, None if at == 0 else float(at)) for at in range(5)]
    assert moved_words(found) == (
        "5 biases differ from the float model, as if a tool corrected them: b4 by 4 steps of its output, "
        "b3 by 3 steps of its output, b2 by 2 steps of its output and 2 more"
    )
    assert moved_words(found[:1]).endswith(": b0 by 1")
    assert moved_words([]) == ""


def test_a_tensor_that_no_name_helps(tmp_path: Path) -> None:
    """The float file has other names for all; those of constants are names of other tensors in the quantised file."""
    candidate = quantised(convolutional(), tmp_path, per_channel=True)
    real = convolutional()
    words = ["w1", "b1", "w2", "b2", "w3", "b3", "c1", "r1", "p1", "c2", "r2", "a", "g", "f"]
    other = dict(zip(words, ["b1", "w2", "b2", "w1", "b3", "w3", *words[7:], "c1"], strict=True))
    for one in real.graph.initializer:
        one.name = other[one.name]
    for node in real.graph.node:
        node.input[:] = [other.get(name, name) for name in node.input]
        node.output[:] = [other.get(name, name) for name in node.output]
    found = assert_pairs(candidate, real)
    assert found.names["w1_quantized"] == "b1"
    assert found.names["r1_QuantizeLinear_Output"] == other["r1"]


def test_weights_in_another_layout(tmp_path: Path) -> None:
    """Gemm holds [N, K], MatMul [K, N]; a bias may be one of Add."""
    real = convolutional()
    gemm = real.graph.node.pop()
    real.graph.node.append(helper.make_node("MatMul", ["f", "turned"], ["m"]))
    real.graph.node.append(helper.make_node("Add", ["m", "wide"], ["y"]))
    arrays = {one.name: numpy_helper.to_array(one) for one in real.graph.initializer}
    for name, array in (("turned", arrays[gemm.input[1]].T.copy()), ("wide", arrays[gemm.input[2]].reshape(1, 4))):
        real.graph.initializer.append(numpy_helper.from_array(array, name))
    assert_pairs(quantised(convolutional(), tmp_path), real)


def test_weights_that_are_joined() -> None:
    """As those of an LSTM: the file quantises the parts, the float file computes the whole of them."""
    rng = np.random.default_rng(6)
    top, low = rng.standard_normal((2, 4, 3))
    joined = [("Concat", "{a} {b}", "w", {"axis": 1}), ("MatMul", "{x} w", "{m}", {})]
    fill = {"a": "p", "b": "r", "x": "x", "m": "y"}
    real = network([(op, x.format(**fill), y.format(**fill), k) for op, x, y, k in joined], {"p": top, "r": low},
                   (1, 4), (1, 6))  # fmt: skip
    fill = {"a": "dp", "b": "dr", "x": "dx", "m": "m"}
    step = np.float32(np.abs([top, low]).max() / 127)
    lines = [
        ("QuantizeLinear", "x sx zx", "q", {}),
        ("DequantizeLinear", "q sx zx", "dx", {}),
        ("DequantizeLinear", "p8 s", "dp", {}),
        ("DequantizeLinear", "r8 s", "dr", {}),
        *((op, x.format(**fill), y.format(**fill), k) for op, x, y, k in joined),
        ("QuantizeLinear", "m sx zx", "o", {}),
        ("DequantizeLinear", "o sx zx", "y", {}),
    ]
    arrays = {"s": step, "p8": np.rint(top / step).astype(np.int8), "r8": np.rint(low / step).astype(np.int8)}
    arrays |= {"sx": np.float32(0.05), "zx": np.uint8(128)}
    found = assert_pairs(network(lines, arrays, (1, 4), (1, 6)), real, {"x": np.float32([[1, -2, 0.33, 0.71]])})
    assert (found.names["p8"], found.names["r8"]) == ("p", "r")


def test_channels_first_and_last(tmp_path: Path) -> None:
    real = convolutional()
    real.graph.node.insert(0, helper.make_node("Transpose", ["image"], ["x"], perm=[0, 3, 1, 2]))
    real.graph.input[0].CopyFrom(helper.make_tensor_value_info("image", TensorProto.FLOAT, (1, 8, 8, 3)))
    assert_pairs(quantised(convolutional(), tmp_path), real)


def test_an_activation_function_that_the_range_replaces(tmp_path: Path) -> None:
    """A range that ends at 6 by chance is that of a ReLU, where the float model says so."""
    real = convolutional()
    candidate = quantised(real, tmp_path)
    assert not any(node.op_type == "Relu" for node in candidate.graph.node)
    scale = next(one for one in candidate.graph.initializer if one.name == "r1_scale")
    scale.CopyFrom(numpy_helper.from_array(np.float32(5.95 / 255), "r1_scale"))
    found = assert_pairs(candidate, real, {"x": X / 8})  # so small that ReLU and ReLU6 do the same
    kinds = {node.op_type for node in found.mixture.real.graph}
    assert "Relu" in kinds
    assert "Clip" not in kinds


def test_an_image_beyond_the_calibration(tmp_path: Path) -> None:
    """Calibration did not reach 6: the function is that behind the float tensor in front of it."""
    candidate = quantised(small(), tmp_path, inputs=[x / 2 for x in pictures()], prepared=True)
    assert not any(node.op_type == "Clip" for node in candidate.graph.node)
    found = assert_pairs(candidate, small(), {"x": 20 * X})
    (limit,) = (node for node in found.mixture.real.graph if node.op_type == "Clip")
    assert np.asarray(constant(limit.inputs[2])).item() == 6


def one_line(candidate: Any, real: Any, feeds: Feeds | None = None) -> str:
    with pytest.raises(DiagnosisError) as caught:
        pair(candidate, real, feeds or {"x": X})
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def int8(tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    return quantised(convolutional(), tmp_path_factory.mktemp("int8"))


def changed(model: onnx.ModelProto, **arrays: np.ndarray) -> onnx.ModelProto:
    """Return *model* with other constants."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for one in copy.graph.initializer:
        if one.name in arrays:
            one.CopyFrom(numpy_helper.from_array(np.float32(arrays[one.name]), one.name))
    return copy


CURE = (
    "give the float model that was quantised, or - (in Python None): the quantised model without rounding takes its "
    "place"
)


def test_another_training(int8: onnx.ModelProto) -> None:
    rng = np.random.default_rng(9)
    model = convolutional()
    arrays = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    other = changed(model, **{name: rng.standard_normal(array.shape) * 0.3 for name, array in arrays.items()})
    message = one_line(int8, other)
    assert message.startswith("the two models are not one network: ")
    assert "are like none of the float model (another training or graph)" in message
    assert message.endswith(CURE)


def test_a_fine_tuned_one(int8: onnx.ModelProto) -> None:
    message = one_line(int8, changed(convolutional(), w3=np.random.default_rng(4).standard_normal((4, 6))))
    assert "1 of 6 quantised weights, such as 'w3_quantized', are like none of the float model" in message


def test_another_graph(int8: onnx.ModelProto) -> None:
    lines = [("GlobalAveragePool", "x", "g", {}), ("Flatten", "g", "y", {})]
    message = one_line(int8, network(lines, {}, (1, 3, 8, 8), (1, 3)))
    assert message == (
        "the two models are not one network: the float model computes 'y' [1, 3], the quantised one 'y' [1, 4]; " + CURE
    )


def test_no_tensor_matched(int8: onnx.ModelProto) -> None:
    lines = [("GlobalAveragePool", "z", "g", {}), ("Flatten", "g", "y", {})]
    other = network([("Concat", "x u", "z", {"axis": 1}), *lines], {"u": np.ones((1, 1, 8, 8))}, (1, 3, 8, 8), (1, 4))
    other.graph.node[0].input[0] = "k"
    other.graph.node.insert(0, helper.make_node("Exp", ["j"], ["k"]))
    other.graph.node.insert(0, helper.make_node("Cast", ["x"], ["j"], to=TensorProto.FLOAT))
    message = one_line(int8, other)
    assert message.startswith("the two models are not one network: ")


def test_another_input(int8: onnx.ModelProto) -> None:
    larger = convolutional()
    larger.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, 16, 16)))
    message = one_line(int8, larger)
    assert message == "the float model takes 'x' [1, 3, 16, 16], the quantised one [1, 3, 8, 8]; " + CURE
    more = convolutional()
    more.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, (1, 8)))
    assert one_line(int8, more) == "the float model has an input 'mask' that the quantised one lacks; " + CURE


def test_numbers_that_are_not_finite(int8: onnx.ModelProto) -> None:
    message = one_line(int8, changed(convolutional(), b3=np.float32([np.nan, 0, 0, 0])))
    assert message == "the float model gives NaN or infinity in 'y'; correct it, or give another image"


def test_the_order(int8: onnx.ModelProto) -> None:
    real = convolutional()
    assert one_line(real, real) == "no activation of the model is quantised, nor a weight; give the quantised model"
    assert one_line(real, None) == "no activation of the model is quantised, nor a weight; give the quantised model"
    assert one_line(int8, int8) == "the float model is itself quantised; " + CURE
    swapped = "the two models are swapped: the second one is not quantised; give the float model first"
    assert one_line(real, int8) == swapped


def test_weights_alone() -> None:
    lines = [("DequantizeLinear", "v t", "w", {}), ("MatMul", "x w", "y", {})]
    codes = np.arange(-6, 6).astype(np.int8).reshape(4, 3)
    candidate = network(lines, {"t": np.float32(0.3), "v": codes}, (1, 4), (1, 3))
    message = "only weights are quantised, without their real values; give the float model"
    x = np.float32([[1, -2, 0.3, 0.7]])
    assert one_line(candidate, None, {"x": x}) == message
    real = network([("MatMul", "x w", "y", {})], {"w": codes * 0.3 + 0.1}, (1, 4), (1, 3))
    assert_pairs(candidate, real, {"x": x})


def test_the_optimised_file_pairs_as_the_other_does(real: Path) -> None:
    """A TFLite file by tf2onnx, and what ONNX Runtime makes of it."""
    models = real / "models"
    rng = np.random.default_rng(0)
    x = np.cumsum(rng.integers(-3, 4, (1, 96, 96, 3)), 2).clip(-128, 127).astype(np.int8)
    names = []
    for form in ("qdq", "qlinear_ortext"):
        candidate = onnx.load(models / f"vww_mobilenet_96_{form}.onnx")
        original = onnx.load(models / "vww_mobilenet_96_f32.onnx")
        found = assert_pairs(candidate, original, {candidate.graph.input[0].name: x})
        names.append([found.names[one.tensor] for one in found.mixture.quantisers if one.kind == "activation"])
    assert names[0] == names[1]
