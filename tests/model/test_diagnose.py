"""Layers are chosen without an image too, also where sizes are open."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from onnxcam.inspection import survey
from tests.networks import saved


def detector() -> onnx.ModelProto:
    """Return a detector of two classes at two strides, of open size, as Ultralytics exports it with dynamic=True."""
    model = onnx.parser.parse_model(f"""
    <ir_version: 8, opset_import: ["": 17], producer_name: "pytorch">
    main_graph (float[batch, 3, height, width] images) => (float[batch, 6, anchors] output0)
    <float[2, 3, 8, 8] w0 = {{{", ".join(["0.1", "-0.05", "0.02"] * 128)}}},
     float[2, 2, 2, 2] w1 = {{{", ".join(["0.3", "-0.2"] * 8)}}},
     float[6, 2, 1, 1] v0 = {{{", ".join(["1", "-0.5", "0.25"] * 4)}}},
     float[6, 2, 1, 1] v1 = {{{", ".join(["0.5", "1", "-1"] * 4)}}},
     int64[3] to = {{0, 6, -1}}, int64[2] parts = {{4, 2}}>
    {{
        c0 = Conv<strides = [8, 8]>(images, w0)
        r0 = Relu(c0)
        h0 = Conv(r0, v0)
        c1 = Conv<strides = [2, 2]>(r0, w1)
        r1 = Relu(c1)
        h1 = Conv(r1, v1)
        f0 = Reshape(h0, to)
        f1 = Reshape(h1, to)
        all = Concat<axis = 2>(f0, f1)
        raw, logits = Split<axis = 1>(all, parts)
        boxes = Abs(raw)
        scores = Sigmoid(logits)
        output0 = Concat<axis = 1>(boxes, scores)
    }}
    """)
    metadata = {"author": "Ultralytics", "task": "detect", "stride": "16", "names": "{0: 'cat', 1: 'dog'}"}
    onnx.helper.set_model_props(model, metadata)
    return model


@pytest.mark.parametrize("method", ["gradcam", "layercam", "gradient"])
def test_inspect_lists_the_layers_of_a_detector_of_open_size(tmp_path: Path, method: str) -> None:
    found = survey(saved(tmp_path / "detector.onnx", detector()))
    assert found.layers[0][1] == "r1"
    assert not found.methods[method]
