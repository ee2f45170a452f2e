"""onnxruntime-node runs the baked file as Python does."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from onnxcam import Explainer
from onnxcam.bake.bake import bake
from tests.bake.baked import SHAPES, in_python, picture, tensor
from tests.bake.baked import session as in_session
from tests.bake.tasks import MODELS, letters, run, shapes, tensors
from tests.quantized import qdq

RUN = """
const ort = require("onnxruntime-node");
const { file, type, data, dims, index, points } = JSON.parse(require("fs").readFileSync(0));
const numbers = { float32: Float32Array, uint8: Uint8Array, int8: Int8Array }[type].from(data);
(async () => {
  const session = await ort.InferenceSession.create(file);
  const [image] = session.inputNames.filter((name) => !name.startsWith("onnxcam."));
  const feeds = { [image]: new ort.Tensor(type, numbers, dims) };
  if (index !== null) feeds["onnxcam.class"] = new ort.Tensor("int64", BigInt64Array.of(BigInt(index)), [1]);
  for (const [name, values] of Object.entries(points))
    feeds[name] = new ort.Tensor("float32", Float32Array.from(values), [1, values.length]);
  const { heatmap } = await session.run(feeds);
  console.log(JSON.stringify({ type: heatmap.type, dims: heatmap.dims, data: Array.from(heatmap.data) }));
})();
"""


@pytest.fixture(scope="module")
def node(npm: Path) -> str:
    found = shutil.which("node")
    if found is None:
        pytest.skip("no Node.js: apt-get install nodejs")
    return found


def in_node(
    node: str, npm: Path, file: Path, x: np.ndarray, index: int | None = None, **points: list[float]
) -> np.ndarray:
    given = {"file": str(file), "type": x.dtype.name, "data": x.ravel().tolist(), "dims": x.shape, "index": index}
    given["points"] = {f"onnxcam.{name}": values for name, values in points.items()}
    ran = subprocess.run(
        [node, "-e", RUN], input=json.dumps(given), capture_output=True, text=True, check=True, cwd=npm.parent
    )
    found = json.loads(ran.stdout)
    return np.array(found["data"], found["type"]).reshape(found["dims"])


@pytest.mark.parametrize(
    ("settings", "tolerance"),
    [
        ({}, 1e-4),
        ({"target": "input", "map_size": "layer"}, 1e-4),
        ({"target": "star", "inside": True, "uint8": True}, 1),
        ({"target": "input", "method": "layercam", "uint8": True}, 1),
    ],
)
def test_node_makes_the_same_map(
    settings: dict[str, Any], tolerance: float, node: str, npm: Path, tmp_path: Path
) -> None:
    made = bake(SHAPES, tmp_path / "baked.onnx", **settings)
    x = picture()[None] if settings.get("inside") else tensor()
    index = 4 if settings.get("target") == "input" else None
    found, expected = in_node(node, npm, made.path, x, index), in_python(made.path, x, index)
    assert found.dtype == expected.dtype
    assert expected.max() > 0
    np.testing.assert_allclose(found.astype(float), expected.astype(float), atol=tolerance)


def test_node_makes_the_same_map_of_a_uint8_file(node: str, npm: Path, tmp_path: Path) -> None:
    onnx.save(qdq(integer=True), tmp_path / "q.onnx")
    made = bake(tmp_path / "q.onnx", tmp_path / "baked.onnx")
    x = np.random.default_rng(0).integers(0, 256, (1, 3, 8, 8)).astype(np.uint8)
    found = in_node(node, npm, made.path, x)
    np.testing.assert_allclose(found, in_session(made.path).run(["heatmap"], {"qx": x})[0], atol=1e-4)


def test_node_makes_the_same_map_of_a_real_int8_file(node: str, npm: Path, real: Path, tmp_path: Path) -> None:
    made = bake(real / "models" / "mobilenet_v2_224_qdq_nchw_int8.onnx", tmp_path / "baked.onnx", target="input")
    x = np.random.default_rng(0).integers(-100, 100, (1, 3, 224, 224)).astype(np.int8)
    found, expected = in_node(node, npm, made.path, x, 281), in_python(made.path, x, 281)
    assert expected.max() > 0
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "index", "inputs"),
    [
        ("segmenter", -1, {"point": [30.0, 30.0]}),
        ("embedder", None, {"reference": [1.0] * 32}),
        ("upscaler", None, {"patch": [4.0, 4.0, 40.0, 30.0]}),
    ],
)
def test_node_makes_the_same_map_of_other_tasks(
    name: str, index: int | None, inputs: dict[str, list[float]], node: str, npm: Path, tmp_path: Path
) -> None:
    model = MODELS / f"{name}.onnx"
    own = Explainer(model)
    x = tensors(own, shapes())
    made = bake(model, tmp_path / "baked.onnx", target="input")
    feeds = {own.network.picture: x} | ({} if index is None else {"onnxcam.class": np.int64([index])})
    expected = run(made.path, feeds | {f"onnxcam.{key}": np.float32([values]) for key, values in inputs.items()})
    assert expected["heatmap"].max() == 1
    np.testing.assert_allclose(in_node(node, npm, made.path, x, index, **inputs), expected["heatmap"], atol=1e-4)


def test_node_makes_the_same_map_of_a_text(node: str, npm: Path, tmp_path: Path) -> None:
    own = Explainer(MODELS / "reader.onnx")
    x = tensors(own, letters())
    made = bake(MODELS / "reader.onnx", tmp_path / "baked.onnx", target="all", count=3)
    expected = run(made.path, {own.network.picture: x})["heatmap"]
    assert expected.shape == (1, 3, 32, 128)
    np.testing.assert_allclose(in_node(node, npm, made.path, x), expected, atol=1e-4)
