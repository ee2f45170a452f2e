"""What the case table of normalisations cannot say."""

import numpy as np
import onnx
import pytest

from onnxcam.autodiff import vjp
from onnxcam.errors import ModelError
from onnxcam.testing import node_model, run
from tests.autodiff.cases import normal
from tests.autodiff.cases.normalization import IMAGE, STATISTICS


def test_batch_normalization_by_constants_costs_one_node() -> None:
    model = vjp(node_model("BatchNormalization", {"x": IMAGE, **STATISTICS}, STATISTICS))
    assert [node.op_type for node in model.graph.node] == ["BatchNormalization", "Mul"]


def test_batch_normalization_in_training_mode_is_refused() -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 10, opset_import: ["": 21]>
        trained (float[2, 4, 3] x, float[4] scale, float[4] b, float[4] mean, float[4] var) => (float[2, 4, 3] y) {
          y, m, v = BatchNormalization <training_mode = 1> (x, scale, b, mean, var)
        }""")
    with pytest.raises(ModelError, match=r"\(BatchNormalization\) is in training mode.*export"):
        vjp(model)


@pytest.mark.parametrize("position", [0, 1, 2])
def test_each_output_of_layer_normalization_alone(position: int) -> None:
    x, step = normal(3, 4), 1e-2
    model = node_model("LayerNormalization", {"x": x, "scale": normal(4)}, {"scale": normal(4)}, outputs=3)
    name = f"y{position or ''}"
    gradient = vjp(model, [name])
    v = normal(3, 4, seed=1)
    u = normal(*run(model, {"x": x})[name].shape, seed=2)
    ahead, behind = (run(model, {"x": x + s * v})[name] for s in (step, -step))
    expected = np.vdot(u, ahead - behind) / (2 * step)
    actual = np.vdot(v, run(gradient, {"x": x, f"{name}.cotangent": u})["x.gradient"])
    assert actual == pytest.approx(expected, rel=2e-3)
