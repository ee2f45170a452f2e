"""Segmentation by queries: classes and masks of each query."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnxcam.targets.query_masks import QueryMasks
from tests.targets.opened import Opened

RNG = np.random.default_rng(0)
X = RNG.standard_normal((1, 3, 16, 16)).astype(np.float32)


def network(names: tuple[str, str], more: str = "", last: str = "") -> onnx.ModelProto:
    """Six queries of three classes and of no object, with masks of 8 × 8."""
    classes, masks = names
    model = onnx.parser.parse_model(f"""
    <ir_version: 8, opset_import: ["" : 17]>
    queries (float[n, 3, 16, 16] x) => (float[n, 6, 4] {classes}, float[n, 6, 8, 8] {masks}{more})
    <int64[3] table = {{0, 6, 4}}>
    {{
        p = AveragePool<kernel_shape = [2, 2], strides = [2, 2]>(x) {masks} = Conv(p, k)
        m = ReduceMean<axes = [2, 3], keepdims = 0>(x) z = MatMul(m, w) {classes} = Reshape(z, table) {last}
    }}
    """)
    for name, shape in (("k", (6, 3, 1, 1)), ("w", (3, 24))):
        value = RNG.standard_normal(shape).astype(np.float32) * (20 if name == "w" else 1)
        model.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
    return model


NAMES = ("class_queries_logits", "masks_queries_logits")


def test_a_class_over_its_region() -> None:
    opened = Opened(network(NAMES))
    assert isinstance(opened.network.task, QueryMasks)
    outputs = opened.outputs(X)
    logits, masks = (outputs[name][0].astype(np.float64) for name in NAMES)
    p = np.exp(logits)[:, :3] / np.exp(logits).sum(axis=1, keepdims=True)
    seen = np.einsum("qc,qhw->chw", p, 1 / (1 + np.exp(-masks))).argmax(axis=0)
    best = int(np.bincount(seen.reshape(-1), minlength=3)[1:].argmax()) + 1
    goal = opened.goal(None, X)
    assert goal.index == best
    share = p[:, best] / p[:, best].sum()
    region = seen == best
    np.testing.assert_allclose(goal.feed, share[:, None, None] * region / region.sum(), rtol=1e-5)
    np.testing.assert_array_equal(opened.goal(goal.words, X).feed, goal.feed)
    assert opened.gradient(goal, X).any()


@pytest.mark.parametrize("names", [NAMES, ("logits", "masks"), ("pred_logits", "pred_masks")])
def test_names_of_queries(names: tuple[str, str]) -> None:
    assert isinstance(Opened(network(names)).network.task, QueryMasks)


def test_hidden_states_beside_them_are_no_embedding() -> None:
    more = ", float[n, 6, 4] transformer_decoder_last_hidden_state"
    last = "transformer_decoder_last_hidden_state = Neg(class_queries_logits)"
    assert isinstance(Opened(network(NAMES, more, last)).network.task, QueryMasks)


def test_with_boxes_it_is_a_detector() -> None:
    last = "b = Sigmoid(logits) pred_boxes = Identity(b)"
    assert not isinstance(
        Opened(network(("logits", "pred_masks"), ", float[n, 6, 4] pred_boxes", last)).network.task, QueryMasks
    )
