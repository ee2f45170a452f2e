"""Operators that ONNX Runtime's optimiser writes: alone against differences, and whole files against the originals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from onnxcam import Explainer
from onnxcam.autodiff import vjp
from onnxcam.errors import MissingRuleError
from onnxcam.testing import run
from tests.autodiff.cases import distinct, normal, uniform
from tests.autodiff.test_networks import CASES, exported, network

Arrays = dict[str, Any]
LEVELS = {
    "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "layout": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_LAYOUT,
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}


def optimised(model: onnx.ModelProto, level: str, folder: Path) -> onnx.ModelProto:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = LEVELS[level]
    options.log_severity_level = 4
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return onnx.load(folder / "optimised.onnx")


@pytest.mark.parametrize(("name", "exporter"), CASES)
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


def fused(op: str, inputs: Arrays, results: tuple[str, ...] = ("y",), **attributes: Any) -> onnx.ModelProto:
    """Return a model of one node of com.microsoft, whose output y is the graph's."""
    names = [name if x is not None else "" for name, x in inputs.items()]
    given = {name: np.asarray(x) for name, x in inputs.items() if x is not None}
    attributes = {key: value for key, value in attributes.items() if value != []}
    node = onnx.helper.make_node(op, names, results, op, domain="com.microsoft", **attributes)
    kinds = {name: onnx.helper.np_dtype_to_tensor_dtype(x.dtype) for name, x in given.items()}
    graph = onnx.helper.make_graph(
        [node],
        "case",
        [onnx.helper.make_tensor_value_info(name, kinds[name], x.shape) for name, x in given.items()],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
    )
    imports = [onnx.helper.make_opsetid("", 18), onnx.helper.make_opsetid("com.microsoft", 1)]
    return onnx.helper.make_model(graph, ir_version=10, opset_imports=imports)


X, W, B, Z = distinct(1, 2, 5, 5), normal(4, 2, 3, 3), normal(4), normal(1, 4, 3, 3)
CONV: Arrays = {"x": X, "w": W, "b": B, "z": Z}
TOKENS, SCALE, SHIFT, BIAS = normal(2, 3, 8), uniform(8, low=0.5, high=1.5), normal(8), normal(8, seed=1)
SKIP: Arrays = {"x": TOKENS, "skip": normal(2, 3, 8, seed=2), "scale": SCALE}
ATTENTION: Arrays = {"x": TOKENS, "w": normal(8, 24), "b": normal(24)}
MASK = np.asarray([[1, 1, 0], [1, 1, 1]], np.int32)
HEADS: Arrays = {"q": TOKENS, "k": normal(2, 5, 8), "v": normal(2, 5, 8, seed=1)}
SINGLE: dict[str, tuple[str, Arrays, dict[str, Any]]] = {
    **{
        f"conv {name}": ("FusedConv", CONV, {"activation": name, "activation_params": params})
        for name, params in {
            "Relu": [],
            "Tanh": [],
            "Sigmoid": [],
            "HardSigmoid": [0.1, 0.4],
            "LeakyRelu": [0.1],
            "Clip": [-3.0, 2.0],
        }.items()
    },
    "conv alone": ("FusedConv", {"x": X, "w": W}, {"activation": "Relu", "strides": [2, 2], "pads": [1, 0, 1, 0]}),
    "gemm": (
        "FusedGemm",
        {"a": normal(4, 3), "b": normal(5, 4), "c": normal(5)},
        {"activation": "Tanh", "transA": 1, "transB": 1, "alpha": 0.7, "beta": 0.3},
    ),
    "matmul": ("FusedMatMul", {"a": normal(2, 3, 4), "b": normal(2, 5, 4)}, {"transB": 1, "alpha": 0.5}),
    "matmul across": ("FusedMatMul", {"a": normal(2, 4, 3), "b": normal(4, 5)}, {"transA": 1}),
    "matmul batch": ("FusedMatMul", {"a": normal(3, 2, 4), "b": normal(4, 2, 5)}, {"transBatchA": 1, "transBatchB": 1}),
    "matmul batch across": (
        "FusedMatMul",
        {"a": normal(4, 2, 3), "b": normal(2, 4, 5)},
        {"transA": 1, "transBatchA": 1},
    ),
    "matmul square": ("FusedMatMul", {"a": normal(2, 3, 3), "b": normal(2, 3, 3, seed=1)}, {"transA": 1, "transB": 1}),
    "gelu": ("Gelu", {"x": X}, {}),
    "fast gelu": ("FastGelu", {"x": TOKENS}, {}),
    "fast gelu, bias": ("FastGelu", {"x": TOKENS, "bias": BIAS}, {}),
    "bias gelu": ("BiasGelu", {"x": TOKENS, "bias": BIAS}, {}),
    "quick gelu": ("QuickGelu", {"x": TOKENS}, {"alpha": 1.3}),
    "skip": ("SkipLayerNormalization", SKIP, {"epsilon": 1e-5}),
    "skip, all": ("SkipLayerNormalization", {**SKIP, "shift": SHIFT, "bias": BIAS}, {"epsilon": 1e-3}),
    "skip, sum": (
        "SkipLayerNormalization",
        {**SKIP, "shift": SHIFT, "bias": BIAS},
        {"epsilon": 1e-3, "results": ("z", "", "", "y")},
    ),
    "skip simplified": ("SkipSimplifiedLayerNormalization", {**SKIP, "bias": BIAS}, {"epsilon": 1e-3}),
    "embed": (
        "EmbedLayerNormalization",
        {
            "words": np.asarray([[1, 0, 2]], np.int32),
            "segments": np.asarray([[0, 1, 1]], np.int32),
            "word table": normal(3, 8),
            "place table": normal(4, 8),
            "segment table": normal(2, 8),
            "scale": SCALE,
            "shift": SHIFT,
        },
        {"results": ("y", "z")},
    ),
    "attention": ("Attention", ATTENTION, {"num_heads": 2}),
    "attention, causal": ("Attention", ATTENTION, {"num_heads": 2, "unidirectional": 1, "scale": 0.3}),
    "attention, mask": ("Attention", {**ATTENTION, "mask": MASK}, {"num_heads": 4}),
    "attention, bias": (
        "Attention",
        {**ATTENTION, "mask": None, "past": None, "bias": normal(1, 2, 3, 3)},
        {"num_heads": 2},
    ),
    "heads": ("MultiHeadAttention", HEADS, {"num_heads": 2}),
    "heads, bias": (
        "MultiHeadAttention",
        {**HEADS, "b": normal(24), "mask": None, "bias": normal(2, 2, 3, 5)},
        {"num_heads": 2, "scale": 0.4},
    ),
}


@pytest.mark.parametrize("name", SINGLE)
def test_gradient(name: str) -> None:
    """Against differences of the operator itself, in float32 on ONNX Runtime; of fourth order, so that few bits go."""
    op, inputs, attributes = SINGLE[name]
    model = fused(op, inputs, **attributes)
    feeds = {key: x for key, x in inputs.items() if x is not None}
    y = run(model, feeds)["y"]
    u = normal(*y.shape)
    gradients = run(vjp(model), {**feeds, "y.cotangent": u})
    for key, x in feeds.items():
        if x.dtype != np.float32 or f"{key}.gradient" not in gradients:
            assert x.dtype != np.float32 or (name == "skip, sum" and key in ("scale", "shift"))
            continue
        gradient = gradients[f"{key}.gradient"]
        v = normal(*x.shape, seed=3)

        def along(step: float, key: str = key, x: np.ndarray = x, v: np.ndarray = v) -> float:
            return float(np.vdot(u.astype(float), run(model, {**feeds, key: x + np.float32(step) * v})["y"]))

        h = 4e-3
        expected = (8 * (along(h) - along(-h)) - (along(2 * h) - along(-2 * h))) / (12 * h)
        scale = max(abs(expected), float(np.linalg.norm(gradient)), 1e-2)
        assert abs(float(np.vdot(v, gradient)) - expected) / scale < 2e-3, key


def test_gradients_are_of_standard_operators() -> None:
    model = fused("FusedConv", CONV, activation="Relu")
    assert [node.domain for node in vjp(model).graph.node[1:]].count("") == len(vjp(model).graph.node) - 1


def test_forms_without_a_gradient_name_the_node() -> None:
    model = fused("MultiHeadAttention", {"q": normal(2, 3, 2, 3, 4)}, num_heads=2)
    with pytest.raises(MissingRuleError, match=r"'MultiHeadAttention' .* has no gradient rule with packed queries"):
        vjp(model)
    model = fused("FusedConv", CONV, activation="Mish")
    with pytest.raises(MissingRuleError, match="activation 'Mish'"):
        vjp(model)


def test_second_order() -> None:
    """Through a fused convolution, the gradient of the gradient with respect to the kernel."""
    model = fused("FusedConv", {"x": X, "w": W}, activation="Tanh")
    once = vjp(model, inputs=["x"])
    twice = vjp(once, ["x.gradient"], ["w"])
    plain = onnx.parser.parse_model("""
    <ir_version: 10, opset_import: ["" : 18]>
    g (float[1, 2, 5, 5] x, float[4, 2, 3, 3] w) => (float[1, 4, 3, 3] y) { c = Conv(x, w) y = Tanh(c) }
    """)
    feeds = {"x": X * 0.1, "w": W, "y.cotangent": Z, "x.gradient.cotangent": normal(*X.shape)}
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
