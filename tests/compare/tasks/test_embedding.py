"""Comparison of embeddings: cosines, nearest images, findings, and two int8 files of the embedder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxcam.compare.tasks.embedding import EmbeddingPrediction, nearest_shared
from onnxcam.compare.validate import validate
from onnxcam.errors import MetricError
from tests.command import Ran
from tests.compare.tasks.twins import MODELS, compared, drawn, quantised, rounded, spoilt


def vector(*numbers: float) -> EmbeddingPrediction:
    found = np.float32(numbers)
    return EmbeddingPrediction(found / max(float(np.linalg.norm(found)), 1e-12))


def test_the_cosine() -> None:
    assert vector(1, 0).compare(vector(1, 1)).values["cosine"] == pytest.approx(np.sqrt(0.5))


def test_a_vector_of_zeros_has_no_cosine() -> None:
    found = vector(1, 0).compare(vector(0, 0))
    assert np.isnan(found.values["cosine"])
    assert found.notes == ["no cosine: the candidate's embedding is zero"]


def test_vectors_of_other_lengths() -> None:
    with pytest.raises(MetricError, match=r"embedding has 2 numbers and the candidate's 3: .* export both from one"):
        vector(1, 0).compare(vector(1, 0, 0))


def test_neighbours_against_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    first = rng.standard_normal((30, 4)).astype(np.float32)
    second = first + 0.5 * rng.standard_normal((30, 4)).astype(np.float32)
    both = [one / np.linalg.norm(one, axis=1, keepdims=True) for one in (first, second)]
    expected = []
    for row in range(30):
        near = [
            {i for _, i in sorted((-float(one[row] @ one[i]), i) for i in range(30) if i != row)[:5]} for one in both
        ]
        expected.append(len(near[0] & near[1]) / 5)
    assert nearest_shared(*both).tolist() == pytest.approx(expected)


def test_neighbours_of_few_images() -> None:
    few = np.float32([[1, 0], [0, 1]])
    assert nearest_shared(few[:1], few[:1]).tolist() == [1]
    assert nearest_shared(few, few[::-1]).tolist() == [1, 1]


def test_neighbours_are_a_metric_of_each_image() -> None:
    own = [vector(1, 0), vector(1, 0.1), vector(0, 1)]
    other = [vector(1, 0), vector(0, 1), vector(0.1, 1)]
    pairs = [compared(one, two) for one, two in zip(own, other, strict=True)]
    assert EmbeddingPrediction.over_all(pairs) == {"neighbours": [0, 0, 1]}


def test_a_candidate_that_tells_images_apart_less_well() -> None:
    rng = np.random.default_rng(1)
    own = [vector(*rng.standard_normal(8)) for _ in range(8)]
    flat = [vector(*(1 + 0.01 * rng.standard_normal(8))) for _ in range(8)]
    pairs = [compared(one, two) for one, two in zip(own, flat, strict=True)]
    (finding,) = EmbeddingPrediction.conclude(pairs, None)
    assert finding.startswith("the candidate's vectors are alike: the mean cosine of two images is 1.000")
    assert EmbeddingPrediction.conclude([compared(one, one) for one in own], None) == []
    with pytest.raises(MetricError, match="the reference gives all 8 images the same vector"):
        EmbeddingPrediction.conclude([compared(one, one) for one in flat[:1] * 8], None)


def test_a_good_and_a_spoilt_int8_file(tmp_path: Path) -> None:
    model, photos = MODELS / "embedder.onnx", drawn(tmp_path / "photos", count=16)
    good = quantised(model, photos, tmp_path / "int8.onnx")
    found = validate(model, good, photos, tmp_path / "out")
    assert found.passed, [one.words for one in found.verdicts if not one.holds]
    assert all("neighbours" in pair.values for pair in found.journal)
    assert found.journal[2:4][1].values["neighbours"] == found.journal[3].values["neighbours"]
    found.save(tmp_path / "out")
    saved = json.loads((tmp_path / "out" / "validation.json").read_text("utf-8"))
    assert any(row["metric"] == "neighbours" for row in saved["summary"])
    failed = validate(model, spoilt(good, tmp_path / "spoilt.onnx"), photos)
    assert failed.verdict == "failed"
    assert "cosine" in {one.metric for one in failed.verdicts if not one.holds}


def test_a_candidate_of_another_length(tmp_path: Path, onnxcam: Callable[..., Ran]) -> None:
    model, photos = MODELS / "embedder.onnx", drawn(tmp_path / "photos", count=2)
    made = onnx.load(model)
    (output,) = made.graph.output
    name, length = output.name, output.type.tensor_type.shape.dim[1].dim_value
    for node in made.graph.node:
        node.output[:] = ["whole" if one == name else one for one in node.output]
    for key, values in (("starts", [0]), ("ends", [length // 2]), ("axes", [1])):
        made.graph.initializer.append(numpy_helper.from_array(np.int64(values), key))
    made.graph.node.append(helper.make_node("Slice", ["whole", "starts", "ends", "axes"], [name]))
    made.graph.output[0].CopyFrom(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", length // 2]))
    onnx.save(made, tmp_path / "short.onnx")
    ran = onnxcam("validate", model, tmp_path / "short.onnx", photos, "-o", "out")
    assert ran.code == 2
    assert f"the reference's embedding has {length} numbers and the candidate's {length // 2}" in ran.err


def test_rounded_weights_pass(tmp_path: Path) -> None:
    model, photos = MODELS / "embedder.onnx", drawn(tmp_path / "photos", count=3)
    assert validate(model, rounded(model, tmp_path / "int8.onnx"), photos).passed
