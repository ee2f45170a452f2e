"""Cases for onnxcam.autodiff.rules.bodies."""

import numpy as np
import onnx

from tests.autodiff.cases import case, ints, normal, uniform
from tests.autodiff.cases.on_runtime import on_runtime

HEADS = {"q": normal(1, 2, 3, 4), "k": normal(1, 2, 5, 4), "v": normal(1, 2, 5, 4, seed=1)}
TOKENS = {"q": normal(2, 3, 8), "k": normal(2, 5, 4), "v": normal(2, 5, 4, seed=1)}
MASK = {"mask": normal(3, 5)}
PAST = {"past_k": normal(1, 2, 2, 4, seed=2), "past_v": normal(1, 2, 2, 4, seed=3)}
ANGLES = {"x": normal(1, 2, 3, 4), "cos": np.cos(normal(5, 2)), "sin": np.sin(normal(5, 2))}
PLACES = {"places": np.asarray([[0, 4, 2]], np.int64)}
LOGITS, LABELS, WEIGHTS = normal(4, 3), ints(0, 2, 1, 2), uniform(3, low=0.5, high=2.0)
STATE = {"q": normal(1, 3, 8), "k": normal(1, 3, 8, seed=1), "v": normal(1, 3, 8, seed=2)}
ON_REFERENCE = {"runtime": False}  # ONNX Runtime has no kernel yet

ALL = [
    case("Attention", "heads", HEADS, opset=23),
    case("Attention", "mask", HEADS | MASK, opset=23, scale=0.3),
    case("Attention", "causal", HEADS, opset=24, is_causal=1),
    case("Attention", "soft cap", HEADS, opset=23, softcap=2.0),
    case("Attention", "tokens, grouped", TOKENS, opset=23, q_num_heads=2, kv_num_heads=1),
    case("Attention", "all outputs", HEADS | MASK | PAST | {"mask": normal(3, 7)}, outputs=4, opset=23),
    case("Attention", "past", HEADS | {"mask": None} | PAST, outputs=3, opset=23),
    case("RotaryEmbedding", "places", ANGLES | PLACES, opset=23),
    case("RotaryEmbedding", "interleaved, tokens", {"x": normal(1, 3, 8), "cos": ANGLES["cos"], "sin": ANGLES["sin"]}
         | PLACES, opset=23, num_heads=2, interleaved=1),
    case("CenterCropPad", "both", {"x": normal(2, 3, 5), "shape": ints(4, 2)}, ("shape",), axes=[1, 2]),
    case("NegativeLogLikelihoodLoss", "mean", {"x": LOGITS, "t": LABELS}),
    case("NegativeLogLikelihoodLoss", "weights, sum", {"x": LOGITS, "t": LABELS, "w": WEIGHTS}, reduction="sum"),
    case("NegativeLogLikelihoodLoss", "ignored", {"x": normal(2, 3, 2), "t": LABELS.reshape(2, 2)}, ignore_index=2,
         reduction="none"),
    case("SoftmaxCrossEntropyLoss", "mean", {"x": LOGITS, "t": LABELS}),
    case("SoftmaxCrossEntropyLoss", "log probabilities", {"x": LOGITS, "t": LABELS, "w": WEIGHTS}, outputs=2),
    case("SwiGLU", "default", {"a": normal(2, 3), "b": normal(2, 3, seed=1)}, opset=28, check=ON_REFERENCE),
    case("SwiGLU", "alpha", {"a": normal(2, 3), "b": normal(2, 3, seed=1)}, opset=28, check=ON_REFERENCE, alpha=1.7),
    on_runtime("CausalConvWithState", "bias", {"x": normal(1, 2, 5), "w": normal(2, 1, 3), "b": normal(2)}, outputs=2,
               opset=27, symbolic=False),
    on_runtime("LinearAttention", "linear", STATE, outputs=2, opset=27, q_num_heads=2, kv_num_heads=2,
               update_rule="linear"),
]  # fmt: skip
CASES = [case for case in ALL if onnx.defs.has(case.op, case.opset)]
