"""Cases for onnxcam.autodiff.rules.quantized_ops: ONNX Runtime's operators, against fake quantisation in PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.autodiff.cases import normal
from tests.autodiff.cases.quantized import Quantised, T, f32, fq, i8, integers, quantised, u8
from tests.optional import functional as F
from tests.optional import torch

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


def nbits(bits: int, zeros: bool, order: bool = False) -> Quantised:
    """Weights [N, K] = [3, 40] in blocks of 32, packed along K; in *order*, which block each row of K goes by."""
    n, k, block = 3, 40, 32
    codes = np.random.default_rng(bits).integers(0, 2**bits, (n, 2, block)).astype(np.uint8)
    scales = np.abs(normal(n, 2, seed=5)) * 0.1
    shift = (
        np.random.default_rng(0).integers(0, 2**bits, (n, 2)).astype(np.uint8)
        if zeros
        else np.full((n, 2), 2 ** (bits - 1))
    )
    blocks = np.arange(k) * 7 % 2 if order else np.arange(k) // block

    def packed(numbers: np.ndarray) -> np.ndarray:
        count = 8 // bits
        padded = np.pad(numbers, [(0, 0)] * (numbers.ndim - 1) + [(0, -numbers.shape[-1] % count)])
        return sum(padded[..., i::count] << bits * i for i in range(count)).astype(np.uint8)

    w = (codes.reshape(n, -1)[:, :k].astype(np.float32) - shift[:, blocks]) * scales[:, blocks]
    inputs = {"x": normal(2, k), "B": packed(codes), "S": scales.reshape(-1)}
    if zeros:
        inputs["Z"] = packed(shift).reshape(-1)
    if order:
        inputs["G"] = blocks.astype(np.int32)
    given = ["x", "B", "S", "Z" if zeros else "", *(["G"] if order else [])]
    text = f"y = com.microsoft.MatMulNBits <K={k}, N={n}, bits={bits}, block_size={block}> ({', '.join(given)})"
    return quantised(
        "MatMulNBits",
        f"{bits}{'-zeros' if zeros else ''}{'-order' if order else ''}",
        text,
        lambda x: x @ torch.from_numpy(w.T.astype(np.float32)),
        inputs,
        step=2e-3,
    )


FLOATS = [0, 1 / 192, 2 / 3, 1, 1 / 3, 1 / 2, 1 / 6, 1 / 4]
NORMALS = [-1, -0.6961928, -0.52507305, -0.3949175, -0.28444138, -0.18477343, -0.091050036, 0]
NORMALS += [0.0795803, 0.1609302, 0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1]


def bnb4(kind: int, table: list[float]) -> Quantised:
    """Weights [N, K] = [3, 20] in blocks of 16 that run on from row to row; the first of two lies in the high bits."""
    codes = np.random.default_rng(kind).integers(0, 16, 60).astype(np.uint8)
    largest = np.abs(normal(4, seed=kind)) + 0.1
    w = (np.asarray(table, np.float32)[codes] * largest[np.arange(60) // 16]).reshape(3, 20)
    return quantised(
        "MatMulBnb4",
        str(kind),
        f"y = com.microsoft.MatMulBnb4 <K=20, N=3, block_size=16, quant_type={kind}> (x, B, S)",
        lambda x: x @ torch.from_numpy(w.T.copy()),
        {"x": normal(2, 20), "B": codes[::2] << 4 | codes[1::2], "S": largest},
        step=2e-3,
    )


def lstm(per_channel: bool) -> Quantised:
    """One direction, hidden size 2: gates stand as i, o, f, c."""
    w, r = integers(1, 3, 8, seed=1), integers(1, 2, 8, seed=2)
    scales = [np.abs(normal(1, 8, seed=i)) * 0.01 + 0.002 if per_channel else f32(0.01 * i).reshape(1) for i in (1, 2)]
    zeros = [np.zeros(scale.shape, np.int8) if per_channel else np.asarray([3], np.int8) for scale in scales]
    bias = normal(1, 16)
    real = [
        torch.from_numpy((codes[0].astype(np.float32) - zero) * scale)
        for codes, zero, scale in zip((w, r), zeros, scales, strict=True)
    ]

    def function(x: T) -> T:
        h = c = torch.zeros(x.shape[1], 2)
        ys = []
        for step in x:
            total = step @ real[0] + h @ real[1] + torch.from_numpy(bias[0, :8] + bias[0, 8:])
            i, o, f, g = total.split(2, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            ys.append(h)
        return torch.stack(ys).unsqueeze(1)

    return quantised(
        "DynamicQuantizeLSTM",
        "per-channel" if per_channel else "plain",
        "y = com.microsoft.DynamicQuantizeLSTM <hidden_size=2> (x, W, R, B, , , , , S, Z, V, Y)",
        function,
        {"x": normal(3, 2, 3), "W": w, "R": r, "B": bias, "S": scales[0], "Z": zeros[0], "V": scales[1], "Y": zeros[1]},
        step=0.05,
        rtol=0.05,
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
    *[nbits(bits, zeros) for bits in (2, 4, 8) for zeros in (False, True)],
    nbits(4, zeros=False, order=True),
    bnb4(0, [*FLOATS, *(-x for x in FLOATS)]),
    bnb4(1, NORMALS),
    lstm(per_channel=False),
    lstm(per_channel=True),
    quantised(
        "QLinearReduceMean",
        "plain",
        "q = QuantizeLinear (x, S, Z) m = com.microsoft.QLinearReduceMean <axes=[2,3], keepdims=0> (q, S, Z, O, P)"
        "y = DequantizeLinear (m, O, P)",
        lambda x: y(a(x).mean((2, 3))),
        {"x": IMAGE, **SCALES},
        step=0.031,
        body="QLinearReduceMean (q, s, z, o, p) => (y) { d = DequantizeLinear (q, s, z)"
        "a = Constant <value_ints=[2,3]> () m = ReduceMean <keepdims=0> (d, a) y = QuantizeLinear (m, o, p) }",
    ),
]
