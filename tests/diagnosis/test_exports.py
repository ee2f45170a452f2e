"""Node data for Model Explorer, and files whose nodes say their damage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from onnxcam.diagnosis.diagnose import diagnose
from onnxcam.diagnosis.diagnosis import Diagnosis
from onnxcam.diagnosis.exports import DAMAGE, annotate, node_data
from onnxcam.errors import OutputError
from tests.diagnosis.twins import Twins, twins_in


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Twins:
    return twins_in(tmp_path_factory.mktemp("twins"))


@pytest.fixture(scope="module")
def found(twins: Twins) -> Diagnosis:
    return diagnose(twins.real, twins.spoilt, twins.images, most=1)


def test_node_data_has_the_share_of_each_node(twins: Twins, found: Diagnosis) -> None:
    model = onnx.load(twins.spoilt)
    (data,) = (node_data(found, twins.spoilt)[name] for name in (model.graph.name,))
    values = {name: one["value"] for name, one in data["results"].items()}
    worst = found.tensors[0]
    node = next(one for one in model.graph.node if worst.tensor in one.output)
    assert values[node.name] == worst.share
    owner = next(one for one in model.graph.node if node.input[0] in one.output)
    assert values[owner.name] >= worst.share
    assert set(values) <= {one.name for one in model.graph.node}
    assert all(0 <= value <= 1 + 1e-9 for value in values.values())
    assert [stop["stop"] for stop in data["gradient"]][0::3] == [0, 1]


def test_an_annotated_file_computes_the_same_and_says_the_cause(twins: Twins, found: Diagnosis, tmp_path: Path) -> None:
    path = tmp_path / "annotated.onnx"
    annotate(found, twins.spoilt, path)
    model, before = onnx.load(path), onnx.load(twins.spoilt)
    onnx.checker.check_model(model)
    node = next(one for one in model.graph.node if found.tensors[0].tensor in one.output)
    said = {one.key: one.value for one in node.metadata_props}
    assert float(said[DAMAGE]) == pytest.approx(found.tensors[0].share, abs=1e-4)
    assert found.tensors[0].cause is not None
    assert said["onnxcam.cause.activation"] == f"{found.tensors[0].name}: {found.tensors[0].cause.words}"
    assert said["onnxcam.cure.activation"] == found.tensors[0].cause.cure
    assert [one.op_type for one in model.graph.node] == [one.op_type for one in before.graph.node]
    (given,) = before.graph.input
    shape = [one.dim_value or 1 for one in given.type.tensor_type.shape.dim]
    x = np.random.default_rng(0).random(shape, np.float32)
    first, second = (
        onnxruntime.InferenceSession(str(one), providers=["CPUExecutionProvider"]).run(None, {given.name: x})
        for one in (twins.spoilt, path)
    )
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_annotated_file_replaces_nothing_of_the_user(twins: Twins, found: Diagnosis, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be its output"):
        annotate(found, twins.spoilt, twins.spoilt, overwrite=True)
    (tmp_path / "mine.onnx").write_bytes(b"mine")
    with pytest.raises(OutputError, match="was not written by onnxcam"):
        annotate(found, twins.spoilt, tmp_path / "mine.onnx")
