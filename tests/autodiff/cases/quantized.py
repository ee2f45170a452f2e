"""Cases for onnxcam.autodiff.rules.quantized: small graphs from floats to floats, and what they compute in PyTorch.

`fq` is the oracle: fake quantisation with the straight-through gradient, written out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir

from onnxcam.autodiff import vjp
from onnxcam.testing import run
from tests.autodiff.cases import Case, normal
from tests.autodiff.cases.on_runtime import runnable
from tests.optional import functional as F
from tests.optional import torch

U8, I8 = (0, 255), (-128, 127)
T = torch.Tensor


def fq(x: T, scale: Any, zero: Any = 0, ends: tuple[int, int] = U8) -> T:
    """Return x rounded to quantised numbers; its gradient is 1 where it is not clipped, else 0."""
    scale, zero = torch.as_tensor(scale), torch.as_tensor(zero)
    steps = torch.round(x / scale) + zero
    inside = (steps >= ends[0]) & (steps <= ends[1])
    return ((steps.clamp(*ends) - zero) * scale).detach() + (x - x.detach()) * inside


@dataclass(frozen=True)
class Quantised(Case):
    """A graph in ONNX's text form, and PyTorch's word for it: outputs agree to a step, gradients to `rtol`."""

    text: str = ""
    function: Callable[..., T] = torch.clone
    step: float = 1e-5
    rtol: float = 1e-4
    body: str = ""  # what its operator computes, where ONNX Runtime's CPU provider has no kernel: see RuntimeCase

    def model(self, shapes: Mapping[str, Any] | None = None) -> onnx.ModelProto:
        opset = self.opset if shapes is None else max(self.opset, 21)
        free = [name for name in self.inputs if name not in self.constants]
        dims = {name: (shapes or {}).get(name, np.shape(self.inputs[name])) for name in free}
        heads = ", ".join(f"float[{', '.join(map(str, dims[name]))}] {name}" for name in free)
        imports = f'"": {opset}, "com.microsoft": 1'
        model = onnx.parser.parse_model(
            f"<ir_version: 10, opset_import: [{imports}]> case ({heads}) => (float y) {{ {self.text} }}"
        )
        for axis in range(self.function(**{name: torch.from_numpy(self.inputs[name]) for name in free}).dim()):
            model.graph.output[0].type.tensor_type.shape.dim.add(dim_param=f"y{axis}")
        for name in self.constants:
            model.graph.initializer.append(ir.serde.serialize_tensor(ir.tensor(self.inputs[name], name=name)))
        return model

    def run(self, symbolic: bool = False) -> None:
        names = [name for name in self.inputs if name not in self.constants]
        feeds = {name: self.inputs[name] for name in names}
        shapes = {name: [f"{name}{i}" for i in range(np.ndim(x))] for name, x in feeds.items()}
        model = self.model(shapes if symbolic else None)
        leaves = {name: torch.from_numpy(x).requires_grad_() for name, x in feeds.items()}
        y = self.function(**leaves)
        forward, gradient = runnable(model, self.body), runnable(vjp(model), self.body)
        np.testing.assert_allclose(run(forward, feeds)["y"], y.detach().numpy(), atol=1.01 * self.step)
        u = torch.from_numpy(normal(*y.shape, seed=9))
        expected = torch.autograd.grad(y, list(leaves.values()), u)
        actual = run(gradient, {**feeds, "y.cotangent": u.numpy()})
        for name, gradient in zip(names, expected, strict=True):
            reference = gradient.numpy()
            assert reference.any()
            got = actual[f"{name}.gradient"]
            np.testing.assert_allclose(got, reference, rtol=self.rtol, atol=0.1 * self.rtol * np.abs(reference).max())


def quantised(
    op: str, name: str, text: str, function: Callable[..., T], inputs: Mapping[str, Any], **options: Any
) -> Quantised:
    """Return a case whose inputs of other types than float32, or those in capitals, are constants."""
    constants = tuple(key for key, x in inputs.items() if key.isupper() or x.dtype != np.float32)
    return Quantised(op, name, inputs, constants, text=text, function=function, symbolic=False, **options)


def u8(*values: int) -> np.ndarray:
    return np.asarray(values if len(values) > 1 else values[0], np.uint8)


def i8(*values: int) -> np.ndarray:
    return np.asarray(values if len(values) > 1 else values[0], np.int8)


def f32(*values: float) -> np.ndarray:
    return np.asarray(values if len(values) > 1 else values[0], np.float32)


def integers(*shape: int, low: int = -100, high: int = 100, kind: Any = np.int8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high, shape).astype(kind)


def round_trip(
    name: str, scale: Any, zero: Any, ends: tuple[int, int], opset: int = 18, settings: str = ""
) -> Quantised:
    """Quantise and dequantise at once: some of the numbers are clipped."""
    inputs = {"x": 2 * normal(2, 6, 3), "S": f32(scale)}
    given = "S"
    if zero is not None:
        inputs["Z"], given = np.asarray(zero), "S, Z"
    text = f"q = QuantizeLinear{settings} (x, {given})  y = DequantizeLinear{settings} (q, {given})"
    return quantised(
        "QuantizeLinear",
        name,
        text,
        lambda x: fq(x, scale, 0 if zero is None else int(zero), ends),
        inputs,
        opset=opset,
    )


SCALES = np.asarray([0.01, 0.02, 0.005, 0.015, 0.012, 0.03], np.float32)
ZEROS = np.asarray([128, 100, 0, 50, 128, 200], np.uint8)


def per_axis(x: T) -> T:
    shape = (1, 6, 1)
    return fq(x, torch.from_numpy(SCALES).reshape(shape), torch.from_numpy(ZEROS).float().reshape(shape))


def blocks(x: T) -> T:
    """Blocks of four along axis 1, the last one short."""
    scale = torch.from_numpy(BLOCKS).repeat_interleave(4, 1)[:, :6]
    return fq(x, scale, 0, I8)


BLOCKS = np.abs(normal(2, 2, 3, seed=4)) * 0.01 + 0.005


def to_float8(x: T) -> T:
    """Round to float8e4m3fn at scale 0.01: the largest is 448."""
    rounded = (x.detach().numpy() / 0.01).clip(-448, 448).astype(ml_dtypes.float8_e4m3fn).astype(np.float32)
    inside = (x.detach() / 0.01).abs() <= 448
    return torch.from_numpy(rounded * np.float32(0.01)) + (x - x.detach()) * inside


IMAGE = {"x": normal(1, 4, 5, 5), "S": f32(0.02), "Z": u8(120)}
MOVED = "q = QuantizeLinear (x, S, Z) {} y = DequantizeLinear (m, S, Z)"


def moved(op: str, name: str, text: str, function: Callable[[T], T], **constants: np.ndarray) -> Quantised:
    """Case of *op* on the integers themselves, between the two."""
    inputs = {**IMAGE, **constants}
    return quantised(
        "DequantizeLinear", f"behind-{op}{name}", MOVED.format(text), lambda x: function(fq(x, 0.02, 120)), inputs
    )


CODES = integers(2, 6, 3)
KERNEL, BIAS = integers(6, 4, 3, 3), np.asarray([300, -500, 0, 100, 7, 900], np.int32)
KERNEL_SCALES = np.abs(normal(6, seed=3)) * 0.005 + 0.002


def qlinear_conv(x: T) -> T:
    w = torch.from_numpy(KERNEL * KERNEL_SCALES.reshape(-1, 1, 1, 1))
    b = torch.from_numpy((BIAS * 0.02 * KERNEL_SCALES).astype(np.float32))
    return fq(F.conv2d(fq(x, 0.02, 120), w, b, stride=2, padding=1), 0.05, 60)


def conv_integer(x: T) -> T:
    return F.conv2d(fq(x, 0.02, 120), torch.from_numpy(KERNEL.astype(np.float32) - 3) * 0.01, padding=1)


def dynamic(x: T, w: np.ndarray, zero: np.ndarray) -> T:
    low, high = min(x.min().item(), 0.0), max(x.max().item(), 0.0)
    scale = np.float32((high - low) / 255)
    real = torch.from_numpy((w.astype(np.float32) - zero) * np.float32(0.03))
    return fq(x, scale, round(-low / float(scale))) @ real


WEIGHTS = integers(6, 3)

MASK = np.asarray([True, False, True, True, False])

CASES = [
    round_trip("uint8", 0.01, u8(100), U8),
    round_trip("int8", 0.02, i8(-20), I8),
    round_trip("no-zero", 0.01, None, U8),
    round_trip("uint16", 4e-5, np.uint16(30000), (0, 65535), opset=21),
    round_trip("int16", 4e-5, np.int16(0), (-32768, 32767), opset=21),
    round_trip("int4", 0.3, np.asarray(1, ml_dtypes.int4), (-8, 7), opset=21),
    round_trip("uint4", 0.2, np.asarray(8, ml_dtypes.uint4), (0, 15), opset=21),
    quantised(
        "QuantizeLinear",
        "float8",
        "q = QuantizeLinear (x, S, Z)  y = DequantizeLinear (q, S, Z)",
        to_float8,
        {"x": 3 * normal(2, 6, 3), "S": f32(0.01), "Z": np.asarray(0, ml_dtypes.float8_e4m3fn)},
        opset=19,
    ),
    *[
        quantised(
            "QuantizeLinear",
            f"axis{axis}",
            f"q = QuantizeLinear <axis={axis}> (x, S, Z)  y = DequantizeLinear <axis={axis}> (q, S, Z)",
            per_axis,
            {"x": normal(2, 6, 3), "S": SCALES, "Z": ZEROS},
        )
        for axis in (1, -2)
    ],
    quantised(
        "QuantizeLinear",
        "blocked",
        "q = QuantizeLinear <axis=1, block_size=4> (x, S, Z)  y = DequantizeLinear <axis=1, block_size=4> (q, S, Z)",
        blocks,
        {"x": normal(2, 6, 3), "S": BLOCKS, "Z": np.zeros((2, 2, 3), np.int8)},
        opset=21,
    ),
    quantised(
        "DequantizeLinear",
        "scale",
        "y = DequantizeLinear (Q, s, Z)",
        lambda s: (torch.from_numpy(CODES.astype(np.float32)) - 5) * s,
        {"Q": CODES, "s": np.asarray([0.1], np.float32), "Z": np.asarray([5], np.int8)},
    ),
    quantised(
        "DequantizeLinear",
        "scales",
        "y = DequantizeLinear <axis=-1> (Q, s)",
        lambda s: torch.from_numpy(CODES.astype(np.float32)) * s,
        {"Q": CODES, "s": f32(0.1, 0.2, 0.3)},
    ),
    quantised(
        "DequantizeLinear",
        "block-scales",
        "y = DequantizeLinear <axis=1, block_size=4> (Q, s)",
        lambda s: torch.from_numpy(CODES.astype(np.float32)) * s.repeat_interleave(4, 1)[:, :6],
        {"Q": CODES, "s": BLOCKS},
        opset=21,
    ),
    moved("MaxPool", "", "m = MaxPool <kernel_shape=[3,3], strides=[2,2]> (q)", lambda x: F.max_pool2d(x, 3, 2)),
    moved("Transpose", "", "m = Transpose <perm=[0,2,3,1]> (q)", lambda x: x.permute(0, 2, 3, 1)),
    moved("Reshape", "", "m = Reshape (q, N)", lambda x: x.reshape(4, 25), N=np.asarray([4, 25])),
    moved("Concat", "", "m = Concat <axis=1> (q, q)", lambda x: torch.cat([x, x], 1)),
    moved("Gather", "", "m = Gather <axis=1> (q, N)", lambda x: x[:, [2, 0, 2]], N=np.asarray([2, 0, 2])),
    moved(
        "Slice",
        "",
        "m = Slice (q, N, M, A, P)",
        lambda x: x[:, :, :, 1:4:2],
        N=np.asarray([1]),
        M=np.asarray([4]),
        A=np.asarray([3]),
        P=np.asarray([2]),
    ),
    moved("Split", "", "m, rest = Split <axis=1, num_outputs=2> (q)", lambda x: x[:, :2]),
    moved("Pad", "", "m = Pad (q, N, Z)", lambda x: F.pad(x, (1, 0, 0, 2)), N=np.asarray([0, 0, 0, 1, 0, 0, 2, 0])),
    moved("Expand", "", "m = Expand (q, N)", lambda x: x.expand(2, 4, 5, 5), N=np.asarray([2, 4, 5, 5])),
    moved("Tile", "", "m = Tile (q, N)", lambda x: x.tile(1, 1, 2, 1), N=np.asarray([1, 1, 2, 1])),
    moved("DepthToSpace", "", "m = DepthToSpace <blocksize=2> (q)", lambda x: F.pixel_shuffle(x, 2)),
    moved(
        "Resize",
        "",
        'm = Resize <mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"> (q, , N)',
        lambda x: F.interpolate(x, scale_factor=2),
        N=f32(1, 1, 2, 2),
    ),
    moved("Clip", "", "m = Clip (q, A, B)", lambda x: x.clip(-0.4, 1.6), A=u8(100), B=u8(200)),
    moved("Max", "", "m = Max (q, A)", lambda x: torch.maximum(x, torch.tensor(-20.0) * 0.02), A=u8(100)),
    moved("ReduceMax", "", "m = ReduceMax <keepdims=1> (q, N)", lambda x: x.amax(1, keepdim=True), N=np.asarray([1])),
    moved("Where", "", "m = Where (C, q, Z)", lambda x: x * torch.from_numpy(MASK), C=MASK),
    quantised(
        "QLinearConv",
        "per-channel",
        "q = QuantizeLinear (x, S, Z)"
        "m = QLinearConv <strides=[2,2], pads=[1,1,1,1]> (q, S, Z, W, V, Y, O, P, B)"
        "y = DequantizeLinear (m, O, P)",
        qlinear_conv,
        {**IMAGE, "W": KERNEL, "V": KERNEL_SCALES, "Y": np.zeros(6, np.int8), "O": f32(0.05), "P": u8(60), "B": BIAS},
        step=0.05,
    ),
    quantised(
        "QLinearMatMul",
        "plain",
        "q = QuantizeLinear (x, S, Z) m = QLinearMatMul (q, S, Z, W, V, Y, O, P) y = DequantizeLinear (m, O, P)",
        lambda x: fq(fq(x, 0.02, 120) @ torch.from_numpy((WEIGHTS.astype(np.float32) - 3) * 0.01), 0.03, 100),
        {
            "x": normal(2, 4, 6),
            "S": f32(0.02),
            "Z": u8(120),
            "W": WEIGHTS,
            "V": f32(0.01),
            "Y": i8(3),
            "O": f32(0.03),
            "P": u8(100),
        },
        step=0.03,
    ),
    quantised(
        "ConvInteger",
        "plain",
        "q = QuantizeLinear (x, S, Z) m = ConvInteger <pads=[1,1,1,1]> (q, W, Z, Y)f = Cast <to=1> (m) y = Mul (f, V)",
        conv_integer,
        {**IMAGE, "W": (KERNEL.astype(np.int16) + 100).astype(np.uint8), "Y": u8(103), "V": f32(0.0002)},
        step=1e-4,
    ),
    quantised(
        "DynamicQuantizeLinear",
        "matmul",
        "q, s, z = DynamicQuantizeLinear (x) m = MatMulInteger (q, W, z, Y)"
        "f = Cast <to=1> (m) v = Mul (s, V) y = Mul (f, v)",
        lambda x: dynamic(x, WEIGHTS, np.int8(3)),
        {"x": normal(4, 6), "W": WEIGHTS, "Y": i8(3), "V": f32(0.03)},
        step=1e-4,
    ),
    quantised(
        "MatMulInteger",
        "per-column",
        "q, s, z = DynamicQuantizeLinear (x) m = MatMulInteger (q, W, z, Y)"
        "f = Cast <to=1> (m) v = Mul (s, V) y = Mul (f, v)",
        lambda x: dynamic(x, WEIGHTS, np.asarray([3, -5, 0], np.int8)),
        {"x": normal(4, 6), "W": WEIGHTS, "Y": i8(3, -5, 0), "V": f32(0.03)},
        step=1e-4,
    ),
]
