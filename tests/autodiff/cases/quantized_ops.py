"""Cases for onnxcam.autodiff.rules.quantized_ops: ONNX Runtime's operators, against fake quantisation in PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from tests.autodiff.cases import normal
from tests.autodiff.cases.quantized import Quantised, T, f32, fq, i8, integers, quantised, u8

SCALES = {"S": f32(0.02), "Z": u8(120), "O": f32(0.03), "P": u8(100)}
IMAGE = normal(1, 4, 5, 5)


def a(x: T) -> T:
    return fq(x, 0.02, 120)


def y(x: T) -> T:
    return fq(x, 0.03, 100)


def unary(
    op: str, name: str, function: Callable[[T], T], settings: str = "", x: Any = None, **scales: Any
) -> Quantised:
    """x → quantised → *op* → dequantised."""
    text = (
        f"q = QuantizeLinear (x, S, Z) m = com.microsoft.QLinear{op} {settings} (q, S, Z, O, P)"
        "y = DequantizeLinear (m, O, P)"
    )
    inputs = {"x": normal(3, 4) if x is None else x, **SCALES, **scales}
    o, p = float(inputs["O"]), int(inputs["P"])
    step = 1.01 * o
    return quantised(f"QLinear{op}", name, text, lambda x: fq(function(a(x)), o, p), inputs, step=step)


def binary(op: str, function: Callable[[T, T], T], *shapes: tuple[int, ...]) -> Quantised:
    text = (
        "q = QuantizeLinear (x, S, Z) r = QuantizeLinear (w, V, Y)"
        f"m = com.microsoft.QLinear{op} (q, S, Z, r, V, Y, O, P) y = DequantizeLinear (m, O, P)"
    )
    inputs = {"x": normal(*shapes[0]), "w": normal(*shapes[1], seed=1), **SCALES, "V": f32(0.015), "Y": u8(90)}
    return quantised(
        f"QLinear{op}", str(len(shapes[1])), text, lambda x, w: y(function(a(x), fq(w, 0.015, 90))), inputs, step=0.031
    )


def channels_last(function: Callable[[T], T]) -> Callable[[T], T]:
    return lambda x: function(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


PROBABILITY = {"O": f32(1 / 256), "P": u8(0)}
WEIGHTS = integers(6, 3)
W = torch.from_numpy((WEIGHTS.astype(np.float32) - 3) * np.float32(0.01))
BIAS = np.asarray([300, -500, 700], np.int32)


def dynamic(x: T) -> T:
    low, high = min(x.min().item(), 0.0), max(x.max().item(), 0.0)
    scale = np.float32((high - low) / 255)
    return fq(x, scale, round(-low / float(scale)))


def nbits(bits: int, zeros: bool) -> Quantised:
    """Weights [N, K] = [3, 40] in blocks of 32, packed along K."""
    n, k, block = 3, 40, 32
    codes = np.random.default_rng(bits).integers(0, 2**bits, (n, 2, block)).astype(np.uint8)
    scales = np.abs(normal(n, 2, seed=5)) * 0.1
    shift = (
        np.random.default_rng(0).integers(0, 2**bits, (n, 2)).astype(np.uint8)
        if zeros
        else np.full((n, 2), 2 ** (bits - 1))
    )

    def packed(numbers: np.ndarray) -> np.ndarray:
        if bits == 8:
            return numbers.astype(np.uint8)
        return (numbers[..., ::2] | numbers[..., 1::2] << 4).astype(np.uint8)

    w = ((codes.astype(np.float32) - shift[..., None]) * scales[..., None]).reshape(n, -1)[:, :k].astype(np.float32)
    inputs = {"x": normal(2, k), "B": packed(codes), "S": scales.reshape(-1)}
    if zeros:
        inputs["Z"] = packed(shift).reshape(-1)
    text = f"y = com.microsoft.MatMulNBits <K={k}, N={n}, bits={bits}, block_size={block}> ({', '.join(inputs)})"
    return quantised(
        "MatMulNBits",
        f"{bits}{'-zeros' if zeros else ''}",
        text,
        lambda x: x @ torch.from_numpy(w.T),
        inputs,
        step=2e-3,
    )


CASES = [
    binary("Add", torch.add, (2, 3, 4), (2, 3, 4)),
    binary("Add", torch.add, (2, 3, 4), (4,)),
    binary("Mul", torch.mul, (2, 3, 4), (2, 3, 4)),
    binary("Mul", torch.mul, (2, 3, 4), (3, 1)),
    unary("Sigmoid", "plain", torch.sigmoid, **PROBABILITY),
    unary("LeakyRelu", "plain", lambda x: F.leaky_relu(x, 0.1), "<alpha=0.1>"),
    unary("Softmax", "last", lambda x: x.softmax(-1), "<axis=-1, opset=13>", **PROBABILITY),
    unary(
        "Softmax",
        "opset-11",
        lambda x: x.flatten(1).softmax(-1).reshape(x.shape),
        "<axis=1, opset=11>",
        x=normal(2, 3, 4),
        **PROBABILITY,
    ),
    unary(
        "AveragePool",
        "padded",
        lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
        "<kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]>",
        x=IMAGE,
    ),
    unary(
        "AveragePool",
        "channels-last",
        channels_last(lambda x: F.avg_pool2d(x, 2)),
        "<kernel_shape=[2,2], strides=[2,2], channels_last=1>",
        x=normal(1, 4, 4, 3),
    ),
    unary("GlobalAveragePool", "plain", lambda x: x.mean((2, 3), keepdim=True), "<channels_last=0>", x=IMAGE),
    unary(
        "GlobalAveragePool", "last", lambda x: x.mean((1, 2), keepdim=True), "<channels_last=1>", x=normal(1, 4, 4, 3)
    ),
    quantised(
        "QLinearConcat",
        "two",
        "q = QuantizeLinear (x, S, Z) r = QuantizeLinear (w, V, Y)"
        "m = com.microsoft.QLinearConcat <axis=1> (O, P, q, S, Z, r, V, Y) y = DequantizeLinear (m, O, P)",
        lambda x, w: y(torch.cat([a(x), fq(w, 0.015, 90)], 1)),
        {"x": normal(2, 3), "w": normal(2, 2), **SCALES, "V": f32(0.015), "Y": u8(90)},
        step=0.031,
    ),
    quantised(
        "QLinearWhere",
        "plain",
        "q = QuantizeLinear (x, S, Z) r = QuantizeLinear (w, V, Y)"
        "m = com.microsoft.QLinearWhere (C, q, S, Z, r, V, Y, O, P) y = DequantizeLinear (m, O, P)",
        lambda x, w: y(torch.where(torch.tensor([True, False, True]), a(x), fq(w, 0.015, 90))),
        {
            "C": np.asarray([True, False, True]),
            "x": normal(2, 3),
            "w": normal(2, 3),
            **SCALES,
            "V": f32(0.015),
            "Y": u8(90),
        },
        step=0.031,
    ),
    quantised(
        "QGemm",
        "to-uint8",
        "q = QuantizeLinear (x, S, Z) m = com.microsoft.QGemm <alpha=1.0> (q, S, Z, W, V, Y, B, O, P)"
        "y = DequantizeLinear (m, O, P)",
        lambda x: y(a(x) @ W + torch.from_numpy(BIAS * np.float32(0.0002))),
        {"x": normal(4, 6), **SCALES, "W": WEIGHTS, "V": f32(0.01), "Y": i8(3), "B": BIAS},
        step=0.031,
    ),
    quantised(
        "QGemm",
        "to-float-turned",
        "q = QuantizeLinear (x, S, Z) y = com.microsoft.QGemm <alpha=0.5, transB=1> (q, S, Z, W, V, Y, B)",
        lambda x: 0.5 * (a(x) @ W + torch.from_numpy(BIAS * np.float32(0.0002))),
        {"x": normal(4, 6), **SCALES, "W": WEIGHTS.T.copy(), "V": f32(0.01), "Y": i8(3), "B": BIAS},
        step=1e-4,
    ),
    quantised(
        "DynamicQuantizeMatMul",
        "plain",
        "y = com.microsoft.DynamicQuantizeMatMul (x, W, V, Y, B)",
        lambda x: x @ W + torch.from_numpy(BIAS.astype(np.float32)),
        {"x": normal(4, 6), "W": WEIGHTS, "V": f32(0.01), "Y": i8(3), "B": BIAS.astype(np.float32)},
        step=0.05,
    ),
    quantised(
        "MatMulIntegerToFloat",
        "plain",
        "q, s, z = DynamicQuantizeLinear (x) y = com.microsoft.MatMulIntegerToFloat (q, W, s, V, z, Y, B)",
        lambda x: dynamic(x) @ W + torch.from_numpy(BIAS.astype(np.float32)),
        {"x": normal(4, 6), "W": WEIGHTS, "V": f32(0.01), "Y": i8(3), "B": BIAS.astype(np.float32)},
        step=1e-3,
    ),
    quantised(
        "QuantizeLinear",
        "of-com.microsoft",
        "q = com.microsoft.QuantizeLinear (x, S, Z) y = com.microsoft.DequantizeLinear (q, S, Z)",
        a,
        {"x": 2 * normal(3, 4), "S": f32(0.02), "Z": u8(120)},
    ),
    quantised(
        "QuantizeLinear",
        "of-com.microsoft-int16",
        "q = com.microsoft.QuantizeLinear (x, S, Z) y = com.microsoft.DequantizeLinear (q, S, Z)",
        lambda x: fq(x, 2e-5, 0, (-32768, 32767)),
        {"x": normal(3, 4), "S": f32(2e-5), "Z": np.asarray(0, np.int16)},
    ),
    *[nbits(bits, zeros) for bits in (4, 8) for zeros in (False, True)],
]
