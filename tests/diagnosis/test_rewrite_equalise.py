"""Cross-layer equalisation: the same in real numbers, and less noise with one scale for all channels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from onnxcam.diagnosis.mixture import ROUNDING, Mixture
from onnxcam.diagnosis.pairing import pair
from onnxcam.diagnosis.repair_units import Bench
from onnxcam.diagnosis.rewrite_equalise import EqualisedFile, LayerPair, equalise, find_pairs
from onnxcam.diagnosis.statistics import TensorStatistics
from onnxcam.engine import Session
from onnxcam.graph.io import load
from tests.quantisers import Calibration

NETWORK = """
<ir_version: 8, opset_import: ["": 17]>
g (float[1,3,8,8] x) => (float[1,5] y) {
  a = Conv<pads = [1,1,1,1]>(x, w1, b1)
  r = FIRST(a)
  c = Conv<pads = [1,1,1,1], group = 6>(r, w2, b2)
  s = Relu(c)
  d = Conv<group = 2>(s, w3, b3)
  m = GlobalAveragePool(d)
  f = Flatten(m)
  y = Gemm<transB = 1>(f, w4, b4)
}
"""
SHAPES = {"w1": (6, 3, 3, 3), "b1": (6,), "w2": (6, 1, 3, 3), "b2": (6,), "w3": (4, 3, 1, 1), "b3": (4,)}
SHAPES |= {"w4": (5, 4), "b4": (5,)}
UNEVEN = np.array([0.01, 1, 0.1, 8, 0.03, 0.5], np.float32)
RNG = np.random.default_rng(5)
FEEDS = {"x": RNG.standard_normal((1, 3, 8, 8)).astype(np.float32)}


@dataclass
class _Files:
    real: Path
    int8: Path
    mixture: Mixture
    statistics: list[TensorStatistics]


def _files(folder: Path, first: str = "Relu") -> _Files:
    """Write a network with uneven channels, and its int8 form with one scale for all channels."""
    quantization = pytest.importorskip("onnxruntime.quantization", reason="onnxruntime cannot quantise here")
    rng = np.random.default_rng(7)
    weights = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in SHAPES.items()}
    for name in ("w1", "w2", "b1", "b2"):
        weights[name] *= np.roll(UNEVEN, int(name[1])).reshape(-1, *(1,) * (weights[name].ndim - 1))
    model = onnx.parser.parse_model(NETWORK.replace("FIRST(a)", first if "(" in first else f"{first}(a)"))
    model.graph.initializer.extend(onnx.numpy_helper.from_array(w, name) for name, w in weights.items())
    ends = {"low": np.float32(0), "high": np.float32(6)}
    model.graph.initializer.extend(onnx.numpy_helper.from_array(np.asarray(w), name) for name, w in ends.items())
    real, int8 = folder / "float.onnx", folder / "int8.onnx"
    onnx.save(model, real)
    quantization.quantize_static(
        str(real),
        str(int8),
        Calibration([FEEDS]),
        quant_format=quantization.QuantFormat.QDQ,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
    )
    mixture = pair(int8, real, FEEDS).mixture
    known = {name: site.after for name, site in mixture.sites.items()}
    model = mixture.model.clone()
    tensors = {value.name: value for node in model.graph for value in node.outputs}
    tensors |= {value.name: value for value in model.graph.inputs}
    model.graph.outputs[:] = [tensors[name] for name in known.values()]
    values = Session(model, "cpu", optimize=False)
    found = values.run({**FEEDS, ROUNDING: mixture.shares(0.0)})
    statistics = [TensorStatistics(one) for one in mixture.quantisers]
    for one in statistics:
        tensor = one.quantiser.tensor
        one.add(found[known[tensor]] if tensor in known else mixture.originals[tensor])
    return _Files(real, int8, mixture, statistics)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> _Files:
    return _files(tmp_path_factory.mktemp("equalise"))


@pytest.fixture(scope="module")
def made(files: _Files) -> EqualisedFile:
    return equalise(load(files.int8), files.mixture, find_pairs(files.mixture), files.statistics)


def _run(model: Any, feeds: dict[str, Any] = FEEDS) -> np.ndarray:
    return next(iter(Session(model, "cpu", optimize=False).run(feeds).values()))


def test_factors_make_the_ranges_equal() -> None:
    rng = np.random.default_rng(1)
    weights = {"w1": rng.standard_normal((6, 3, 3, 3)), "b1": rng.standard_normal(6)}
    weights["w2"] = rng.standard_normal((4, 3, 1, 1))  # two groups
    one = LayerPair("a", "w1", "b1", "w2", 2)
    s = one.factors(weights)
    found = one.scaled(weights, s)
    first = np.abs(found["w1"]).max((1, 2, 3))
    second = np.concatenate([np.abs(found["w2"][:2]).max((0, 2, 3)), np.abs(found["w2"][2:]).max((0, 2, 3))])
    assert np.allclose(first, second)
    assert np.allclose(found["b1"] * s, weights["b1"])
    weights["w1"][2] = 0
    assert one.factors(weights)[2] == 1


def test_pairs_are_convolutions_with_a_relu_between_them(files: _Files) -> None:
    found = find_pairs(files.mixture)
    assert [(one.first[:2], (one.bias or "")[:2], one.second[:2], one.group) for one in found] == [
        ("w1", "b1", "w2", 6),
        ("w2", "b2", "w3", 2),
    ]


@pytest.mark.parametrize("first", ["Clip(a, low, high)", "Sigmoid"])
def test_other_functions_are_left_alone(tmp_path: Path, first: str) -> None:
    assert [one.first[:2] for one in find_pairs(_files(tmp_path, first).mixture)] == ["w2"]


def test_nothing_changes_in_real_numbers(files: _Files, made: EqualisedFile) -> None:
    before, after = _run(files.mixture.real.clone()), _run(made.mixture.real.clone())
    assert np.abs(after - before).max() <= 1e-6 * np.abs(before).max()
    assert np.abs(before - _run(load(files.real))).max() <= 1e-5 * np.abs(before).max()
    assert made.activations == [one.activation for one in find_pairs(files.mixture)]


def test_the_file_computes_what_its_mixture_says_with_less_noise(files: _Files, made: EqualisedFile) -> None:
    found = _run(made.model.clone())
    mixed = _run(made.mixture.model.clone(), {**FEEDS, ROUNDING: made.mixture.shares(1.0)})
    step = float(next(one.scale for one in made.mixture.quantisers if one.tensor.startswith("y")))
    assert np.abs(found - mixed).max() <= 1.1 * step
    before = Bench(files.mixture, ["y"], [FEEDS]).damage({})
    assert Bench(made.mixture, ["y"], [FEEDS]).damage({}) < 0.5 * before
    assert float(np.linalg.norm(found - _run(load(files.real)))) < float(
        np.linalg.norm(_run(load(files.int8)) - _run(load(files.real)))
    )
