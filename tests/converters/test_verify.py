"""What the verification compares where outputs are empty, saturated or NaN on random inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnxcam_converters.source import Arrays, Exported
from onnxcam_converters.verify import Verifier

from onnxcam.errors import ConversionError
from onnxcam.graph.io import load


class Framework:
    """A source with one input, [2, 4] in [0, 1), that computes *function*."""

    framework = "framework 1"

    def __init__(self, function: Callable[[np.ndarray], np.ndarray]) -> None:
        self.function = function

    def export(self, path: Path) -> Exported:
        raise NotImplementedError

    def example(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return {"x": rng.random((2, 4), np.float32)}

    def run(self, feeds: Arrays, layers: Sequence[str]) -> dict[str, np.ndarray]:
        return {"y": self.function(feeds["x"])}

    def gradients(self, feeds: Arrays, cotangents: Arrays, layers: Sequence[str]) -> dict[str, np.ndarray]:
        return {}


def sigmoid(x: np.ndarray, scale: float, bias: float) -> np.ndarray:
    with np.errstate(over="ignore"):
        return (1 / (1 + np.exp(-(scale * x + bias)))).astype(np.float32)


def sigmoid_model(scale: float, bias: float) -> ir.Model:
    return load(
        onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[n, 4] x) => (float[n, 4] y) <float s = {{{scale}}}, float b = {{{bias}}}> {{
            scaled = Mul(x, s)
            logits = Add(scaled, b)
            y = Sigmoid(logits)
        }}
        """)
    )


@pytest.mark.parametrize("bias", [-60.0, 30.0])
def test_saturated_probabilities_are_compared_where_they_are_not(bias: float) -> None:
    verifier = Verifier(Framework(lambda x: sigmoid(x, -np.sign(bias), bias)), {})
    verifier.forward(sigmoid_model(-float(np.sign(bias)), bias), [])
    assert [row.feed for row in verifier.rows] == ["random, times 255"]
    assert verifier.notes == [
        "output 'y' is saturated: 0 or 1 everywhere on random inputs; it is compared on others (random, times 255)"
    ]


def test_another_score_before_a_saturated_probability_is_found() -> None:
    with pytest.raises(ConversionError, match="output 'y' of the float32 file differs"):
        Verifier(Framework(lambda x: sigmoid(x, 1.0, -60.0)), {}).forward(sigmoid_model(0.5, -60.0), [])


def test_probabilities_that_stay_saturated_have_the_scale_1_and_a_note() -> None:
    """1e-39 and 0 are the same probability."""
    verifier = Verifier(Framework(lambda x: sigmoid(x, 0.0, -90.0)), {})
    verifier.forward(sigmoid_model(0.0, -300.0), [])
    (row,) = verifier.rows
    assert row.holds
    assert row.feed == "random"
    assert verifier.notes == [
        "output 'y' is saturated: 0 or 1 everywhere on random inputs, so comparing it shows nothing; give images with "
        "objects (--verify-on)"
    ]


def rows_model(limit: float) -> ir.Model:
    return load(
        onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[n, 4] x) => (float[k, 4] y) <float limit = {{{limit}}}, int64[1] axis = {{1}}> {{
            largest = ReduceMax<axes = [1], keepdims = 0>(x)
            kept = Greater(largest, limit)
            y = Compress<axis = 0>(x, kept)
        }}
        """)
    )


def test_empty_outputs_are_compared_where_they_are_not() -> None:
    verifier = Verifier(Framework(lambda x: x[x.max(1) > 100]), {})
    verifier.forward(rows_model(100), [])
    assert [row.feed for row in verifier.rows] == ["random, times 255"]
    assert "output 'y' is empty on random inputs; it is compared on others" in verifier.notes[0]


def test_outputs_that_stay_empty_prove_nothing() -> None:
    verifier = Verifier(Framework(lambda x: x[x.max(1) > 1e6]), {})
    verifier.forward(rows_model(1e6), [])
    assert "output 'y' is empty on random inputs, so comparing it shows nothing" in verifier.notes[0]


def test_what_is_nan_in_both_is_no_difference() -> None:
    """A model that divides by zero does so in its framework too: the exporter changed nothing."""
    verifier = Verifier(Framework(lambda x: sigmoid(x, 1.0, np.nan)), {})
    verifier.forward(sigmoid_model(1.0, float("nan")), [])
    assert all(row.holds for row in verifier.rows)
    assert verifier.notes == [
        "output 'y' is NaN or infinite everywhere on random inputs, so comparing it shows nothing; give images with "
        "objects (--verify-on)"
    ]


def test_what_is_nan_in_the_file_alone_is_a_difference() -> None:
    with pytest.raises(ConversionError, match="differs from that of framework 1 by nan"):
        Verifier(Framework(lambda x: sigmoid(x, 1.0, 0.0)), {}).forward(sigmoid_model(1.0, float("nan")), [])
