"""Kernel PCA's bounds, and the eigenvector of a matrix too large for powers of it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnxcam import Explainer
from onnxcam.autodiff.differentiate import add_output
from onnxcam.engine import Session
from onnxcam.errors import MethodError
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.io import load
from onnxcam.methods.component import dominant

MATRIX = """
<ir_version: 8, opset_import: ["" : 18]>
matrices (float[n, p, p] m) => (float[n, p, p] same) { same = Identity(m) }
"""


def dominant_of(matrices: np.ndarray) -> np.ndarray:
    model = load(onnx.parser.parse_model(MATRIX))
    op = Emitter(model.graph)
    add_output(op, dominant(op, model.graph.inputs[0]), "u", shape=[None, None, 1])
    op.place(model.graph.outputs)
    return Session(model, "cpu").run({"m": matrices.astype(np.float32)}, ["u"])["u"][..., 0]


def symmetric(values: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a matrix of these eigenvalues, and the eigenvector of the first."""
    q = np.linalg.qr(np.random.default_rng(seed).standard_normal((len(values), len(values))))[0]
    return (q * values) @ q.T, q[:, 0]


@pytest.mark.parametrize(
    "values",
    [
        np.r_[1.0, 0.97, np.linspace(0.9, 0, 398)],  # a gap of 3 % at the top of a full spectrum
        np.r_[1.0, 0.5, np.zeros(298)],  # of rank 2: the basis is complete after two steps
        np.r_[1.0, np.full(99, -0.9)],  # not positive definite
        np.r_[1.0, 0.5],  # smaller than the basis
    ],
    ids=["close", "rank 2", "indefinite", "small"],
)
def test_the_eigenvector_of_a_large_matrix(values: np.ndarray) -> None:
    pairs = [symmetric(values, seed) for seed in (0, 1)]
    found = dominant_of(np.stack([matrix for matrix, _ in pairs]))
    for u, (_, expected) in zip(found, pairs, strict=True):
        assert abs(u @ expected) == pytest.approx(1, abs=1e-5)


def test_a_matrix_of_zeros_has_no_eigenvector() -> None:
    assert not dominant_of(np.zeros((1, 5, 5))).any()


def two_scales(size: int) -> onnx.ModelProto:
    """A layer ``small`` of half the size, enlarged to the layer ``late``."""
    return onnx.parser.parse_model(f"""
    <ir_version: 8, opset_import: ["" : 9]>
    net (float[n, 1, {size}, {size}] x) => (float[n, 2] logits)
    <float[2, 1, 1, 1] w = {{1, -1}}, float[2, 2] v = {{2, -1, 0, 3}}, float[2] b = {{0, 0}},
     float[4] twice = {{1, 1, 2, 2}}>
    {{
        c = Conv(x, w)
        m = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(c)
        small = Relu(m)
        large = Upsample(small, twice)
        late = Relu(large)
        p = GlobalAveragePool(late)
        f = Flatten(p)
        logits = Gemm<transB = 1>(f, v, b)
    }}
    """)


def test_a_layer_of_too_many_positions_is_refused_and_a_smaller_one_named() -> None:
    model = two_scales(66)
    with pytest.raises(MethodError) as caught:
        Explainer(model, method="kpcacam")
    assert str(caught.value) == (
        "kpcacam compares each position of a layer with every other, at most 4,096 of them, and 'late' has 4,356; "
        "name a smaller layer, --layer small say, or use --method eigencam"
    )
    x = np.random.default_rng(0).standard_normal((1, 1, 66, 66)).astype(np.float32)
    assert Explainer(model, method="kpcacam", layer="small").attribute(x, target=0).shape == (1, 33, 33)


def test_the_largest_layer_that_is_not_refused() -> None:
    x = np.random.default_rng(0).standard_normal((1, 1, 64, 64)).astype(np.float32)
    assert Explainer(two_scales(64), method="kpcacam").attribute(x, target=0).any()


@pytest.mark.parametrize("method", ["eigencam", "kpcacam"])
@pytest.mark.parametrize("sign", [1, -1])
def test_few_positions_stand_out_whatever_their_sign(method: str, sign: int) -> None:
    """An object brighter than the ground, or darker: of activations of both signs the sum would say the contrary."""
    model = onnx.parser.parse_model("""
    <ir_version: 8, opset_import: ["" : 18]>
    net (float[n, 1, 8, 8] x) => (float[n, 2] logits)
    <float[2, 1, 1, 1] w = {1, -3}, float[2, 2] v = {2, -1, 0, 3}, float[2] b = {0, 0}>
    {
        a = Conv(x, w)
        p = GlobalAveragePool(a)
        f = Flatten(p)
        logits = Gemm<transB = 1>(f, v, b)
    }
    """)
    x = np.full((1, 1, 8, 8), -0.1, np.float32)
    x[..., 2:4, 5:7] = 1
    (raw,) = Explainer(model, method=method).attribute(sign * x, target=0)
    inside = np.zeros((8, 8), bool)
    inside[2:4, 5:7] = True
    assert raw[inside].min() > 0 > raw[~inside].max()


def test_a_blank_map_of_a_method_without_target_blames_no_gradient() -> None:
    picture = np.zeros((64, 64, 3), np.uint8)
    found = Explainer(two_scales(64), method="fem", preprocess="unit")(picture, 0)
    assert found.warnings[-1] == (
        "the map is blank: nothing stands out at layer 'late', whatever the target; choose another layer"
    )
