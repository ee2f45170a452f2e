"""ONNX's own node tests, differentiated: every one that can be."""

from __future__ import annotations

import pytest

from onnxcam.errors import EngineError, ModelError
from tests.autodiff.node_cases import NodeCase, NoReference, collect
from tests.optional import is_older, not_before

TRAINING = "in training mode, which is refused: the gradient depends on chance or on the batch"
BFLOAT16 = "ONNX Runtime's CPU provider takes no bfloat16 and has no arithmetic in it"
KERNEL = "ONNX Runtime has no kernel for this operator of this opset"
LAYOUT = "ONNX Runtime's CPU provider has no recurrent operators with the batch first"
SHORT_MASK = "ONNX Runtime's Attention takes no mask that is shorter than the keys"
INFINITE = "at infinities, where there are no differences"
OUTSIDE: dict[str, str] = {
    "test_attention_3d_causal_bf16": BFLOAT16,
    "test_attention_4d_attn_mask_causal_bf16": BFLOAT16,
    "test_attention_4d_causal_bf16": BFLOAT16,
    "test_attention_4d_causal_padded_kv_bf16": BFLOAT16,
    "test_attention_4d_diff_heads_mask4d_padded_kv": SHORT_MASK,
    "test_attention_4d_padded_kv_bf16": BFLOAT16,
    "test_batchnorm_epsilon_training_mode": TRAINING,
    "test_batchnorm_example_training_mode": TRAINING,
    "test_celu_bfloat16": BFLOAT16,
    "test_compress_bfloat16": BFLOAT16,
    "test_einsum_batch_matmul_bfloat16": BFLOAT16,
    "test_einsum_sum_bfloat16": BFLOAT16,
    "test_einsum_transpose_bfloat16": BFLOAT16,
    "test_gru_batchwise": LAYOUT,
    "test_lstm_batchwise": LAYOUT,
    "test_mod_float_edge_cases_fmod_0_float16": INFINITE,
    "test_mod_float_edge_cases_fmod_0_float32": INFINITE,
    "test_mod_float_edge_cases_fmod_0_float64": INFINITE,
    "test_optional_get_element_optional_tensor": KERNEL,
    "test_optional_get_element_tensor": KERNEL,
    "test_pow_types_float32_uint32": KERNEL,
    "test_pow_types_float32_uint64": KERNEL,
    "test_reversesequence_bfloat16": BFLOAT16,
    "test_roialign_aligned_false": KERNEL,  # that of opset 16 is held by the case table
    "test_roialign_aligned_true": KERNEL,
    "test_roialign_mode_max": KERNEL,
    "test_simple_rnn_batchwise": LAYOUT,
    "test_swiglu": KERNEL,
    "test_swiglu_alpha": KERNEL,
    "test_swiglu_float16": KERNEL,
    "test_training_dropout": TRAINING,
    "test_training_dropout_default": TRAINING,
    "test_training_dropout_default_mask": TRAINING,
    "test_training_dropout_mask": TRAINING,
    "test_training_dropout_zero_ratio": TRAINING,
    "test_training_dropout_zero_ratio_mask": TRAINING,
}
"""Tests that cannot be differentiated on ONNX Runtime, and why."""
CASES = collect()
NEWEST = "1.32"
OLD = is_older("onnxruntime", NEWEST)


@pytest.mark.parametrize("case", [case for case in CASES if case.name not in OUTSIDE], ids=str)
def test_node(case: NodeCase) -> None:
    if OLD and not case.is_computed():
        pytest.skip("an older ONNX Runtime does not compute what ONNX records")
    case.check()


@pytest.mark.parametrize("case", [case for case in CASES if case.name in OUTSIDE], ids=str)
def test_what_lies_outside_does_so(case: NodeCase) -> None:
    not_before("onnxruntime", NEWEST, "the table is of the newest version")
    with pytest.raises((EngineError, ModelError, NoReference)):
        case.check()


def test_there_are_as_many_as_there_were() -> None:
    not_before("onnx", "1.23", "it has fewer tests")
    assert len(CASES) >= 840
    assert set(OUTSIDE) <= {case.name for case in CASES}
