"""Quantised networks: gradients of PyTorch's fake quantisation, and the real int8 files beside their float twins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxcam import Explainer
from onnxcam.autodiff import vjp
from onnxcam.graph.io import load
from onnxcam.graph.quantisation import units
from onnxcam.media.heatmap import peak
from onnxcam.model.prepared import PreparedModel
from onnxcam.preprocess import TensorSpec, parse
from onnxcam.preprocess.guess import guess
from onnxcam.targets import find_scores
from onnxcam.testing import run
from tests.optional import functional as F
from tests.optional import torch
from tests.quantized import RNG, S_W1, SCALES, W1, W2, qdq
from tests.real import OBJECTS


def fake(x: torch.Tensor, name: str, low: int = 0, high: int = 255) -> torch.Tensor:
    return torch.fake_quantize_per_tensor_affine(x, *SCALES[name], low, high)


def network(x: torch.Tensor) -> torch.Tensor:
    """A small network fake-quantised by PyTorch."""
    zeros = torch.zeros(8, dtype=torch.int32)
    w1 = torch.fake_quantize_per_channel_affine(torch.from_numpy(W1), torch.from_numpy(S_W1), zeros, 0, -127, 127)
    a = fake(F.relu(F.conv2d(fake(x, "x"), w1, padding=1)), "a")
    pooled = fake(F.max_pool2d(a, 2).mean((2, 3)), "p")
    return fake(pooled @ fake(torch.from_numpy(W2), "w2", -128, 127).T, "y")


def test_the_gradient_is_that_of_pytorchs_fake_quantised_network() -> None:
    for seed in range(5):
        x = torch.from_numpy(np.random.default_rng(seed).standard_normal((1, 3, 8, 8)).astype(np.float32) * 1.3)
        x.requires_grad_()
        y = network(x)
        u = torch.from_numpy(np.random.default_rng(9).standard_normal((1, 10)).astype(np.float32))
        (expected,) = torch.autograd.grad(y, x, u)
        actual = run(vjp(qdq()), {"x": x.detach().numpy(), "y.cotangent": u.numpy()})
        np.testing.assert_allclose(actual["y"], y.detach().numpy(), atol=1e-5)
        assert expected.abs().max() > 0
        np.testing.assert_allclose(
            actual["x.gradient"], expected.numpy(), rtol=1e-4, atol=1e-4 * float(expected.abs().max())
        )


def test_cotangents_of_integers_are_floats() -> None:
    x = RNG.integers(0, 255, (1, 3, 8, 8)).astype(np.uint8)
    u = RNG.standard_normal((1, 10)).astype(np.float32)
    actual = run(vjp(qdq(integer=True), ["qy"], ["qx"]), {"qx": x, "qy.cotangent": u})
    real = (x.astype(np.float32) - 120) * np.float32(0.02)
    plain = run(vjp(qdq()), {"x": real, "y.cotangent": u / np.float32(0.02)})
    assert actual["qx.gradient"].dtype == np.float32
    np.testing.assert_allclose(actual["qx.gradient"], plain["x.gradient"] * np.float32(0.02), rtol=1e-3, atol=1e-5)


def test_an_integer_model_explains_itself_in_real_units() -> None:
    picture = RNG.integers(0, 255, (8, 8, 3), np.uint8)
    whole, real = (Explainer(qdq(integer), preprocess="unit,mean=0.5,std=0.2") for integer in (True, False))
    a, b = whole(picture), real(picture)
    assert (a.target, a.raw.shape) == (b.target, b.raw.shape)
    assert a.score == pytest.approx(b.score, abs=0.02)
    assert a.probability == pytest.approx(b.probability, abs=0.01)
    np.testing.assert_allclose(a.raw, b.raw, rtol=1e-3, atol=1e-5)
    assert Explainer(qdq(integer=True), method="gradient")(picture).raw.dtype == np.float32
    best = [explanation.probability or 0 for explanation in whole.best(picture, 4)]
    assert best == sorted(best, reverse=True)


def test_units_of_input_and_output() -> None:
    graph = load(qdq(integer=True)).graph
    found = [units(value) for value in (graph.inputs[0], graph.outputs[0])]
    assert [u.known if u else None for u in found] == [(pytest.approx(0.02), 120), (pytest.approx(0.02), 128)]


def test_the_explained_score_is_the_one_before_rounding() -> None:
    """Quantised logits are clipped at ±2.56: there is no gradient behind. What is told is what the model puts out."""
    scores = find_scores(PreparedModel.open(qdq(integer=True)).model.graph)
    assert (scores.value.name, scores.shown.name) == ("l", "qy")
    explanation = Explainer(qdq(), preprocess="unit,mean=0.5,std=0.2")(RNG.integers(0, 255, (8, 8, 3), np.uint8))
    assert explanation.score == explanation.outputs["y"][0, explanation.target]


def spec(dtype: Any, units: tuple[float, int] | None, channels: int = 3) -> TensorSpec:
    return TensorSpec("x", np.dtype(dtype), (1, 4, 4, channels), "nhwc", units)


@pytest.mark.parametrize(
    ("text", "dtype", "units", "expected"),
    [
        ("unit", np.int8, (1 / 255, -128), [-128, 0, 127]),
        ("imagenet", np.int8, (0.018631116, -14), [-128, -10, 107]),  # red: (v/255 - 0.485) / 0.229
        ("inception", np.uint8, (1 / 128, 128), [0, 129, 255]),
        ("raw", np.int8, (1.0, -128), [-128, 0, 127]),
        ("raw", np.int8, (1 / 255, -128), [-128, 0, 127]),  # beyond the units: the codes themselves
        ("resize=4x4", np.uint8, (1 / 128, 128), [0, 128, 255]),
    ],
)
def test_a_picture_is_quantised_in_the_graphs_own_units(
    text: str, dtype: Any, units: tuple[float, int] | None, expected: list[int]
) -> None:
    preprocess = parse(text, spec(dtype, units))
    values = [int(preprocess(np.full((4, 4, 3), v, np.uint8)).reshape(-1, 3)[0, 0]) for v in (0, 128, 255)]
    assert values == expected


@pytest.mark.parametrize(
    ("units", "dtype", "channels", "expected"),
    [
        ((1 / 255, -128), np.int8, 3, "the input is int8 that represents 0 to 1"),
        ((1 / 128, 128), np.uint8, 3, "the input is uint8 that represents -1 to 0.992"),
        ((0.018631116, -14), np.int8, 3, "the input is int8 that represents -2.12 to 2.63"),
        ((1.0, -128), np.int8, 3, "the input is int8"),
        (None, np.int8, 1, "the input is int8"),
    ],
)
def test_the_range_of_the_integers_tells_the_preprocessing(
    units: tuple[float, int] | None, dtype: Any, channels: int, expected: str
) -> None:
    assert guess(spec(dtype, units, channels), None).why == expected


PAIRS = [
    ("vww_mobilenet_96_qdq", "vww_mobilenet_96_f32", "unit", "squat.jpg"),
    ("vww_mobilenet_96_qdq", "vww_mobilenet_96_f32", "unit", "baseball.jpg"),
    ("vww_mobilenet_96_qdq", "vww_mobilenet_96_f32", "unit", "grace_hopper.jpg"),
    ("vww_mobilenet_96_qlinear_ortext", "vww_mobilenet_96_f32", "unit", "squat.jpg"),
    ("vww_mobilenet_96_qlinear_ortext", "vww_mobilenet_96_f32", "unit", "baseball.jpg"),
    ("resnet8_cifar10_qdq", "resnet8_cifar10_f32", "raw", "tabby_cat.jpg"),
    ("resnet8_cifar10_qdq", "resnet8_cifar10_f32", "raw", "cat_face.jpg"),
    ("resnet8_cifar10_qdq", "resnet8_cifar10_f32", "raw", "golden_puppy.jpg"),
]


@pytest.mark.parametrize(("name", "twin", "preprocess", "photo"), PAIRS)
def test_an_int8_file_looks_where_its_float_twin_does(
    real: Path, name: str, twin: str, preprocess: str, photo: str
) -> None:
    whole, floating = (Explainer(real / "models" / f"{each}.onnx", preprocess=preprocess) for each in (name, twin))
    ours, theirs = whole(real / "images" / photo), floating(real / "images" / photo)
    assert ours.target == theirs.target
    assert np.corrcoef(ours.map.ravel(), theirs.map.ravel())[0, 1] >= 0.9
    assert ours.probability == pytest.approx(theirs.probability, abs=0.1)
    if photo in OBJECTS:
        assert_on_object(ours, photo)


SEEN = [
    ("mobilenet_v1_025_128_qdq", "chickadee.jpg", 20),
    ("mobilenet_v1_025_128_qdq", "macaw.jpg", 89),
    ("mobilenet_v1_025_128_qdq", "cheeseburger.jpg", 934),
    ("mobilenet_v2_224_qdq_nchw_int8", "chickadee.jpg", 19),
    ("mobilenet_v2_224_qdq_nchw_int8", "macaw.jpg", 88),
    ("mobilenet_v2_224_qdq_nchw_int8", "golden_puppy.jpg", 207),
    ("mobilenet_v2_224_qdq_nchw_int8", "sunflower.jpg", 985),
    ("person_detect_gray_qdq", "baseball.jpg", 1),
    ("person_detect_gray_qdq", "squat.jpg", 1),
]


@pytest.mark.parametrize(("name", "photo", "target"), SEEN)
def test_int8_files_see_the_object(real: Path, name: str, photo: str, target: int) -> None:
    """Without a word about the preprocessing: the graph says what its integers mean."""
    found = Explainer(real / "models" / f"{name}.onnx")(real / "images" / photo)
    assert found.target == target
    assert (found.probability or 0) > 0.5
    assert_on_object(found, photo)


def assert_on_object(explanation: Any, photo: str) -> None:
    x, y = peak(explanation.map)
    height, width = explanation.map.shape
    x0, y0, x1, y1 = OBJECTS[photo]
    reach = min(height, width) / min(explanation.raw.shape)
    assert x0 * width - reach <= x <= x1 * width + reach
    assert y0 * height - reach <= y <= y1 * height + reach
