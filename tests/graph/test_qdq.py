"""Quantised models in the forms that ONNX Runtime writes, brought into one: the mixture of each equals its run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxcam.autodiff import STANDARD
from onnxcam.bake.dequantise import dequantise
from onnxcam.diagnosis.mixture import ROUNDING, Mixture
from onnxcam.diagnosis.pairing import pair
from onnxcam.errors import ModelError
from onnxcam.graph.io import load, to_proto
from onnxcam.graph.qdq import fold_weights, has_integer_operators, lower_to_qdq
from onnxcam.passes import canonical
from tests.quantisers import convolutional, network, optimised, pictures, quantised, run
from tests.runtime import new_runtime

quantization = pytest.importorskip("onnxruntime.quantization")
LEVELS = ("", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL")


def assert_mixes(model: onnx.ModelProto, x: np.ndarray, step: float = 1e-5) -> Mixture:
    """Assert that the mixture of *model* with all shares at 1 computes what the model does, up to *step*."""
    mixture = Mixture.of(model)
    mixed = run(to_proto(mixture.model), {"x": x, ROUNDING: mixture.shares(1.0)})
    np.testing.assert_allclose(mixed, run(model, {"x": x}), atol=step)
    return mixture


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("format", ["QDQ", "QOperator"])
@pytest.mark.parametrize("channels", [False, True])
def test_both_formats_and_optimised(tmp_path: Path, format: str, channels: bool, level: str) -> None:
    settings = {"quant_format": quantization.QuantFormat[format], "per_channel": channels}
    plain = model = quantised(convolutional(), tmp_path, **settings)
    if level:
        model = optimised(model, tmp_path, level)
    x = pictures()[0]
    mixture = assert_mixes(model, x)
    assert sum(one.kind != "activation" for one in mixture.fixed) == 6  # 3 weights, 3 biases
    np.testing.assert_allclose(
        run(to_proto(dequantise(model)), {"x": x}), run(to_proto(dequantise(plain)), {"x": x}), atol=1e-5
    )


@new_runtime
@pytest.mark.parametrize(
    "settings",
    [
        {"activation_type": "QInt8", "weight_type": "QInt8"},
        {"activation_type": "QUInt8", "weight_type": "QUInt8", "quant_format": "QOperator"},
        {"activation_type": "QInt16"},
        {"weight_type": "QInt4"},
        {"extra_options": {"ActivationSymmetric": True, "WeightSymmetric": False}},
        {"extra_options": {"AddQDQPairToWeight": True}},
        {"extra_options": {"DedicatedQDQPair": True}},
    ],
    ids=str,
)
def test_data_types(tmp_path: Path, settings: dict[str, Any]) -> None:
    kinds = {name: getattr(quantization.QuantType, kind) for name, kind in settings.items() if name.endswith("_type")}
    settings = {**settings, **kinds}
    if "quant_format" in settings:
        settings["quant_format"] = quantization.QuantFormat[settings["quant_format"]]
    assert_mixes(quantised(convolutional(), tmp_path, **settings), pictures()[0])


def test_names_stay(tmp_path: Path) -> None:
    """Integer tensors keep their names; the float operator takes the node's."""
    model = quantised(convolutional(), tmp_path, quant_format=quantization.QuantFormat.QOperator)
    lowered = canonical(load(model), STANDARD)
    assert has_integer_operators(lowered)
    lower_to_qdq(lowered, STANDARD.compositions)
    assert not has_integer_operators(lowered)
    before = [one for one in model.graph.node if one.op_type == "QLinearConv"]
    after = [one for one in lowered.graph if one.op_type == "Conv"]
    assert [one.name for one in after] == [one.name for one in before]
    written = {y.name for one in lowered.graph if one.op_type == "QuantizeLinear" for y in one.outputs}
    assert {one.output[0] for one in before} <= written


OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "QLinearSigmoid": ("q s z t z", {}),
    "QLinearLeakyRelu": ("q s z t z", {"alpha": 0.1}),
    "QLinearMul": ("q s z q s z t z", {}),
    "QLinearConcat": ("t z q s z q s z", {"axis": 1}),
    "QLinearAveragePool": ("q s z t z", {"kernel_shape": [2, 2]}),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_operators(name: str) -> None:
    inputs, settings = OTHERS[name]
    lines = [
        ("QuantizeLinear", "x s z", "q", {}),
        (name, inputs, "p", {"domain": "com.microsoft", **settings}),
        ("DequantizeLinear", "p t z", "y", {}),
    ]
    shape = {"QLinearConcat": (1, 6, 8, 8), "QLinearAveragePool": (1, 3, 7, 7)}
    arrays = {"s": np.float32(0.05), "t": np.float32(0.04), "z": np.uint8(120)}
    model = network(lines, arrays, (1, 3, 8, 8), shape.get(name, (1, 3, 8, 8)))
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    mixture = assert_mixes(model, pictures()[0], step=0.0401)  # one step: ONNX Runtime rounds in another way
    assert [one.tensor for one in mixture.quantisers] == ["q", "p"]


def test_dynamic_quantisation_is_refused(tmp_path: Path) -> None:
    onnx.save(convolutional(), tmp_path / "float.onnx")
    quantization.quantize_dynamic(tmp_path / "float.onnx", tmp_path / "dynamic.onnx")
    message = (
        r"operator DynamicQuantizeLinear \(node '.*'\) quantises with a scale that it computes at run time; .*static"
    )
    for use in (Mixture.of, dequantise):
        with pytest.raises(ModelError, match=message) as caught:
            use(tmp_path / "dynamic.onnx")  # type: ignore[operator]
        assert "\n" not in str(caught.value)


def test_an_operator_without_float_form() -> None:
    lines = [("QuantizeLinear", "x s z", "q", {}), ("QLinearNew", "q s z t z", "p", {"domain": "com.microsoft"})]
    lines.append(("DequantizeLinear", "p s z", "y", {}))
    model = network(lines, {"s": np.float32(1), "t": np.float32(1), "z": np.uint8(0)}, (1, 4), (1, 4))
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    with pytest.raises(ModelError, match=r"operator com.microsoft::QLinearNew \(node 'node_p'\).*no float form; give"):
        Mixture.of(model)


W = np.random.default_rng(1).standard_normal((4, 3)).astype(np.float32)


def weights(*lines: tuple[str, str, str, dict[str, Any]], **arrays: Any) -> onnx.ModelProto:
    """x quantised · *lines*, which make the weights w."""
    whole = [
        ("QuantizeLinear", "x s z", "q", {}),
        ("DequantizeLinear", "q s z", "d", {}),
        *lines,
        ("MatMul", "d w", "m", {}),
        ("QuantizeLinear", "m s z", "o", {}),
        ("DequantizeLinear", "o s z", "y", {}),
    ]
    known = {"s": np.float32(0.05), "z": np.uint8(128), "t": np.float32(0.03), "i": np.int8(0)}
    return network(whole, {**known, **arrays}, (1, 4), (1, 3), opset=21)


def test_float_weights_in_front_of_a_quantiser() -> None:
    """As exporters of quantisation-aware training write them: the float weights are known."""
    model = weights(
        ("Transpose", "v", "u", {"perm": [1, 0]}),
        ("QuantizeLinear", "u t i", "c", {}),
        ("DequantizeLinear", "c t i", "w", {}),
        v=W.T.copy(),
    )
    mixture = assert_mixes(model, np.float32([[1, -2, 0.3, 0.7]]))
    (weight,) = (one for one in mixture.quantisers if one.kind == "weight")
    np.testing.assert_array_equal(mixture.originals[weight.tensor], W)


def test_integer_weights_that_are_moved() -> None:
    integers = np.rint(W / 0.03).astype(np.int8)
    model = weights(
        ("Reshape", "v n", "r", {}), ("Transpose", "r", "c", {}), ("DequantizeLinear", "c t i", "w", {}),
        v=integers.T.copy().ravel(), n=np.int64([3, 4]),
    )  # fmt: skip
    mixture = assert_mixes(model, np.float32([[1, -2, 0.3, 0.7]]))
    assert [one.tensor for one in mixture.fixed] == ["c"]


def test_integers_that_are_split() -> None:
    """As in the attention of a transformer: each part of the integers goes its own way."""
    lines = [
        ("QuantizeLinear", "x s z", "q", {}),
        ("Split", "q", "a b", {"axis": 1, "num_outputs": 2}),
        ("Reshape", "b two", "c", {}),
        ("DequantizeLinear", "a s z", "da", {}),
        ("DequantizeLinear", "c s z", "dc", {}),
        ("Add", "da dc", "y", {}),
    ]
    arrays = {"s": np.float32(0.05), "z": np.uint8(128), "two": np.int64([1, 2])}
    model = network(lines, arrays, (1, 4), (1, 2), opset=18)
    mixture = assert_mixes(model, np.float32([[1, -2, 0.33, 0.71]]))
    assert [one.tensor for one in mixture.quantisers] == ["q"]


def test_a_table_of_integers() -> None:
    """Embedded words: a Gather reads integers, and DequantizeLinear comes after a Transpose."""
    table = np.arange(-10, 10).astype(np.int8).reshape(5, 4)
    lines = [
        ("ArgMax", "x", "word", {"axis": 1, "keepdims": 0}),
        ("Gather", "table word", "g", {"axis": 0}),
        ("Transpose", "g", "t", {"perm": [1, 0]}),
        ("DequantizeLinear", "t s none", "y", {}),
    ]
    model = network(lines, {"table": table, "s": np.float32(0.1), "none": np.int8(0)}, (1, 5), (4, 1))
    x = np.float32([[0, 1, 5, 2, 3]])
    twin = to_proto(dequantise(model))
    np.testing.assert_allclose(run(twin, {"x": x}), run(model, {"x": x}), rtol=1e-6)
    real = network([*lines[:1], ("Gather", "table word", "g", {}), ("Transpose", "g", "y", {"perm": [1, 0]})],
                   {"table": table * 0.1 + 0.01}, (1, 5), (4, 1))  # fmt: skip
    found = pair(model, real, {"x": x})
    assert (found.names, found.difference) == ({"table": "table"}, 0)


@pytest.mark.parametrize("name", ["ReduceMax", "ArgMax"])
def test_the_largest_integer(name: str) -> None:
    lines = [("QuantizeLinear", "x s z", "q", {}), (name, "q", "m", {"axis": 1} if name == "ArgMax" else {"axes": [1]})]
    lines.append(("Cast", "m", "y", {"to": 1}) if name == "ArgMax" else ("DequantizeLinear", "m s z", "y", {}))
    model = network(lines, {"s": np.float32(0.05), "z": np.uint8(128)}, (1, 4), (1, 1))
    assert_mixes(model, np.float32([[1, -2, 1.4, 0.7]]))


def test_seven_bits() -> None:
    """PyTorch limits the integers by a Clip."""
    model = weights(
        ("Clip", "q low high", "k", {}), ("DequantizeLinear", "v t i", "w", {}),
        v=np.rint(W / 0.03).astype(np.int8), low=np.uint8(100), high=np.uint8(150),
    )  # fmt: skip
    at = next(node for node in model.graph.node if node.output[0] == "d")
    at.input[0] = "k"
    clip = next(node for node in model.graph.node if node.op_type == "Clip")
    model.graph.node.remove(clip)
    model.graph.node.insert(1, clip)
    mixture = assert_mixes(model, np.float32([[4, -3, 0.3, 0.7]]))
    assert mixture.quantisers[0].limits == (100, 150)
    assert [node.op_type for node in mixture.real.graph] == ["MatMul"]


def test_blocks_of_weights() -> None:
    from ml_dtypes import int4

    scales = np.float32([[0.3, 0.4, 0.5], [0.6, 0.7, 0.8]])
    model = weights(("DequantizeLinear", "v b", "w", {"axis": 0, "block_size": 2}), b=scales)
    codes = np.arange(-6, 6).reshape(4, 3)
    model.graph.initializer.append(numpy_helper.from_array(codes.astype(int4), "v"))
    assert model.graph.initializer[-1].data_type == TensorProto.INT4
    mixture = assert_mixes(model, np.float32([[1, -2, 0.3, 0.7]]))
    np.testing.assert_allclose(mixture.weights["v"], codes * np.repeat(scales, 2, 0), rtol=1e-6)


@pytest.mark.parametrize("symmetric", [True, False])
def test_packed_weights(tmp_path: Path, symmetric: bool) -> None:
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    w = np.random.default_rng(2).standard_normal((40, 6))  # the last block of 16 is half full
    model = network([("MatMul", "x w", "y", {})], {"w": w}, (1, 40), (1, 6))
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    quantiser = MatMulNBitsQuantizer(copy, block_size=16, is_symmetric=symmetric)
    quantiser.process()
    candidate = quantiser.model.model
    assert [node.op_type for node in candidate.graph.node] == ["MatMulNBits"]
    x = np.random.default_rng(3).standard_normal((1, 40)).astype(np.float32)
    twin = run(to_proto(dequantise(candidate)), {"x": x})
    np.testing.assert_allclose(twin, run(candidate, {"x": x}), rtol=1e-3, atol=1e-3)
    found = pair(candidate, model, {"x": x})
    (weight,) = found.mixture.quantisers
    assert found.names[weight.tensor] == "w"
    assert weight.limits == (0, 15)
    mixed = run(to_proto(found.mixture.model), {"x": x, ROUNDING: found.mixture.shares(1.0)})
    np.testing.assert_allclose(mixed, twin, rtol=1e-4, atol=1e-5)


def test_packed_weights_in_another_order() -> None:
    settings = {"domain": "com.microsoft", "K": 16, "N": 3, "bits": 4, "block_size": 16}
    arrays = {"v": np.zeros((3, 1, 8), np.uint8), "s": np.ones(3, np.float32), "g": np.arange(16, dtype=np.int32)}
    model = network([("MatMulNBits", "x v s none g", "y", settings)], arrays, (1, 16), (1, 3))
    model.graph.node[0].input[3] = ""
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    with pytest.raises(
        ModelError, match=r"operator MatMulNBits \(node 'node_y'\) has weights that are .*; give the model"
    ):
        dequantise(model)


@pytest.mark.parametrize("scale", ["s", "t"])
def test_joined_parts_are_rounded_again(scale: str) -> None:
    """The quantiser of joined tensors repeats those of the parts only if all of them round as it does."""
    lines = [
        ("QuantizeLinear", "x s z", "q", {}),
        ("DequantizeLinear", "q s z", "d", {}),
        ("Neg", "d", "n", {}),
        ("QuantizeLinear", f"n {scale} z", "p", {}),
        ("DequantizeLinear", f"p {scale} z", "e", {}),
        ("Concat", "d e", "j", {"axis": 1}),
        ("QuantizeLinear", "j s z", "r", {}),
        ("DequantizeLinear", "r s z", "y", {}),
    ]
    arrays = {"s": np.float32(0.05), "t": np.float32(0.031), "z": np.uint8(128)}
    mixture = assert_mixes(network(lines, arrays, (1, 4), (1, 8)), np.float32([[1, -2, 0.33, 0.71]]))
    assert mixture.repeats == ({"r": "q"} if scale == "s" else {})


def test_shared_weights_have_one_quantiser() -> None:
    square = np.rint(np.eye(4) * 20).astype(np.int8)
    lines = [
        ("QuantizeLinear", "x s z", "q", {}),
        ("QuantizeLinear", "x s z", "q2", {}),
        ("DequantizeLinear", "q s z", "d", {}),
        ("DequantizeLinear", "q2 s z", "d2", {}),
        ("DequantizeLinear", "v s i", "w", {}),
        ("DequantizeLinear", "v s i", "w2", {}),
        ("MatMul", "d w", "m", {}),
        ("MatMul", "d2 w2", "n", {}),
        ("Sub", "m n", "y", {}),
    ]
    model = network(
        lines, {"s": np.float32(0.05), "z": np.uint8(128), "v": square, "i": np.int8(0)}, (1, 4), (1, 4), opset=18
    )
    mixture = assert_mixes(model, np.float32([[1, -2, 0.3, 0.7]]))
    assert [one.tensor for one in (*mixture.quantisers, *mixture.fixed)] == ["q", "v"]
    assert mixture.repeats == {"q2": "q"}


def test_weights_alone_are_quantised() -> None:
    model = network(
        [("DequantizeLinear", "v t", "w", {}), ("MatMul", "x w", "y", {})],
        {"t": np.float32(0.03), "v": np.rint(W / 0.03).astype(np.int8)}, (1, 4), (1, 3),
    )  # fmt: skip
    mixture = assert_mixes(model, np.float32([[1, -2, 0.3, 0.7]]), step=0.01)  # ONNX Runtime rounds x too
    assert (mixture.quantisers, len(mixture.fixed)) == ([], 1)
    ir_model = load(model)
    assert fold_weights(ir_model) == {}


def test_a_real_one(real: Path) -> None:
    """The optimised file has the quantisers of the QDQ file, in the same order."""
    first, second = (
        Mixture.of(real / "models" / f"vww_mobilenet_96_{form}.onnx") for form in ("qdq", "qlinear_ortext")
    )
    assert sorted(one.kind for one in first.fixed) == sorted(one.kind for one in second.fixed)
    assert len(first.quantisers) == len(second.quantisers) == 30
    for a, b in zip(first.quantisers, second.quantisers, strict=True):
        np.testing.assert_allclose(a.scale, b.scale, rtol=1e-6)
