"""Baked files on a server: the model repository, asked through Triton's client for the map."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from onnxcam.bake.bake import bake
from onnxcam.bake.triton import CONFIG, triton_config, write_repository
from onnxcam.errors import ModelError, OutputError
from onnxcam.graph.io import load
from tests.bake.baked import SHAPES, in_python, picture, tensor
from tests.bake.triton_server import parsed, serving

MODELS = Path(__file__).parents[2] / "models"
ROUTES = {
    "plain": (SHAPES, {}),
    "detector": (MODELS / "detector.onnx", {"count": 2, "threshold": "input"}),
    "embedder": (MODELS / "embedder.onnx", {}),
    "reader": (MODELS / "reader.onnx", {}),
    "segmenter": (MODELS / "segmenter.onnx", {"uint8": True}),
    "input": (SHAPES, {"target": "input", "uint8": True, "inside": True, "overlay": True}),
}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of baked files of several tasks."""
    pytest.importorskip("tritonclient.grpc.model_config_pb2", reason="tritonclient and grpcio are not installed")
    folder = tmp_path_factory.mktemp("triton")
    for name, (model, options) in ROUTES.items():
        write_repository(bake(model, folder / f"{name}.onnx", **options).path, folder / "models")
    return folder / "models"


@pytest.fixture(scope="module")
def address(repository: Path) -> Iterator[str]:
    with serving(repository) as place:
        yield place


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[Any]:
    http = pytest.importorskip("tritonclient.http", reason="tritonclient[http] is not installed")
    asked = http.InferenceServerClient(address)
    yield asked
    asked.close()


def infer(client: Any, name: str, feeds: dict[str, np.ndarray], outputs: list[str]) -> dict[str, np.ndarray]:
    import tritonclient.http as http
    from tritonclient.utils import np_to_triton_dtype

    inputs = []
    for key, x in feeds.items():
        inputs.append(http.InferInput(key, list(x.shape), np_to_triton_dtype(x.dtype)))
        inputs[-1].set_data_from_numpy(x)
    found = client.infer(name, inputs, outputs=[http.InferRequestedOutput(each) for each in outputs])
    return {each: found.as_numpy(each) for each in outputs}


def test_the_client_gets_the_map(client: Any, repository: Path) -> None:
    assert client.is_server_ready()
    assert client.is_model_ready("plain")
    x = tensor(3)
    found = infer(client, "plain", {"image": x}, ["heatmap", "logits"])
    np.testing.assert_array_equal(found["heatmap"], in_python(repository.parent / "plain.onnx", x))
    assert found["logits"].shape == (3, 6)


def test_an_index_for_each_image(client: Any, repository: Path) -> None:
    """``onnxcam.class`` is [N] in the file and [N, 1] on the server."""
    x = np.stack([picture()] * 2)
    index = np.array([[4], [-1]], np.int64)
    found = infer(client, "input", {"picture": x, "onnxcam.class": index}, ["heatmap", "overlay"])
    alone = in_python(repository.parent / "input.onnx", x[:1], 4)
    np.testing.assert_array_equal(found["heatmap"][:1], alone)
    assert found["heatmap"][1].tolist() != alone[0].tolist()
    assert found["overlay"].dtype == np.uint8


@pytest.mark.parametrize("name", ROUTES)
def test_the_metadata_is_what_can_be_asked(client: Any, name: str) -> None:
    told = client.get_model_metadata(name)
    feeds = {
        one["name"]: np.full(
            [2 if n == -1 else n for n in one["shape"]],
            0 if one["name"].startswith("onnxcam.") else 1,
            {"FP32": "float32", "UINT8": "uint8", "INT64": "int64"}[one["datatype"]],
        )
        for one in told["inputs"]
    }
    found = infer(client, name, feeds, [one["name"] for one in told["outputs"]])
    for one in told["outputs"]:
        assert len(found[one["name"]].shape) == len(one["shape"])
        assert all(said in (-1, n) for said, n in zip(one["shape"], found[one["name"]].shape, strict=True))


def test_the_page(address: str, repository: Path) -> None:
    page = (MODELS.parent / "docs" / "servers.md").read_text("utf-8")
    pytest.importorskip("tritonclient.http", reason="tritonclient[http] is not installed")
    (block,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    scope: dict[str, Any] = {}
    exec(block.replace("localhost:8000", address).replace('"explained"', '"plain"'), scope)
    scope["client"].close()
    np.testing.assert_array_equal(scope["heatmap"], in_python(repository.parent / "plain.onnx", scope["batch"]))


def test_json_alone(address: str) -> None:
    """As KServe's clients ask without the extension of binary tensors."""
    x = tensor()
    entry = {"name": "image", "shape": list(x.shape), "datatype": "FP32", "data": x.ravel().tolist()}
    body = json.dumps({"inputs": [entry], "outputs": [{"name": "heatmap"}]}).encode()
    with urllib.request.urlopen(f"http://{address}/v2/models/plain/infer", body) as answer:
        (found,) = json.load(answer)["outputs"]
    assert (found["shape"], found["datatype"], max(found["data"])) == ([1, 96, 96], "FP32", 1.0)


def test_too_large_a_batch_is_the_servers_error(client: Any) -> None:
    with pytest.raises(Exception, match="batch-size must be <= 8"):
        infer(client, "plain", {"image": tensor(9)}, ["heatmap"])


def graph(inputs: dict[str, Any], outputs: dict[str, Any], kind: int = TensorProto.FLOAT) -> onnx.ModelProto:
    """A model whose outputs are its first input, of the given shapes."""
    first = next(iter(inputs))
    made = helper.make_graph(
        [helper.make_node("Identity", [first], [name]) for name in outputs],
        "g",
        *([helper.make_tensor_value_info(n, kind, s) for n, s in each.items()] for each in (inputs, outputs)),
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@pytest.mark.parametrize(
    ("inputs", "outputs", "batch", "dims"),
    [
        ({"x": ["n", 3]}, {"y": ["n", 3]}, 4, [[3], [3]]),
        ({"x": [1, 3]}, {"y": [1, 3]}, 0, [[1, 3], [1, 3]]),
        ({"x": ["n", "h"]}, {"y": ["m", 7]}, 0, [[-1, -1], [-1, 7]]),  # two open lengths are no batch
        ({"x": ["n", "h"]}, {"y": ["n", "h"]}, 4, [[-1], [-1]]),
        ({"x": [None, 3]}, {"y": [None, 3]}, 0, [[-1, 3], [-1, 3]]),  # nothing says that they are the same
        ({"x": []}, {"y": []}, 0, [[1], [1]]),
        ({"x": ["n"]}, {"y": ["n"]}, 4, [[1], [1]]),
    ],
)
def test_dims(inputs: dict[str, Any], outputs: dict[str, Any], batch: int, dims: list[list[int]]) -> None:
    pytest.importorskip("tritonclient.grpc.model_config_pb2")
    config = parsed(triton_config(load(graph(inputs, outputs)), "m", 4))
    assert config.max_batch_size == batch
    assert config.HasField("dynamic_batching") == bool(batch)
    assert [list(one.dims) for one in (*config.input, *config.output)] == dims


def test_the_command(onnxcam: Callable[..., Any]) -> None:
    words = ("bake", SHAPES, "-o", "explained.onnx", "--triton", "models")
    assert onnxcam(*words).code == 0
    assert {path.relative_to("models").as_posix() for path in Path("models").rglob("*") if path.is_file()} == {
        "explained/config.pbtxt",
        "explained/1/model.onnx",
    }
    assert onnxcam(*words).code == 0  # what onnxcam wrote may be written again
    Path("models/explained", CONFIG).write_text("theirs", encoding="utf-8")
    Path("explained.onnx").unlink()
    refused = onnxcam(*words)
    assert (refused.code, "holds 'config.pbtxt', which onnxcam did not write" in refused.err) == (2, True)
    assert not Path("explained.onnx").exists()  # refused before the bake
    assert onnxcam(*words, "--overwrite").code == 0
    unnamed = onnxcam("bake", SHAPES, "-o", "é b.onnx", "--triton", "models")
    assert (unnamed.code, "'é b' is no name of a model on a server" in unnamed.err) == (2, True)
    assert not Path("é b.onnx").exists()


def test_external_weights_come_along(tmp_path: Path) -> None:
    onnx.save(onnx.load(SHAPES), tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=64)
    place = write_repository(tmp_path / "m.onnx", tmp_path / "models", name="big")
    assert sorted(path.name for path in (place / "1").iterdir()) == ["model.onnx", "model.onnx.data"]
    onnx.checker.check_model(str(place / "1" / "model.onnx"))


def test_what_triton_cannot_serve() -> None:
    ranks = graph({"x": ["n"]}, {"y": ["n"]})
    ranks.graph.output[0].type.tensor_type.ClearField("shape")
    with pytest.raises(ModelError, match="the rank of 'y' is unknown, and Triton needs it"):
        triton_config(load(ranks), "m")
    with pytest.raises(ModelError, match=r"'x' is of type COMPLEX64, which Triton cannot send"):
        triton_config(load(graph({"x": ["n"]}, {"y": ["n"]}, TensorProto.COMPLEX64)), "m")
    with pytest.raises(OutputError, match="the largest batch is a whole number from 1 to 65536, not 0"):
        triton_config(load(graph({"x": ["n"]}, {"y": ["n"]})), "m", 0)
