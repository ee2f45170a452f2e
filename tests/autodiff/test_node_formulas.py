"""Gradients of some of ONNX's node tests against formulas in NumPy, in float64.

Differences of onnx's reference evaluator mislead at two of these operators. Its LinearAttention computes in float32
whatever its inputs are, so that steps of 1e-5 give slopes with errors of up to 12 %. Its LpNormalization of p = 1 sums
the numbers in place of their magnitudes; one of the numbers of its test is 0, the kink. Here the forward pass is a
formula that is independent of both evaluators, and the whole gradient is compared, not one direction of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from onnxcam.autodiff import vjp
from onnxcam.engine import Session
from onnxcam.graph.io import load
from onnxcam.testing import normal
from tests.autodiff.node_cases import NodeCase, collect
from tests.optional import is_older, not_before

Arrays = Mapping[str, np.ndarray]
CASES = {case.name: case for case in collect()}
LOWEST = float(np.finfo(np.float32).min)
"""Stands for -∞ in ONNX Runtime's kernel."""
STEP = 1e-5  # central differences in float64: errors near 1e-10


def attention(x: Arrays) -> dict[str, np.ndarray]:
    """Attention with a past, a mask and causality; `qk_matmul_output` is what the softmax is taken of."""
    keys = np.concatenate([x["past_key"], x["K"]], axis=2)
    values = np.concatenate([x["past_value"], x["V"]], axis=2)
    queries, past = x["Q"].shape[2], x["past_key"].shape[2]
    later = np.arange(keys.shape[2])[None] > np.arange(queries)[:, None] + past
    logits = x["Q"] @ keys.swapaxes(2, 3) / np.sqrt(x["Q"].shape[3]) + x["attn_mask"]
    logits = np.where(later, LOWEST, logits)
    weights = np.exp(logits - logits.max(3, keepdims=True))
    weights /= weights.sum(3, keepdims=True)
    return {"Y": weights @ values, "present_key": keys, "present_value": values, "qk_matmul_output": logits}


def linear_attention(x: Arrays) -> dict[str, np.ndarray]:
    """S ← exp(g) S + k ⊗ β (v − exp(g) Sᵀ k), without decay and correction where they are not given; y = Sᵀ q / √d."""
    heads = 4

    def split(name: str) -> np.ndarray:
        array = x[name]
        return array.reshape(*array.shape[:2], heads, -1).transpose(1, 0, 2, 3)

    queries, keys, values = split("query"), split("key"), split("value")
    size = keys.shape[3]
    state = x["past_state"] if "past_state" in x else np.zeros((keys.shape[1], heads, size, values.shape[3]))
    rows = []
    for step, (q, k, v) in enumerate(zip(queries, keys, values, strict=True)):
        if "decay" in x:
            state = np.exp(split("decay")[step])[..., None] * state
        if "beta" in x:
            v = split("beta")[step] * (v - np.einsum("bhkv,bhk->bhv", state, k))
        state = state + k[..., None] * v[..., None, :]
        rows.append(np.einsum("bhkv,bhk->bhv", state, q) / np.sqrt(size))
    output = np.stack(rows, axis=1)
    return {"output": output.reshape(*output.shape[:2], -1), "present_state": state}


def l1_normalization(x: Arrays) -> dict[str, np.ndarray]:
    return {"y": x["x"] / np.abs(x["x"]).sum(-1, keepdims=True)}


FORMULAS: dict[str, Callable[[Arrays], dict[str, np.ndarray]]] = {
    "test_attention_4d_with_past_and_present_qk_matmul_bias_3d_mask_causal": attention,
    "test_attention_4d_with_past_and_present_qk_matmul_bias_4d_mask_causal": attention,
    "test_linear_attention_linear": linear_attention,
    "test_linear_attention_decode_step": linear_attention,
    "test_l1normalization_axis_last": l1_normalization,
}


@pytest.mark.parametrize("name", FORMULAS)
def test_gradients_are_those_of_the_formula(name: str) -> None:
    not_before("onnx", "1.23", "it has fewer tests")
    case, formula = CASES[name], FORMULAS[name]
    if is_older("onnxruntime", "1.32") and not case.is_computed():
        pytest.skip("an older ONNX Runtime does not compute what ONNX records")
    feeds = {key: _away_from_zero(x.astype(np.float64)) for key, x in case.feeds.items()}
    outputs = formula(feeds)
    for key, y in _run(case, feeds, {}).items():
        np.testing.assert_allclose(y, outputs[key], atol=1e-5)
    rng = np.random.default_rng(0)
    cotangents = {key: np.where(outputs[key] > LOWEST, normal(rng, outputs[key]), 0) for key in case.outputs}
    seeds = {f"{key}.cotangent": u for key, u in cotangents.items()}
    model = vjp(case.model, case.outputs, case.inputs)
    actual = Session(load(model), "cpu").run(_float32({**feeds, **seeds}))
    for key in case.inputs:
        expected = _slopes(formula, feeds, key, cotangents)
        np.testing.assert_allclose(actual[f"{key}.gradient"], expected, atol=2e-5 * np.abs(expected).max())


def _slopes(
    formula: Callable[[Arrays], dict[str, np.ndarray]], feeds: Arrays, name: str, cotangents: Arrays
) -> np.ndarray:
    """Return the gradient of ⟨cotangents, outputs⟩ at the input *name* by central differences of each element."""

    def along(step: float, place: int) -> float:
        moved = feeds[name].copy()
        moved.reshape(-1)[place] += step
        outputs = formula({**feeds, name: moved})
        return float(sum((u[u != 0] * outputs[key][u != 0]).sum() for key, u in cotangents.items()))

    found = [(along(STEP, k) - along(-STEP, k)) / (2 * STEP) for k in range(feeds[name].size)]
    return np.reshape(found, feeds[name].shape)


def _run(case: NodeCase, feeds: Arrays, seeds: Arrays) -> dict[str, np.ndarray]:
    return Session(load(case.model), "cpu").run(_float32({**feeds, **seeds}))


def _float32(feeds: Arrays) -> dict[str, np.ndarray]:
    return {key: x.astype(np.float32) for key, x in feeds.items()}


def _away_from_zero(x: np.ndarray) -> np.ndarray:
    return np.where(np.abs(x) < 1e-3, 0.05, x)
