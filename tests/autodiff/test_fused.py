"""What ONNX Runtime's optimiser writes: whole files against the originals, and forms that are refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from onnxcam import Explainer
from onnxcam.autodiff import vjp
from onnxcam.errors import MissingRuleError
from onnxcam.testing import node_model, run
from tests.autodiff.cases import distinct, normal
from tests.autodiff.networks.exported import CASES, exported, network
from tests.autodiff.optimised import LEVELS, optimised
from tests.optional import torch


@pytest.mark.parametrize(("name", "exporter"), [*CASES[::6], *CASES[1::2]])  # the optimiser sees much the same of both
def test_optimised_files(name: str, exporter: str, tmp_path: Path) -> None:
    x = torch.randn(2, 3, 8, 8)
    model = exported(network(name).float(), x, exporter)
    (source,), (output, *_) = model.graph.input, model.graph.output
    feeds = {source.name: x.numpy()}
    y = run(model, feeds)[output.name]
    feeds[f"{output.name}.cotangent"] = normal(*y.shape)
    expected = run(vjp(model), feeds)[f"{source.name}.gradient"]
    for level in LEVELS:
        actual = run(vjp(optimised(model, level, tmp_path)), feeds)[f"{source.name}.gradient"]
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max(), err_msg=level)


@pytest.mark.parametrize("name", ["resnet", "mobilenet", "densenet"])
def test_optimised_files_have_the_same_map(name: str, tmp_path: Path) -> None:
    """Also where the layer's activation is blocked."""
    model = exported(network(name).float(), torch.randn(2, 3, 16, 16), "torchscript")
    photo = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    expected, *maps = (
        Explainer(twin, method="gradcam", preprocess="unit")(photo, target=1).raw
        for twin in (model, *(optimised(model, level, tmp_path) for level in LEVELS))
    )
    for actual in maps:
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("rules", ["guided", "deconvnet"])
@pytest.mark.parametrize("level", ["extended", "all"])
def test_rule_sets_reach_fused_rectifiers(rules: str, level: str, tmp_path: Path) -> None:
    model = exported(network("resnet").float(), torch.randn(2, 3, 8, 8), "torchscript")
    feeds = {"x": normal(2, 3, 8, 8), f"{model.graph.output[0].name}.cotangent": normal(2, 3)}
    expected, actual = (
        run(vjp(twin, rules=rules), feeds)["x.gradient"] for twin in (model, optimised(model, level, tmp_path))
    )
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def single(op: str, inputs: Mapping[str, Any], **settings: Any) -> onnx.ModelProto:
    return node_model(op, inputs, domain="com.microsoft", **settings)


X, W = distinct(1, 2, 5, 5), normal(4, 2, 3, 3)
HEADS = {"q": normal(2, 3, 8), "k": normal(2, 5, 8), "v": normal(2, 5, 8, seed=1)}
EMPTY: dict[str, Any] = dict.fromkeys(("b", "mask", "bias"))
LENGTH = np.asarray([2], np.int32)
REFUSED: dict[str, tuple[onnx.ModelProto, str]] = {
    "an activation": (single("FusedConv", {"x": X, "w": W}, activation="Mish"), "activation 'Mish'"),
    "a shared buffer": (
        single(
            "MultiHeadAttention",
            {**HEADS, **EMPTY, "pk": normal(2, 2, 4, 4), "pv": normal(2, 2, 4, 4), "length": LENGTH},
            num_heads=2,
        ),
        "a buffer that past and present share",
    ),
    "a mask of four axes": (
        single(
            "Attention",
            {"x": normal(2, 3, 8), "w": normal(8, 24), "b": normal(24), "mask": np.ones((2, 1, 3, 3), np.int32)},
            num_heads=2,
        ),
        "a mask of 4 axes",
    ),
    "a mask of three lengths": (
        single(
            "Attention",
            {"x": normal(2, 3, 8), "w": normal(8, 24), "b": normal(24), "mask": np.ones(8, np.int32)},
            num_heads=2,
        ),
        "a mask of 8 numbers for a batch of 2",
    ),
    "statistics": (
        single(
            "SkipLayerNormalization",
            {"x": normal(2, 3, 8), "skip": normal(2, 3, 8), "scale": normal(8)},
            outputs=("y", "mean"),
        ),
        "a gradient of its output 'mean'",
    ),
    "another distance": (single("CDist", {"a": normal(3, 4), "b": normal(2, 4)}, metric="cosine"), "metric 'cosine'"),
    "padding of its own": (
        single(
            "ConvTransposeWithDynamicPads",
            {"x": normal(1, 2, 3, 3), "w": normal(2, 3, 3, 3), "pads": np.zeros(4, np.int64)},
            auto_pad="SAME_UPPER",
        ),
        "auto_pad 'SAME_UPPER'",
    ),
    "a projected gate": (
        single("GatedAdd", {"x": X, "y0": X, "gate": X, "w": normal(5, 1)}),
        "a projected gate",
    ),
    "zero points beside an order": (
        single(
            "MatMulNBits",
            {
                "x": normal(2, 32),
                "w": np.zeros((3, 1, 16), np.uint8),
                "s": normal(3),
                "z": np.zeros(3, np.uint8),
                "g": np.zeros(32, np.int32),
            },
            K=32,
            N=3,
            bits=4,
            block_size=32,
        ),
        "zero points beside g_idx",
    ),
    "a window": (
        single(
            "GroupQueryAttention",
            {
                "q": normal(1, 1, 32),
                "k": normal(1, 1, 16),
                "v": normal(1, 1, 16),
                "pk": normal(1, 1, 4, 16),
                "pv": normal(1, 1, 4, 16),
                "lasts": LENGTH,
                "total": np.asarray(3, np.int32),
            },
            num_heads=2,
            kv_num_heads=1,
            sliding_window_cache=1,
        ),
        "a cache of a window",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_forms_without_a_gradient_name_the_node(name: str) -> None:
    model, reason = REFUSED[name]
    op = model.graph.node[0].op_type
    with pytest.raises(MissingRuleError, match=rf"'{op}' \(com.microsoft::{op}\) has no gradient rule with {reason}"):
        vjp(model, [output.name for output in model.graph.output])


def test_a_form_without_a_gradient_does_no_harm_off_the_path() -> None:
    model = onnx.parser.parse_model("""
    <ir_version: 10, opset_import: ["" : 18, "com.microsoft" : 1]>
    g (float[3, 4] x) => (float[3, 3] y) {
        c = com.microsoft.CDist <metric = "cosine">(x, x)  a = Identity(c)  y = Relu(a)
    }
    """)
    assert vjp(model, ["y"], ["a"]).graph.output[-1].name == "a.gradient"


def test_second_order() -> None:
    """Through a fused convolution, the gradient of the gradient with respect to the kernel."""
    model = single("FusedConv", {"x": X, "w": W}, opset=18, activation="Tanh")
    once = vjp(model, inputs=["x"])
    twice = vjp(once, ["x.gradient"], ["w"])
    plain = onnx.parser.parse_model("""
    <ir_version: 10, opset_import: ["" : 18]>
    g (float[1, 2, 5, 5] x, float[4, 2, 3, 3] w) => (float[1, 4, 3, 3] y) { c = Conv(x, w) y = Tanh(c) }
    """)
    feeds = {"x": X * 0.1, "w": W, "y.cotangent": normal(1, 4, 3, 3), "x.gradient.cotangent": normal(*X.shape)}
    expected = run(vjp(vjp(plain, inputs=["x"]), ["x.gradient"], ["w"]), feeds)["w.gradient"]
    np.testing.assert_allclose(run(twice, feeds)["w.gradient"], expected, rtol=1e-4, atol=1e-5 * abs(expected).max())


def test_unknown_lengths_do_not_matter(tmp_path: Path) -> None:
    """Height and width symbolic, and the blocked layout."""
    model = exported(network("unet").float(), torch.randn(2, 3, 8, 8), "torchscript")
    for value in (model.graph.input[0], model.graph.output[0]):
        for axis in (0, 2, 3):
            value.type.tensor_type.shape.dim[axis].dim_param = f"{value.name}{axis}"
    del model.graph.value_info[:]
    name = model.graph.output[0].name
    feeds = {"x": normal(1, 3, 16, 16), f"{name}.cotangent": normal(1, 2, 16, 16)}
    expected, actual = (
        run(vjp(twin, [name], ["x"]), feeds)["x.gradient"] for twin in (model, optimised(model, "all", tmp_path))
    )
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
