"""Rewrites of a quantised file: the file computes what the mixture says, and all else is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from onnxcam.diagnosis.mixture import ROUNDING, Mixture
from onnxcam.diagnosis.pairing import pair
from onnxcam.diagnosis.repair_units import Bench
from onnxcam.diagnosis.rewrite import in_float, is_joined, rewritable
from onnxcam.diagnosis.rewrite_units import add_to_bias, requantise
from onnxcam.engine import Session
from onnxcam.errors import DiagnosisError
from onnxcam.graph.io import load, to_bytes
from onnxcam.graph.quantisers import Quantiser
from tests.quantisers import Calibration
from tests.quantized import qdq

RNG = np.random.default_rng(5)
NETWORK = """
<ir_version: 8, opset_import: ["": 17]>
g (float[1,3,8,8] x) => (float[1,5] y) {
  a = Conv<pads = [1,1,1,1]>(x, w1, b1)
  r = Relu(a)
  p = MaxPool<kernel_shape = [2,2], strides = [2,2]>(r)
  c = Conv<pads = [1,1,1,1], group = 6>(p, w2, b2)
  s = Relu(c)
  j = Concat<axis = 1>(p, s)
  m = GlobalAveragePool(j)
  f = Flatten(m)
  y = Gemm<transB = 1>(f, w3, b3)
}
"""
SHAPES = {"w1": (6, 3, 3, 3), "b1": (6,), "w2": (6, 1, 3, 3), "b2": (6,), "w3": (5, 12), "b3": (5,)}
FEEDS = {"x": RNG.standard_normal((1, 3, 8, 8)).astype(np.float32)}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a float network and its int8 form."""
    quantization = pytest.importorskip("onnxruntime.quantization", reason="onnxruntime cannot quantise here")
    folder = tmp_path_factory.mktemp("rewrite")
    model = onnx.parser.parse_model(NETWORK)
    weights = {name: (0.3 * RNG.standard_normal(shape)).astype(np.float32) for name, shape in SHAPES.items()}
    model.graph.initializer.extend(onnx.numpy_helper.from_array(w, name) for name, w in weights.items())
    onnx.save(model, folder / "float.onnx")
    quantization.quantize_static(
        str(folder / "float.onnx"),
        str(folder / "int8.onnx"),
        Calibration([FEEDS]),
        quant_format=quantization.QuantFormat.QDQ,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
    )
    return folder / "float.onnx", folder / "int8.onnx"


@pytest.fixture(scope="module")
def mixture(files: tuple[Path, Path]) -> Mixture:
    """Return the mixture of both."""
    return pair(files[1], files[0], FEEDS).mixture


def _run(model: Any, feeds: dict[str, Any] = FEEDS, optimize: bool = False) -> np.ndarray:
    return next(iter(Session(model, "cpu", optimize=optimize).run(feeds).values()))


def _mixed(mixture: Mixture, *tensors: str) -> np.ndarray:
    shares = {one.tensor: float(one.tensor not in tensors) for one in mixture.quantisers}
    return _run(mixture.model.clone(), {**FEEDS, ROUNDING: mixture.shares(shares)})


def _one(mixture: Mixture, start: str) -> Quantiser:
    return next(one for one in mixture.quantisers if one.tensor.startswith(start))


def test_each_tensor_in_float_equals_the_mixture(files: tuple[Path, Path], mixture: Mixture) -> None:
    names = rewritable(load(files[1]), mixture)
    assert len(names) == len(mixture.quantisers) >= 9
    for chosen in (*([name] for name in names), names[::2]):
        model = load(files[1])
        in_float(model, chosen, mixture)
        step = float(_one(mixture, "y_").scale)
        assert np.abs(_run(model) - _mixed(mixture, *chosen)).max() <= 1.1 * step  # a tie may be rounded the other way


def test_all_tensors_in_float_are_the_float_model(files: tuple[Path, Path], mixture: Mixture) -> None:
    model = load(files[1])
    in_float(model, rewritable(model, mixture), mixture)
    assert not any("Quantize" in node.op_type for node in model.graph)
    assert np.allclose(_run(model), _run(load(files[0])), atol=1e-5)


def test_a_relu_that_the_range_replaced_comes_back(mixture: Mixture, files: tuple[Path, Path]) -> None:
    replaced = [one.tensor for one in mixture.quantisers if one.tensor in mixture.rectified]
    assert replaced
    model = load(files[1])
    in_float(model, replaced, mixture)
    assert sum(node.op_type in ("Relu", "Clip") for node in model.graph) == len(replaced)


def test_what_is_not_named_is_kept(files: tuple[Path, Path], mixture: Mixture) -> None:
    chosen = _one(mixture, "r_").tensor
    model = load(files[1])
    in_float(model, [chosen], mixture)
    before, after = load(files[1]), load(to_bytes(model))
    for name, weight in after.graph.initializers.items():
        if name in before.graph.initializers:
            assert weight.const_value is not None
            assert np.array_equal(weight.const_value.numpy(), before.graph.initializers[name].const_value.numpy())
    assert {node.name for node in after.graph if "Quantize" not in node.op_type} - {
        node.name for node in before.graph
    } == {node.name for node in after.graph if node.op_type == "Relu"}


def test_pooling_of_integers_becomes_pooling_of_floats() -> None:
    model, feeds = qdq(), {"x": np.random.default_rng(1).standard_normal((1, 3, 8, 8)).astype(np.float32)}
    mixture = Mixture.of(model)
    made = load(model)
    in_float(made, ["qa"], mixture)
    shares = {one.tensor: float(one.tensor != "qa") for one in mixture.quantisers}
    expected = _run(mixture.model.clone(), {**feeds, ROUNDING: mixture.shares(shares)})
    assert np.allclose(_run(made, feeds), expected, atol=1e-5)


@pytest.mark.parametrize("chosen", [["qa"], ["qb"], ["qa", "qb"]])
def test_a_concatenation_of_integers_becomes_one_of_floats(chosen: list[str]) -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["": 17]>
        g (float[1,4] x) => (float[1,8] y) <float s = {0.1}, uint8 z = {100}> {
          b = Neg(x)
          qa = QuantizeLinear(x, s, z)
          qb = QuantizeLinear(b, s, z)
          c = Concat<axis = 1>(qa, qb)
          d = DequantizeLinear(c, s, z)
          y = Mul(d, s)
        }""")
    feeds = {"x": np.linspace(-0.33, 0.41, 4, dtype=np.float32)[None]}
    mixture, made = Mixture.of(model), load(model)
    in_float(made, chosen, mixture)
    shares = {one.tensor: float(one.tensor not in chosen) for one in mixture.quantisers}
    expected = _run(mixture.model.clone(), {**feeds, ROUNDING: mixture.shares(shares)})
    assert np.allclose(_run(made, feeds), expected, atol=1e-6)
    assert is_joined(load(model), "qa")


def test_an_output_in_integers_is_float_only_if_asked() -> None:
    model = qdq(integer=True)
    mixture = Mixture.of(model)
    assert "qy" in {one.tensor for one in mixture.quantisers} - set(rewritable(load(model), mixture))
    made = load(model)
    in_float(made, rewritable(made, mixture, outputs=True), mixture)
    feeds = {"qx": np.random.default_rng(1).integers(0, 255, (1, 3, 8, 8)).astype(np.uint8)}
    assert [value.name for value in made.graph.outputs] == ["qy"]
    assert np.allclose(_run(made, feeds), _run(mixture.real.clone(), feeds), atol=1e-5)


def test_requantised_activation_rounds_by_the_new_units(files: tuple[Path, Path], mixture: Mixture) -> None:
    for start in ("x_", "r_", "y_"):
        old = _one(mixture, start)
        new = replace(old, scale=old.scale * 1.7, zero=old.zero // 2)
        model = load(files[1])
        if is_joined(model, new.tensor):
            continue
        requantise(model, new, mixture)
        fresh = Mixture.of(
            to_bytes(model),
            {one.real: mixture.originals[one.tensor] for one in mixture.quantisers if one.tensor in mixture.originals},
            {},
        )
        found = _one(fresh, start)
        assert np.allclose(found.scale, new.scale)
        assert found.zero == new.zero
        expected = _run(fresh.model.clone(), {**FEEDS, ROUNDING: fresh.shares(1.0)})
        assert np.abs(_run(model) - expected).max() <= 1.1 * _one(fresh, "y_").scale
        assert np.abs(_run(model) - _run(model, optimize=True)).max() <= 2.1 * _one(fresh, "y_").scale


def test_weights_are_quantised_per_channel_and_their_bias_follows(files: tuple[Path, Path], mixture: Mixture) -> None:
    old = _one(mixture, "w2")
    w = mixture.originals[old.tensor]
    scale = np.abs(w).max((1, 2, 3)) / 127.0
    model = load(files[1])
    requantise(model, replace(old, scale=scale, zero=np.zeros(6, np.int64), axis=0), mixture)
    fresh = Mixture.of(to_bytes(model))
    assert np.abs(fresh.weights[old.tensor] - w).max() <= scale.max() / 2 + 1e-7
    bias = next(one for one in fresh.fixed if one.tensor.startswith("b2"))
    assert bias.scale.shape == (6,)
    assert np.allclose(bias.scale, _one(fresh, "r_").scale * scale, rtol=1e-5)
    assert np.allclose(fresh.weights[bias.tensor], mixture.originals[bias.tensor], atol=bias.scale.max())


def test_bias_correction_adds_to_the_bias(files: tuple[Path, Path], mixture: Mixture) -> None:
    bias = _one(mixture, "b3")
    model = load(files[1])
    add_to_bias(model, bias.tensor, np.full(5, 0.25))
    after = Mixture.of(to_bytes(model)).weights[bias.tensor]
    assert np.allclose(after - mixture.weights[bias.tensor], 0.25, atol=bias.scale.max())


def test_a_tensor_that_the_file_lacks_is_named(files: tuple[Path, Path], mixture: Mixture) -> None:
    with pytest.raises(DiagnosisError, match="no quantised tensor 'q'"):
        in_float(load(files[1]), ["q"], mixture)


@pytest.mark.parametrize("start", ["x_", "r_", "m_", "w1", "b1"])
def test_the_bench_measures_what_the_file_does(files: tuple[Path, Path], mixture: Mixture, start: str) -> None:
    bench = Bench(mixture, ["y"], [FEEDS])
    old = _one(mixture, start)
    new = replace(old, scale=old.scale * (3 if start == "b1" else 25))
    model = load(files[1])
    requantise(model, new, mixture)
    real = _run(load(files[0]))
    found = bench.damage({new.tensor: new})
    change = float(np.linalg.norm(_run(model) - real) / np.linalg.norm(real))
    assert bench.takes(new.tensor)
    assert found == pytest.approx(change, abs=2 * float(_one(mixture, "y_").scale) / float(np.linalg.norm(real)))
    assert found > bench.damage({}) or start == "b1"
