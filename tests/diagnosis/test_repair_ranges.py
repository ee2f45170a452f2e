"""Ranges by their effect on the outputs, against numbers computed by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest

from onnxcam.diagnosis.mixture import Mixture
from onnxcam.diagnosis.repair_ranges import Sensitivity, _Sample, weight_units, widest_units
from onnxcam.diagnosis.repair_units import Bench
from onnxcam.graph.quantisers import Quantiser

RNG = np.random.default_rng(3)
X = np.append(RNG.uniform(-1, 1, 15), 40.0).astype(np.float32).reshape(1, 1, 4, 4)
FEEDS = [{"x": X}, {"x": X.transpose(0, 1, 3, 2) * np.float32(0.5)}]


def _network(last: float) -> onnx.ModelProto:
    """y = DQ(Q(x)) · m, where m is 1 except for the *last* element."""
    numbers = ", ".join(["1.0"] * 15 + [str(last)])
    return onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["": 17]>
        g (float[1,1,4,4] x) => (float[1,1,4,4] y)
        <float s = {{0.3}}, uint8 z = {{120}}, float[1,1,4,4] m = {{{numbers}}}> {{
          q = QuantizeLinear(x, s, z)
          d = DequantizeLinear(q, s, z)
          y = Mul(d, m)
        }}""")


def _sensitivity(last: float) -> tuple[Sensitivity, Quantiser, Bench]:
    mixture = Mixture.of(_network(last))
    return Sensitivity(mixture, ["y"], FEEDS, {}), mixture.quantisers[0], Bench(mixture, ["y"], FEEDS)


def test_the_cost_of_rounding_is_the_squared_change_of_the_outputs() -> None:
    found, old, _ = _sensitivity(2.0)
    m = np.array([1.0] * 15 + [2.0]).reshape(4, 4)
    expected = 0.0
    for feeds in FEEDS:
        x = feeds["x"].astype(np.float64)
        clipped = x > old.range[1]
        assert clipped.sum() <= 1  # one error is no sum, so signs do not matter
        expected += float(np.square((old.rounded(x) - x) * m).sum() / np.square(x * m).sum())
    assert found.cost(old) == pytest.approx(expected, rel=1e-5)


def test_errors_of_clipped_values_add_up() -> None:
    units = Quantiser("q", "x", "activation", np.array(0.1), np.array(0), np.dtype(np.uint8), 1)
    sample = _Sample(np.array([30.0, 35.5, 1.04]), np.array([1.0, 1.0, 2.0]), np.array([1.0, 2.0, 1.0]))
    together = 1 * (25.5 - 30) + 2 * (25.5 - 35.5)
    assert sample.cost(units) == pytest.approx(together**2 + (2 * 0.04) ** 2)


def test_a_sample_stands_for_all_elements() -> None:
    x = RNG.standard_normal(100_000).astype(np.float32)
    sample = _Sample.of(x, np.ones_like(x), np.random.default_rng(0))
    assert sample.counts.sum() == pytest.approx(x.size)
    assert (sample.values.min(), sample.values.max()) == (x.min(), x.max())
    units = Quantiser("q", "x", "activation", np.array(0.05), np.array(128), np.dtype(np.uint8), 1)
    assert sample.cost(units) == pytest.approx(float(np.square(units.rounded(x) - x).sum()), rel=0.02)


def test_values_without_effect_do_not_widen_the_range() -> None:
    found, old, bench = _sensitivity(0.0)
    best, widest = found.best(old), found.widest(old)
    assert best is not None
    assert widest is not None
    assert float(widest.range[1]) == pytest.approx(40, rel=0.01)
    assert float(best.range[1]) < 10
    assert bench.damage({"q": best}) < 0.3 * bench.damage({"q": widest})
    found, old, _ = _sensitivity(1.0)
    best = found.best(old)
    assert best is not None
    assert float(best.range[1]) > 35


def test_units_keep_the_form_of_the_integers() -> None:
    def units(dtype: Any, zero: int, narrow: tuple[int, int] | None = None) -> Quantiser:
        return Quantiser("q", "x", "activation", np.array(1.0), np.array(zero), np.dtype(dtype), 1, narrow=narrow)

    found = widest_units(units(np.int8, 0), -1.0, 2.0)
    assert found is not None
    assert (float(found.scale), int(found.zero)) == (pytest.approx(2 / 127), 0)
    found = widest_units(units(np.int8, 5), 1.0, 2.0)
    assert found is not None
    assert (float(found.scale), int(found.zero)) == (pytest.approx(2 / 255), -128)
    found = widest_units(units(np.uint8, 3, (0, 127)), -1.0, 2.0)
    assert found is not None
    assert [float(end) for end in found.range] == pytest.approx([-1.0, 2.0], abs=0.02)
    assert widest_units(units(np.uint8, 3), 0.0, 0.0) is None


def test_weights_get_the_best_scale_of_each_channel() -> None:
    real = RNG.standard_normal((4, 50)).astype(np.float32)
    real[0, 0] = 30.0
    squares = np.ones_like(real)
    squares[0, 0] = 0.0  # the outlier has no effect
    old = Quantiser("w", "w", "weight", np.array(0.5), np.array(0), np.dtype(np.int8), 0)
    found = object.__new__(Sensitivity)
    found._squares, found._originals, found._samples = {"w": squares}, {"w": real}, {}
    best, widest = found.best_weights(old, real, 0), weight_units(old, real, 0)
    assert best is not None
    assert widest is not None
    assert best.scale[0] == pytest.approx(0.2 * widest.scale[0])
    assert (best.scale <= widest.scale).all()
    assert found.cost(best) < found.cost(widest) < found.cost(old)
    assert weight_units(old, 0 * real, 0) is None
    assert weight_units(replace(old, block=2), real, 0) is None
