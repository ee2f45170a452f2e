"""Weights made random in the file itself: which, in what order, and what the checks make of it."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from zlib import crc32

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from scipy.stats import spearmanr

from onnxcam import Explainer, metrics
from onnxcam.errors import MetricError
from onnxcam.graph.io import to_proto
from onnxcam.metrics import Evaluation, evaluate
from onnxcam.metrics.randomise import RandomisedModel
from tests.networks import hand_model

ASSETS = Path(str(resources.files("onnxcam") / "assets"))
SHAPES, PICTURE = ASSETS / "shapes.onnx", ASSETS / "shapes_1.png"
LAYERS = ["head", "layer5.1", "layer4.1", "layer3.1", "layer2.1", "layer1.1", "stem.1"]


def weights(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def test_layers_from_the_output_down() -> None:
    found = RandomisedModel.of(SHAPES)
    assert [layer.name for layer in found.layers] == LAYERS
    assert [len(layer.weights) for layer in found.layers] == [2] * 7  # weight and bias
    assert [[layer.name for layer in stage] for stage in found.stages(3)] == [LAYERS[:3], LAYERS[3:5], LAYERS[5:]]
    assert len(found.stages(100)) == 7


def test_only_the_layers_that_are_named_are_shuffled() -> None:
    found, before = RandomisedModel.of(SHAPES), weights(onnx.load(SHAPES))
    after = weights(to_proto(found.shuffled(found.layers[:2], 0)))
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed == {name for layer in found.layers[:2] for name in layer.weights}
    for name in before:
        np.testing.assert_array_equal(np.sort(before[name].ravel()), np.sort(after[name].ravel()))
    np.testing.assert_equal(weights(to_proto(found.model)), before)  # the model itself stays


def test_a_seed_gives_the_same_weights_alone_and_among_others() -> None:
    found = RandomisedModel.of(SHAPES)
    alone, among = (weights(to_proto(found.shuffled(layers, 7))) for layers in (found.layers[1:2], found.layers))
    for name in found.layers[1].weights:
        np.testing.assert_array_equal(alone[name], among[name])
    other = weights(to_proto(found.shuffled(found.layers, 8)))
    assert not np.array_equal(other[found.layers[1].weights[0]], among[found.layers[1].weights[0]])


def test_weights_behind_other_operators() -> None:
    """A quantised weight, of a bias of the same length as its scales; one from a codebook; one in a Constant node."""
    model = onnx.parser.parse_model("""
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[1, 2, 4, 4] x) => (float[1, 2] y)
    <int8[2, 2, 1, 1] w = {1, 2, 3, 4}, float[2] s = {0.1, 0.2}, int8[2] z = {0, 0}, int32[2] b = {5, 6},
     int32[2] bz = {0, 0}, float[3] book = {1, 2, 3}, int64[2, 2] codes = {0, 1, 2, 0}, float[1] one = {7}>
    {
        wf = DequantizeLinear<axis = 0>(w, s, z)
        bf = DequantizeLinear<axis = 0>(b, s, bz)
        a = Conv(x, wf, bf)
        k = Constant<value = float[2, 1, 1] {1, -1}>()
        m = Mul(a, k)
        v = Constant<value = float[2, 2, 1, 1] {1, 2, 3, 4}>()
        c = Conv(m, v)
        r = Relu(c)
        p = GlobalAveragePool(r)
        f = Flatten(p)
        t = Gather(book, codes)
        u = Transpose(t)
        y0 = MatMul(f, u)
        y = Add(y0, one)
    }
    """)
    found = RandomisedModel.of(model)
    assert [layer.weights for layer in found.layers] == [("codes",), ("v",), ("w", "b")]
    copy = to_proto(found.shuffled(found.layers, 1))
    (v,) = (node for node in copy.graph.node if node.output[0] == "v")
    expected = np.random.default_rng([1, crc32(b"v")]).permutation(np.float32([1, 2, 3, 4])).reshape(2, 2, 1, 1)
    np.testing.assert_array_equal(numpy_helper.to_array(v.attribute[0].t), expected)
    onnxruntime.InferenceSession(copy.SerializeToString(), providers=["CPUExecutionProvider"])


def test_a_model_without_weights() -> None:
    model = onnx.parser.parse_model("""
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[1, 2, 4, 4] x) => (float[1, 2] y) { p = GlobalAveragePool(x) y = Flatten(p) }
    """)
    with pytest.raises(MetricError, match="no layer with weights, such as a convolution, that could be made random"):
        RandomisedModel.of(model)


def test_cascading_by_the_long_way() -> None:
    """Weights shuffled in protobuf, one layer more at a time; each file explained by itself; SciPy's correlation."""
    found = evaluate(SHAPES, [PICTURE], target="star", metrics=["sanity-cascading"], seed=3)
    (result,) = found.checks
    explainer = Explainer(SHAPES)
    x = explainer.preprocessing(explainer(PICTURE).image)
    own, model, expected = explainer.attribute(x, "star"), onnx.load(SHAPES), []
    for layer in RandomisedModel.of(SHAPES).layers:
        for tensor in model.graph.initializer:
            if tensor.name in layer.weights:
                array, rng = numpy_helper.to_array(tensor), np.random.default_rng([3, crc32(tensor.name.encode())])
                tensor.CopyFrom(
                    numpy_helper.from_array(rng.permutation(array.ravel()).reshape(array.shape), tensor.name)
                )
        other = Explainer(model, layer="features").attribute(x, "star")
        expected.append(spearmanr(own.ravel(), other.ravel()).statistic if other.any() else 0)
    np.testing.assert_allclose(result.similarity[:, 0], expected, atol=1e-6)
    assert result.stages == tuple(LAYERS)
    assert found.rows[0].values["sanity-cascading"] == pytest.approx(expected[-1], abs=1e-6)


def test_verdicts() -> None:
    """Grad-CAM looks at weights and class; Eigen-CAM not at the class, nor behind its layer; random maps at nothing."""
    found = evaluate(SHAPES, [PICTURE], methods=["gradcam", "eigencam"], metrics=["sanity"], baselines=True)
    verdicts = {(result.method, result.check): result for result in found.checks}
    assert {key for key, result in verdicts.items() if result.passed} >= {
        ("gradcam", "sanity-cascading"),
        ("gradcam", "sanity-independent"),
        ("gradcam", "sanity-target"),
    }
    for result in found.checks:
        assert result.verdict.endswith(": passed" if result.passed else ": FAILED")
    assert "the map changes with the weights: rank correlation" in verdicts["gradcam", "sanity-cascading"].verdict
    assert "stays when a layer is random: head (1.00): FAILED" in verdicts["eigencam", "sanity-independent"].verdict
    assert "the same for another class: rank correlation 1.00" in verdicts["eigencam", "sanity-target"].verdict
    for id in ("random", "centre"):
        assert not any(result.passed for (method, _), result in verdicts.items() if method == id)
        assert "though all are random: FAILED" in verdicts[id, "sanity-cascading"].verdict
        assert "and 4 more: FAILED" in verdicts[id, "sanity-independent"].verdict


def test_limits_and_stages_are_settings() -> None:
    loose = {"sanity-cascading.limit": 1.5, "sanity-cascading.stages": 2}
    found = evaluate(
        SHAPES, [PICTURE], methods=["eigencam"], metrics=["sanity-cascading"], settings=loose, baselines=True
    )
    assert {result.stages for result in found.checks} == {("layer3.1", "stem.1")}
    assert all(result.passed for result in found.checks)  # even the baselines, whose correlation is 1


def test_one_class_has_no_other() -> None:
    model = hand_model()
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(np.float32([[2, -1]]), "v"))
    model.graph.initializer[2].CopyFrom(numpy_helper.from_array(np.float32([0]), "b"))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 1
    with pytest.raises(MetricError, match="sanity-target compares with another class, but the model has only one"):
        evaluate(model, [PICTURE], metrics=["sanity-target"], preprocess="unit")


def test_a_class_under_its_name_of_0_1() -> None:
    with pytest.warns(DeprecationWarning, match=r"onnxcam\.metrics\.Outcome is onnxcam\.metrics\.CheckResult now"):
        assert metrics.Outcome is metrics.CheckResult
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        metrics.Nothing  # noqa: B018


def test_the_checks_under_their_name_of_0_1() -> None:
    found = Evaluation(None, "", None, 1, 0, {}, {}, [])
    with pytest.warns(DeprecationWarning, match=r"Evaluation\.outcomes is Evaluation\.checks now"):
        assert found.outcomes is found.checks
