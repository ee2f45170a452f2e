"""The first layer of a trained network tells the range of its input."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from onnxcam.model.prepared import PreparedModel
from onnxcam.preprocess import TensorSpec, parse, resolve
from onnxcam.preprocess.first_layer import measure

Array = NDArray[np.float32]
RNG = np.random.default_rng(0)
WARM = np.array([0.5, 0.45, 0.38])
"""The mean of red, green and blue in photos."""


def photos(count: int = 6, size: int = 96) -> NDArray[np.uint8]:
    """Return images [N, H, W, 3] with the statistics of photos: neighbours are alike, and so are the channels."""
    made = []
    for _ in range(count):
        grey, colour = RNG.normal(size=(6, 6, 1)), RNG.normal(size=(6, 6, 3))
        coarse = cv2.resize(0.35 * grey + 0.07 * colour, (size, size), interpolation=cv2.INTER_CUBIC)
        made.append(coarse + WARM + RNG.normal(0, 0.05, (size, size, 1)))
    return (np.stack(made).clip(0, 1) * 255).astype(np.uint8)


def model(weights: Array, bias: Array | None = None, kept: Sequence[Array] = (), *, before: str = "") -> ir.Value:
    """Return the input of a classifier whose first layer is a convolution, with a BatchNormalization if *kept*."""
    filters, channels = weights.shape[:2]
    normalise = "h = BatchNormalization(c, one, zero, mean, variance)" if kept else "h = Identity(c)"
    made = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["": 17]>
        main (float[N, {channels}, 64, 64] x) => (float[N, {filters}] y) {{
            {before or "i = Identity(x)"}
            c = Conv<strides = [2, 2]>(i, weights, bias)
            {normalise}
            r = Relu(h)
            g = GlobalAveragePool(r)
            y = Flatten(g)
        }}""")
    ones = {"one": np.ones(filters), "zero": np.zeros(filters), "bias": np.zeros(filters) if bias is None else bias}
    arrays = {**ones, "weights": weights, **dict(zip(("mean", "variance"), kept, strict=False))}
    for name, array in arrays.items():
        made.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array, np.float32), name))
    return PreparedModel.open(made).image


def trained(preset: str) -> tuple[Array, Array, Array]:
    """Return weights, and the mean and the variance of their outputs for photos that *preset* prepares."""
    weights = RNG.normal(0, 0.2, (16, 3, 3, 3)).astype(np.float32)
    prepare = parse(f"{preset},resize=96x96")
    tensors = np.concatenate([prepare(image) for image in photos()])
    windows = np.lib.stride_tricks.sliding_window_view(tensors, (3, 3), (2, 3))[:, :, ::2, ::2]
    made = np.einsum("nchwij,kcij->nkhw", windows, weights, optimize=True)
    return weights, made.mean((0, 2, 3)), made.var((0, 2, 3))


@pytest.mark.parametrize(
    ("preset", "order"),
    [("unit", "rgb"), ("unit,order=bgr", "bgr"), ("raw", "rgb"), ("raw,order=bgr", "bgr"), ("inception", None),
     ("imagenet", None), ("caffe", None)],
)  # fmt: skip
@pytest.mark.parametrize("folded", [False, True])
def test_the_range_is_that_of_the_training(preset: str, order: str | None, folded: bool) -> None:
    weights, mean, variance = trained(preset)
    name = preset.split(",")[0]
    if folded:
        deviation = np.sqrt(variance)
        found = measure(model(weights / deviation[:, None, None, None], -mean / deviation))
        if name not in ("raw", "caffe"):  # a scale near 1 tells no convention from another
            assert found is None
            return
    else:
        found = measure(model(weights, kept=(mean, variance)))
    assert found is not None
    assert found.preset == name
    if order is not None and not folded:
        assert found.order == order


def test_it_is_a_guess_that_says_why() -> None:
    weights, mean, variance = trained("raw,order=bgr")
    x = model(weights, kept=(mean, variance))
    found = resolve(None, TensorSpec.of(x), graph_hint=x)
    assert "range=0-255,order=bgr" in str(found.preprocess)
    assert (found.source, found.why) == ("guess", "the weights of the first layer expect that range")
    assert len(found.warnings) == 1


def test_weights_of_no_training_tell_nothing() -> None:
    untrained = RNG.uniform(-1, 1, (16, 3, 3, 3)).astype(np.float32) / 27**0.5
    assert measure(model(untrained)) is None
    assert measure(model(untrained, kept=(np.zeros(16), np.ones(16)))).preset is None  # type: ignore[union-attr]
    assert measure(model(untrained[:4] / 255)) is None, "four filters are no statistics"
    assert measure(model(np.zeros((16, 3, 3, 3), np.float32))) is None


@pytest.mark.parametrize(
    ("scale", "zero", "expected"),
    [(1 / 255, 0, "range=0-1,"), (1 / 127.5, 127, "range=0-1,mean=0.5,std=0.5"),
     (0.018651, 114, "mean=0.485/0.456/0.406"), (1.0, 0, "range=0-255"), (0.3, 3, "mean=0.485/0.456/0.406")],
)  # fmt: skip
def test_a_quantised_float_input_tells_its_range(scale: float, zero: int, expected: str) -> None:
    before = f"""
        step = Constant<value_float = {scale}> ()
        offset = Constant<value = uint8 {{{zero}}}> ()
        q = QuantizeLinear(x, step, offset)
        i = DequantizeLinear(q, step, offset)
    """
    x = model(RNG.normal(size=(16, 3, 3, 3)).astype(np.float32), before=before)
    found = resolve(None, TensorSpec.of(x), graph_hint=x)
    assert expected in str(found.preprocess)
    assert found.source == "guess"


def test_a_quantised_input_may_be_transposed_first() -> None:
    before = """
        step = Constant<value_float = 1.0> ()
        offset = Constant<value = uint8 {0}> ()
        t = Transpose<perm = [0, 1, 3, 2]>(x)
        q = QuantizeLinear(t, step, offset)
        i = DequantizeLinear(q, step, offset)
    """
    x = model(RNG.normal(size=(16, 3, 3, 3)).astype(np.float32), before=before)
    assert "range=0-255" in str(resolve(None, TensorSpec.of(x), graph_hint=x).preprocess)
