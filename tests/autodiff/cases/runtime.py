"""Cases for onnxcam.autodiff.rules.runtime."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tests.autodiff.cases import distinct, ints, normal, uniform
from tests.autodiff.cases.on_runtime import microsoft, on_runtime
from tests.autodiff.cases.quantized import f32, fq, quantised, u8
from tests.autodiff.cases.quantized_ops import channels_last
from tests.optional import functional as F

GRID = uniform(2, 3, 2, 2, low=-1.2, high=1.2, seed=2)
IMAGE = distinct(2, 2, 4, 5)
BOXES = np.asarray([[0.1, 0.2, 0.8, 0.9], [0.05, 0.3, 1.4, 0.73], [0.87, 0.83, 0.2, 0.1]], np.float32)
CROPS = {"x": IMAGE, "boxes": BOXES, "images": np.asarray([0, 1, 0], np.int32), "size": np.asarray([3, 2], np.int32)}
SQUARE = np.eye(3, dtype=np.float32) + 0.3 * normal(2, 3, 3)
TRANSPOSED = {"x": normal(1, 2, 3, 4), "w": normal(2, 3, 3, 2), "pads": ints(1, 0, 0, 1), "b": normal(3)}

CASES = [
    replace(
        on_runtime("SimplifiedLayerNormalization", name, {"x": normal(2, 3, 4), "scale": scale}, step=4e-3, **settings),
        smooth=True,
        rtol=2e-3,
    )
    for name, scale, settings in (
        ("plain", normal(4), {"epsilon": 1e-3}),
        ("axes", normal(3, 4), {"axis": 1}),
    )
] + [
    microsoft("Trilu", "upper", {"x": normal(2, 3, 4)}),
    microsoft("Trilu", "lower", {"x": normal(2, 3, 4), "k": np.asarray(-1)}, upper=0),
    microsoft("ExpandDims", "middle", {"x": normal(2, 3), "axis": np.asarray(1, np.int32)}, constants=("axis",)),
    microsoft("ExpandDims", "last", {"x": normal(2, 3), "axis": np.asarray(-1, np.int32)}, constants=("axis",)),
    microsoft("GatherND", "slices", {"x": normal(2, 3, 4), "i": np.asarray([[0, 1], [1, 2]], np.int32)}, fixed=("i",)),
    microsoft("Pad", "constant", {"x": normal(2, 3), "pads": ints(0, 1, 1, 2), "value": np.asarray([2.0], np.float32)}),
    microsoft("Pad", "row-reflect", {"x": normal(2, 3), "pads": ints(0, 1, 1, 2).reshape(1, 4)}, mode="reflect"),
    microsoft("Pad", "cut-edge", {"x": normal(3, 4), "pads": ints(0, -1, 1, 2)}, mode="edge"),
    *[
        microsoft(
            "GridSample",
            name,
            {"x": IMAGE, "grid": GRID},
            step=1e-3,
            **settings,
        )
        for name, settings in (
            ("plain", {}),
            ("border", {"padding_mode": "border", "align_corners": 1}),
            ("bicubic", {"mode": "bicubic"}),
        )
    ],
    microsoft("ConvTransposeWithDynamicPads", "pads", TRANSPOSED, fixed=("w",), strides=[2, 1]),
    microsoft("CropAndResize", "bilinear", CROPS, step=1e-3, extrapolation_value=0.5),
    microsoft("CropAndResize", "one-pixel", {**CROPS, "size": np.asarray([1, 3], np.int32)}, step=1e-3),
    microsoft("CropAndResize", "nearest", {**CROPS, "boxes": BOXES * 0.9}, mode="nearest", step=1e-3),
    microsoft("Inverse", "batch", {"x": SQUARE}, step=1e-3),
    microsoft("CDist", "squares", {"a": normal(3, 4), "b": normal(2, 4)}, metric="sqeuclidean"),
    microsoft("CDist", "lengths", {"a": normal(3, 4), "b": normal(2, 4)}, metric="euclidean"),
    microsoft("UnfoldTensor", "last", {"x": normal(2, 7)}, dim=-1, size=3, step=2),
    microsoft("UnfoldTensor", "first", {"x": normal(5, 2)}, dim=0, size=2),
    quantised(
        "NhwcMaxPool",
        "plain",
        "q = QuantizeLinear (x, S, Z) m = com.microsoft.NhwcMaxPool <kernel_shape=[3,3], strides=[2,2]> (q)"
        "y = DequantizeLinear (m, S, Z)",
        channels_last(lambda x: F.max_pool2d(fq(x, 0.02, 120), 3, 2)),
        {"x": normal(1, 5, 5, 3), "S": f32(0.02), "Z": u8(120)},
    ),
    microsoft("ScaledSiLU", "plain", {"x": normal(3, 4)}, alpha=1.5),
    microsoft("ScaledSiLU", "scale", {"x": normal(3, 4), "scale": np.asarray(0.7, np.float32)}),
    microsoft("GatedAdd", "plain", {"x": normal(2, 3, 4), "y0": normal(2, 3, 4, seed=1), "gate": normal(2, 3, 1)}),
]
