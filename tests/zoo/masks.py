"""Conventions of segmentations whose outputs are no grid [N, classes, H, W]: flat, of one image, by queries."""

from __future__ import annotations

import json

import numpy as np

from tests.zoo.convention import Convention
from tests.zoo.dense import CLASSES, is_class, mix, segmenter, single
from tests.zoo.networks import bright

__all__ = ["CONVENTIONS"]

QUERIES = np.full((6, 5), -4, np.float32)
"""Class scores of six queries: the third one is class 2, the others are no object."""
QUERIES[:, 4] = 4
QUERIES[2] = [0, 0, 6, 0, 0]
NONE = np.zeros((2, 30), np.float32)

CONVENTIONS = [
    Convention(
        "maskformer",
        "optimum",
        "MaskFormer, Mask2Former and OneFormer of transformers, EoMT",
        "class_queries_logits [N, queries, classes + 1], masks_queries_logits [N, queries, H / 4, W / 4]",
        lambda: bright(
            "float[N, 6, 5] class_queries_logits, float[N, 6, 16, 16] masks_queries_logits",
            """
            p = AveragePool<kernel_shape = [4, 4], strides = [4, 4]>(a) masks_queries_logits = Conv(p, k)
            g = GlobalAveragePool(a) f = Flatten(g) z = MatMul(f, none) e = Reshape(z, table)
            class_queries_logits = Add(e, queries)
            """,
            k=mix([[0, 1], [-1, 0], [4, -9], [0, 1], [0, 0.5], [-1, -1]]),
            none=NONE,
            table=np.array([0, 6, 5]),
            queries=QUERIES,
        ),
        "a segmentation",
        {"scores": "'class_queries_logits', 4 classes of 6 queries", "masks": "'masks_queries_logits'"},
        files={"config.json": json.dumps({"id2label": {"0": "wall", "1": "sky", "2": "lamp", "3": "tree"}})},
        check=is_class(2),
    ),
    Convention(
        "flat-mask",
        "tf2onnx",
        "U-Nets of Keras that end in Flatten or Reshape",
        "[N, H · W] behind Sigmoid",
        single("float[N, 4096] output", "p = Sigmoid(s) output = Reshape(p, flat)", flat=np.array([0, 4096])),
        "a segmentation",
        {"scores": "'output', one class"},
        check=is_class(0),
    ),
    Convention(
        "flat-classes-first",
        "torch.onnx.export",
        "networks that end in view(n, classes, -1), as losses take it",
        "[N, classes, H · W], logits",
        segmenter("float[N, 4, 4096] output", "output = Reshape(s, flat)", flat=np.array([0, 4, 4096])),
        "a segmentation",
        {"scores": "'output', 4 classes"},
        check=is_class(1),
    ),
    Convention(
        "flat-logits",
        "tf2onnx",
        "U-Nets of Keras without the last softmax",
        "[N, H · W, classes], logits",
        segmenter(
            "float[N, 4096, 4] reshape",
            "t2 = Transpose<perm = [0, 2, 3, 1]>(s) reshape = Reshape(t2, flat)",
            nhwc=True,
            flat=np.array([0, 4096, 4]),
        ),
        "a segmentation",
        {"scores": "'reshape', 4 classes"},
        check=is_class(1),
    ),
    Convention(
        "mask-of-one-image",
        "torch.onnx.export",
        "models for apps that end in squeeze(): saliency, matting",
        "[H, W] behind Sigmoid, from [1, 3, H, W]",
        single("float[64, 64] output", "p = Sigmoid(s) output = Squeeze(p, both)", batch=1, both=np.array([0, 1])),
        "a segmentation",
        {"scores": "'output', one class"},
        check=is_class(0),
    ),
    Convention(
        "classes-of-one-image",
        "torch.onnx.export",
        "models for apps that end in `model(x)['out'][0]`",
        "[classes, H, W], logits, from [1, 3, H, W]",
        segmenter("float[4, 64, 64] output", "output = Gather(s, first)", batch=1, first=np.array(0)),
        "a segmentation",
        {"scores": "'output', 4 classes"},
        check=is_class(1),
    ),
    Convention(
        "decision-of-one-image",
        "torch.onnx.export",
        "models for apps that end in argmax(0) of the first image",
        "int64 [H, W], from [1, 3, H, W]",
        segmenter(
            "int64[64, 64] output",
            "f = Gather(s, first) output = ArgMax<axis = 0, keepdims = 0>(f)",
            batch=1,
            first=np.array(0),
        ),
        "a segmentation",
        {"scores": "'s', 4 classes"},
        check=is_class(1),
    ),
    Convention(
        "three-named-classes",
        "torch.onnx.export",
        "segmentations of three classes over RGB, with names in config.json",
        "output [N, 3, H, W], logits",
        segmenter("float[N, 3, 64, 64] output", "output = Identity(s)", CLASSES[:3]),
        "a segmentation",
        {"scores": "'output', 3 classes", "labels": "3 names"},
        files={"config.json": json.dumps({"id2label": {"0": "background", "1": "road", "2": "car"}})},
        check=is_class(1),
    ),
    Convention(
        "grey-logits",
        "torch.onnx.export",
        "U-Nets for one class in grey images (X-ray, CT, microscopes), without the sigmoid",
        "output [N, 1, H, W], logits, from [N, 1, H, W]",
        segmenter("float[N, 1, 64, 64] output", "output = Identity(s)", mix([[20, -30]]), channels=1),
        "a segmentation",
        {"scores": "'output', one class"},
        check=is_class(0),
    ),
    Convention(
        "east-geometry-first",
        "torch.onnx.export",
        "EAST: text detection",
        "geometry [N, 5, H / 4, W / 4], scores [N, 1, H / 4, W / 4], both behind Sigmoid",
        lambda: bright(
            "float[N, 5, 16, 16] geometry, float[N, 1, 16, 16] scores",
            """
            p = AveragePool<kernel_shape = [4, 4], strides = [4, 4]>(a)
            g = Conv(p, places) geometry = Sigmoid(g) s = Conv(p, k) scores = Sigmoid(s)
            """,
            places=mix([[1, 0], [0, 1], [1, 1], [2, 0], [0, 2]]),
            k=mix([[9, -9]]),
        ),
        "a segmentation",
        {"scores": "'scores', one class"},
        check=is_class(0),
    ),
    Convention(
        "nothing-found",
        "torch.onnx.export",
        "a network for one class, of an image without it",
        "mask [N, 1, H, W] behind Sigmoid, all below a half",
        single("float[N, 1, 64, 64] mask", "l = Sub(s, most) mask = Sigmoid(l)", most=np.float32(9)),
        "a segmentation",
        {"scores": "'mask', one class"},
        check=is_class(0),
    ),
]
