"""Conventions of networks with several inputs, of which one or two are images."""

from __future__ import annotations

import numpy as np

from tests.zoo.convention import SQUARE, Convention
from tests.zoo.dense import IMAGE, mix
from tests.zoo.networks import bright

__all__ = ["CONVENTIONS"]

OTHER = np.zeros((1, 3, 64, 64), np.float32)
REGION = f"region={','.join(map(str, SQUARE))}"
SEEN = " b = ReduceMean<axes = [1], keepdims = 1>({}) d = Sub(b, b) s = Conv(a, k) v = Add(s, d) "

CONVENTIONS = [
    Convention(
        "raft",
        "torch.onnx.export",
        "RAFT, GMFlow, PWC-Net: optical flow",
        "inputs image1, image2; flow_low [N, 2, H / 8, W / 8], flow [N, 2, H, W]",
        lambda: bright(
            "float[N, 2, 8, 8] flow_low, float[N, 2, 64, 64] flow",
            SEEN.format("image2")
            + "flow = Identity(v) flow_low = AveragePool<kernel_shape = [8, 8], strides = [8, 8]>(v)",
            image="image1",
            others="float[N, 3, 64, 64] image2",
            k=mix([[3, 0], [-4, 0]]),
        ),
        "a model of a vector for each pixel",
        {"map": "'flow'"},
        inputs={"image2": OTHER},
        target=REGION,
    ),
    Convention(
        "crestereo",
        "torch.onnx.export",
        "CREStereo",
        "inputs next_left, next_right; next_output [1, 2, H, W]",
        lambda: bright(
            "float[1, 2, 64, 64] next_output",
            SEEN.format("next_right") + "next_output = Identity(v)",
            image="next_left",
            others="float[1, 3, 64, 64] next_right",
            batch=1,
            k=mix([[-3, 0], [0.1, 0]]),
        ),
        "a model of a vector for each pixel",
        {"map": "'next_output'"},
        inputs={"next_right": OTHER},
        target=REGION,
    ),
    Convention(
        "stereo",
        "torch.onnx.export",
        "FoundationStereo, HITNet, MobileStereoNet, RAFT-Stereo",
        "inputs left, right; output [N, 1, H, W]",
        lambda: bright(
            "float[N, 1, 64, 64] output",
            SEEN.format("right") + "output = Relu(v)",
            image="left",
            others="float[N, 3, 64, 64] right",
            k=mix([[60, 0]]),
        ),
        "a depth model",
        {"map": "'output'"},
        inputs={"right": OTHER},
        target=REGION,
    ),
    Convention(
        "inpainting",
        "torch.onnx.export",
        "LaMa, MAT, MI-GAN",
        "inputs image [1, 3, H, W], mask [1, 1, H, W]; output [1, 3, H, W]",
        lambda: bright(
            "float[1, 3, 64, 64] output",
            "m = Mul(a, mask) s = Conv(a, k) v = Conv(m, k) output = Add(s, v)",
            others="float[1, 1, 64, 64] mask",
            batch=1,
            k=IMAGE,
        ),
        "an image-to-image model",
        {"image": "'output'"},
        inputs={"mask": np.zeros((1, 1, 64, 64), np.float32)},
        square=None,
    ),
    Convention(
        "robust-video-matting",
        "torch.onnx.export",
        "RVM",
        "inputs src, r1i [N, C, rh, rw], downsample_ratio; fgr [N, 3, H, W], pha [N, 1, H, W], r1o",
        lambda: bright(
            "float[N, 3, 64, 64] fgr, float[N, 1, 64, 64] pha, float[N, 2, 64, 64] r1o",
            """
            r1o = Add(a, r1i) s = Conv(r1o, k) z = Mul(s, downsample_ratio) pha = Clip(z, low, one)
            f = Conv(a, colours) fgr = Clip(f, low, one)
            """,
            image="src",
            others="float[N, 2, rh, rw] r1i, float[1] downsample_ratio",
            k=mix([[4, -1]]),
            colours=IMAGE,
            low=np.float32(0),
            one=np.float32(1),
        ),
        "a segmentation",
        {"scores": "'pha', one class"},
        inputs={"r1i": np.zeros((1, 2, 1, 1), np.float32), "downsample_ratio": np.ones(1, np.float32)},
    ),
    Convention(
        "change-detection",
        "torch.onnx.export",
        "BIT, ChangeFormer: what differs between two satellite images",
        "inputs A, B; output [N, 2, H, W], logits",
        lambda: bright(
            "float[N, 2, 64, 64] output",
            SEEN.format("B") + "output = Identity(v)",
            image="A",
            others="float[N, 3, 64, 64] B",
            k=mix([[-1, 1], [1, -1]]),
        ),
        "a segmentation",
        {"scores": "'output', 2 classes"},
        inputs={"B": OTHER},
        target="class=1",
    ),
]
