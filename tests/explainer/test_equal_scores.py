"""Scores that are equal are said; a tensor of another type than the model's is refused before the model runs."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnxcam import Explainer
from onnxcam.errors import ModelError

WEIGHTS = np.array([[1, 2, 0], [0, 1, 0], [1, 2, 0], [1, 2, 0], [1, 2, 0]], np.float32)


def network(kind: str = "float") -> onnx.ModelProto:
    """Five classes, four of which have the same weights; the input is float, or int8 that is dequantised."""
    first = "h = Identity(x)" if kind == "float" else "h = DequantizeLinear(x, s)"
    model = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["": 17]> main ({kind}[n, 3, 8, 8] x) => (float[n, 5] y)
        <float s = {{0.02}}> {{
            {first} r = Relu(h)  p = GlobalAveragePool(r)  f = Flatten(p)  y = Gemm<transB = 1>(f, w)
        }}""")
    model.graph.initializer.append(numpy_helper.from_array(WEIGHTS, "w"))
    return model


def test_equal_scores_are_said() -> None:
    image = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)
    explainer = Explainer(network(), preprocess="unit")
    (said,) = [one for one in explainer(image).warnings if "the highest score" in one]
    assert said.startswith("the highest score is that of '0' and of '2', '3', '4', ")
    assert said.endswith("and only its map is drawn; --target (target=) names another")
    assert not any("the highest score" in one for one in explainer(image, 1).warnings)


@pytest.mark.parametrize(
    ("kind", "given", "says"),
    [
        ("float", np.float64, r"takes 'x' as float32, and this tensor is float64; give x\.astype\(np\.float32\), or"),
        ("int8", np.float32, "takes 'x' as int8, and this tensor is float32; give its quantised integers, or"),
    ],
)
def test_a_tensor_of_another_type(kind: str, given: type, says: str) -> None:
    explainer = Explainer(network(kind))
    for ask in (explainer.attribute, explainer.scores, explainer.classes):
        with pytest.raises(ModelError, match=says) as caught:
            ask(np.ones((1, 3, 8, 8), given))
        assert "preprocessing is a guess" not in str(caught.value)
