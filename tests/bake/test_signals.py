"""Baked networks of signals: the heat map along time is an output, and the inputs are those of the file."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import onnxcam
from onnxcam.bake.bake import bake
from onnxcam.explainer.explainer import Explainer
from tests.explainer.test_signals import FORMS, network, step


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("method", ["gradcam", "gradient-x-input"])
def test_the_baked_map_is_that_of_the_explainer(tmp_path: Path, form: str, method: str) -> None:
    model = network(form)
    bake(model, tmp_path / "baked.onnx", method, target=0)
    x = step(25)[:1] if form == "nt" else step(25)
    explainer = Explainer(model, method=method, preprocess="raw")
    found = explainer(x, target=0)
    session = onnxruntime.InferenceSession(tmp_path / "baked.onnx", providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    assert [n for n in given.shape[1:] if isinstance(n, int)] == [
        n.dim_value for n in model.graph.input[0].type.tensor_type.shape.dim if n.HasField("dim_value")
    ]
    tensor = explainer.prepare(x).tensor
    heat = dict(
        zip(
            [y.name for y in session.get_outputs()],
            session.run(None, {"x": tensor[:, 0] if form == "nt" else tensor}),
            strict=True,
        )
    )["heatmap"]
    assert heat.shape == (1, *found.map.shape)
    np.testing.assert_allclose(heat[0], found.map, atol=0.02)


def test_an_input_is_named_as_before(tmp_path: Path) -> None:
    bake(network("nt"), tmp_path / "baked.onnx", "gradcam")
    baked = onnx.load(tmp_path / "baked.onnx")
    assert [x.name for x in baked.graph.input] == ["x"]
    onnx.checker.check_model(baked, full_check=True)
    assert onnxcam.Explainer(tmp_path / "baked.onnx", preprocess="raw")(step(25)[0], target=0).along_time is not None
