"""The derivatives by the shares of a mixture, against central differences in float64."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnxcam.diagnosis.effects import tensor_effects
from onnxcam.diagnosis.mixture import ROUNDING, Mixture
from onnxcam.diagnosis.pairing import pair
from onnxcam.graph.io import to_proto
from onnxcam.testing import check_grads
from tests.quantisers import convolutional, pictures, quantised, run

quantization = pytest.importorskip("onnxruntime.quantization")

X = pictures()[2]


@pytest.fixture(scope="module", params=["QDQ", "QOperator"])
def mixture(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Mixture:
    real = convolutional(opset=21)
    form = quantization.QuantFormat[request.param]
    candidate = quantised(real, tmp_path_factory.mktemp("shares"), per_channel=True, quant_format=form)
    return pair(candidate, real, {"x": X}).mixture


def test_derivatives_by_the_shares(mixture: Mixture) -> None:
    """At 0, where each tensor is real: the rule of rounding, which passes gradients through, is then exact."""
    feeds = {"x": X, ROUNDING: mixture.shares(0.0)}
    check_grads(to_proto(mixture.model), feeds, inputs=[ROUNDING], order=1)


def test_effects_are_first_order_changes(mixture: Mixture) -> None:
    """Each effect is the slope of the output by that share alone, as ONNX Runtime computes it."""
    effects = tensor_effects(mixture, ["y"])
    cotangent = np.float32([[1, -2, 0.5, 3]])
    found, _ = effects({"x": X, "y.cotangent": cotangent}, mixture.shares(0.0))
    model = onnx.ModelProto.FromString(to_proto(mixture.model).SerializeToString())
    for place, one in enumerate(mixture.quantisers):
        little = 0.05
        ends = [run(model, {"x": X, ROUNDING: mixture.shares({one.tensor: end})}) for end in (-little, little)]
        change = float(((ends[1] - ends[0]) * cotangent).sum()) / (2 * little)
        assert found[place] == pytest.approx(change, abs=2e-3 * np.abs(found).max())
